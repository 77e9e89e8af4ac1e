// SPDX-License-Identifier: MIT
//
// A result that others see too cannot be written to.
// expect: assignment of read-only|cannot assign to return value|not assignable

#include <concurrent/executor.hpp>

void use(concurrent::Future<int>& future) {
#ifdef CONTROL
  int n = future.result();
  n = 5;
#else
  future.result() = 5;
#endif
}
