// SPDX-License-Identifier: MIT
//
// A time limit has a unit, in options too.
// expect: (cannot|could not) convert|no viable conversion|no matching

#include <concurrent/executor.hpp>

#include <chrono>

void use(concurrent::ThreadPoolExecutor& executor) {
  using namespace std::chrono_literals;
  const auto negate = [](int a) { return -a; };
#ifdef CONTROL
  executor.map(concurrent::MapOptions{.timeout = 5s}, negate, {1, 2});
#else
  executor.map(concurrent::MapOptions{.timeout = 5}, negate, {1, 2});
#endif
}
