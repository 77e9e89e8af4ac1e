# SPDX-License-Identifier: MIT
#
# cmake -DPROGRAM=... -P seed.cmake: the thread prints its numbers in order, the three workers
# theirs in any, and all are there before the line that follows the scope.

cmake_minimum_required(VERSION 3.23)

execute_process(COMMAND "${PROGRAM}" OUTPUT_VARIABLE output RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "seed ended with '${status}'.")
endif()
string(REPLACE "\r\n" "\n" output "${output}")
string(REGEX MATCHALL "[^\n]+" lines "${output}")
list(LENGTH lines count)
if(NOT count EQUAL 11)
  message(FATAL_ERROR "11 lines were expected, not ${count}:\n${output}")
endif()

list(SUBLIST lines 0 5 by_thread)
list(SUBLIST lines 5 5 by_pool)
list(SORT by_pool)
list(GET lines 10 last)
set(actual ${by_thread} ${by_pool} ${last})

set(expected)
foreach(who IN ITEMS thread pool)
  foreach(number RANGE 4)
    list(APPEND expected "${who}: ${number}")
  endforeach()
endforeach()
list(APPEND expected done)
if(NOT actual STREQUAL expected)
  message(FATAL_ERROR "seed printed:\n${output}")
endif()
