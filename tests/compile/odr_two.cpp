// SPDX-License-Identifier: MIT
//
// The other half of the program in odr_one.cpp.

#include "odr.hpp"

#include <utility>

concurrent::Future<int> submit_elsewhere(concurrent::ThreadPoolExecutor& executor, int number) {
  return executor.submit(twice, number);
}

int fetch_elsewhere(concurrent::Future<int> future) { return std::move(future).result(); }

void fail_elsewhere() { concurrent::Future<int>().result(); }
