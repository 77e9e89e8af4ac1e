// SPDX-License-Identifier: MIT
//
// An argument that does not convert.
// expect: no matching (member )?function for call to .*submit

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
  const auto negate = [](int a) { return -a; };
#ifdef CONTROL
  executor.submit(negate, 1);
#else
  executor.submit(negate, "1");
#endif
}
