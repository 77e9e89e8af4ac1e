// SPDX-License-Identifier: MIT
//
// A handle is no condition: done() and valid() are.
// expect: could not convert|not contextually convertible|value of type

#include <concurrent/executor.hpp>

void use(concurrent::Future<int>& future) {
#ifdef CONTROL
  if (future.done()) { future.cancel(); }
#else
  if (future) { future.cancel(); }
#endif
}
