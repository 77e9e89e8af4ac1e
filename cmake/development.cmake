# SPDX-License-Identifier: MIT
#
# How this repository's own programs are compiled: tests, examples and benches link
# concurrent_development. A consumer of concurrent::executor gets nothing of this.

option(CONCURRENT_WERROR "Make warnings errors" OFF)
option(CONCURRENT_PLAIN_NODES "Get each node of the library from operator new, recycle none" OFF)
set(CONCURRENT_SANITIZE "" CACHE STRING "Sanitizers for all programs: thread or address,undefined")

set(CMAKE_CXX_EXTENSIONS OFF)
get_property(is_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(PROJECT_IS_TOP_LEVEL AND NOT is_multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

add_library(concurrent_development INTERFACE)
target_link_libraries(concurrent_development INTERFACE concurrent::executor)

if(MSVC)
  target_compile_options(concurrent_development INTERFACE /W4 /permissive- /Zc:__cplusplus)
else()
  target_compile_options(concurrent_development INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wundef)
endif()
if(CONCURRENT_WERROR)
  target_compile_options(concurrent_development INTERFACE $<IF:$<BOOL:${MSVC}>,/WX,-Werror>)
endif()

if(CONCURRENT_PLAIN_NODES)
  target_compile_definitions(concurrent_development INTERFACE CONCURRENT_PLAIN_NODES)
endif()

if(CONCURRENT_SANITIZE)
  target_compile_options(concurrent_development INTERFACE
    -fsanitize=${CONCURRENT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(concurrent_development INTERFACE -fsanitize=${CONCURRENT_SANITIZE})
endif()

# ThreadSanitizer of g++ 12 cannot start where the kernel randomises addresses in more than 28 bits
# (vm.mmap_rnd_bits is 32 on newer kernels). `setarch -R` switches that off for one process and its
# children; where it is not allowed, the programs start plainly.
if(CONCURRENT_SANITIZE STREQUAL "thread" AND NOT CMAKE_CROSSCOMPILING)
  find_program(CONCURRENT_SETARCH setarch)
  if(CONCURRENT_SETARCH)
    execute_process(COMMAND "${CONCURRENT_SETARCH}" -R "${CMAKE_COMMAND}" -E true
                    RESULT_VARIABLE setarch_failed OUTPUT_QUIET ERROR_QUIET)
    if(NOT setarch_failed)
      set(CMAKE_CROSSCOMPILING_EMULATOR "${CONCURRENT_SETARCH};-R")
    endif()
  endif()
endif()
