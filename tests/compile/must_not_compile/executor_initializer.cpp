// SPDX-License-Identifier: MIT
//
// An initializer takes no arguments.
// expect: (cannot|could not) convert|no viable conversion|no matching

#include <concurrent/executor.hpp>

void use() {
#ifdef CONTROL
  concurrent::ThreadPoolExecutor executor({.initializer = [] {}});
#else
  concurrent::ThreadPoolExecutor executor({.initializer = [](int) {}});
#endif
}
