// SPDX-License-Identifier: MIT
//
// The options of shutdown() are named.
// expect: (cannot|could not) convert|no viable conversion|no matching

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
#ifdef CONTROL
  executor.shutdown({.wait = false});
#else
  executor.shutdown(false);
#endif
}
