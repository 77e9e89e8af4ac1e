// SPDX-License-Identifier: MIT
//
// A time limit has a unit, as in std::future.
// expect: (cannot|could not) convert|no viable conversion|no matching

#include <concurrent/executor.hpp>

#include <chrono>

void use(concurrent::Future<int>& future) {
  using namespace std::chrono_literals;
#ifdef CONTROL
  future.wait_for(5s);
#else
  future.wait_for(5);
#endif
}
