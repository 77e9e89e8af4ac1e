// SPDX-License-Identifier: MIT
//
// The result of the call is submitted instead of the call.
// expect: no matching (member )?function for call to .*submit

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
  const auto negate = [](int a) { return -a; };
#ifdef CONTROL
  executor.submit(negate, 1);
#else
  executor.submit(negate(1));
#endif
}
