// SPDX-License-Identifier: MIT
//
// Too few arguments for the callable.
// expect: no matching (member )?function for call to .*submit

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
  const auto add = [](int a, int b) { return a + b; };
#ifdef CONTROL
  executor.submit(add, 1, 2);
#else
  executor.submit(add, 1);
#endif
}
