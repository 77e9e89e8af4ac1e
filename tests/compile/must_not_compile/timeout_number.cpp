// SPDX-License-Identifier: MIT
//
// A time limit has a unit.
// expect: (cannot|could not) convert|no viable conversion|no matching

#include <concurrent/executor.hpp>

#include <chrono>

void use(concurrent::Future<int>& future) {
  using namespace std::chrono_literals;
#ifdef CONTROL
  future.result(5s);
#else
  future.result(5);
#endif
}
