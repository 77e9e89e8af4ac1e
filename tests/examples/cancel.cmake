# SPDX-License-Identifier: MIT
#
# cmake -DPROGRAM=... -P cancel.cmake: cancel prints the same in every run, with stop tokens and
# without.

cmake_minimum_required(VERSION 3.23)

set(expected "\
cancel() of search 2, which runs: false
cancel() of search 3, which waits: true
request_stop() of search 4, which waits: true
search 0: stopped
search 1: has found the key 72057594040927936
search 2: stopped
search 3: cancelled, has never run
search 4: cancelled, has never run
search 5: cancelled, has never run
search 6: cancelled, has never run
")

foreach(run RANGE 1 10)
  execute_process(COMMAND "${PROGRAM}" OUTPUT_VARIABLE output RESULT_VARIABLE status)
  string(REPLACE "\r\n" "\n" output "${output}")
  if(NOT status EQUAL 0 OR NOT output STREQUAL expected)
    message(FATAL_ERROR "In run ${run} cancel ended with '${status}' and printed:\n${output}")
  endif()
endforeach()
