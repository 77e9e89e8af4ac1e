// SPDX-License-Identifier: MIT
//
// At least one range.
// expect: no matching (member )?function for call to .*map

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
  const auto answer = [] { return 42; };
#ifdef CONTROL
  executor.submit(answer);
#else
  executor.map(answer);
#endif
}
