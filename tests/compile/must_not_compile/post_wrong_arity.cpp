// SPDX-License-Identifier: MIT
//
// Too many arguments for the callable.
// expect: no matching (member )?function for call to .*post

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
  const auto greet = [] {};
#ifdef CONTROL
  executor.post(greet);
#else
  executor.post(greet, 1);
#endif
}
