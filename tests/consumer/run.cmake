# SPDX-License-Identifier: MIT
#
# Plays the user for one WAY to use the library, see CMakeLists.txt.
cmake_minimum_required(VERSION 3.23)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "exit status ${status}: ${command}\n${out}${err}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

function(run_program program)
  run("${program}")
  if(NOT out STREQUAL "42 of concurrent ${VERSION}\n")
    message(FATAL_ERROR "${program} printed '${out}'")
  endif()
endfunction()

function(configure folder)
  run("${CMAKE_COMMAND}" -S "${here}/${folder}" -B "${WORK}/build" -G "${GENERATOR}"
      "-DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
      "-DCMAKE_CXX_FLAGS=${FLAGS}" -DCMAKE_BUILD_TYPE=Release ${ARGN})
endfunction()

set(here "${CMAKE_CURRENT_LIST_DIR}")
set(program "${WORK}/build/consumer")
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

if(WAY STREQUAL "find_package")
  run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/installed")
  # The package must bear being moved, and hold no path of the machine that made it.
  file(RENAME "${WORK}/installed" "${WORK}/moved")
  file(GLOB_RECURSE installed "${WORK}/moved/*.cmake" "${WORK}/moved/*.hpp")
  foreach(file IN LISTS installed)
    file(READ "${file}" text)
    foreach(path IN ITEMS "${REPOSITORY}" "${BUILD}")
      string(FIND "${text}" "${path}" position)
      if(NOT position EQUAL -1)
        message(FATAL_ERROR "${file} names ${path}")
      endif()
    endforeach()
  endforeach()
  configure(find_package "-DCMAKE_PREFIX_PATH=${WORK}/moved" "-DWANTED=${VERSION}")
  run("${CMAKE_COMMAND}" --build "${WORK}/build")
  run_program("${program}")

elseif(WAY STREQUAL "add_subdirectory")
  configure(add_subdirectory "-DREPOSITORY=${REPOSITORY}")
  run("${CMAKE_COMMAND}" --build "${WORK}/build")
  run_program("${program}")

elseif(WAY STREQUAL "copied_header")
  file(COPY "${REPOSITORY}/include/concurrent" DESTINATION "${WORK}")
  file(COPY "${here}/main.cpp" DESTINATION "${WORK}")
  separate_arguments(flags UNIX_COMMAND "${FLAGS}")
  run("${CMAKE_COMMAND}" -E chdir "${WORK}"
      "${COMPILER}" ${flags} -std=c++20 -O2 -pthread -I. main.cpp -o consumer)
  run_program("${WORK}/consumer")

else()
  message(FATAL_ERROR "No such way: '${WAY}'")
endif()
