// SPDX-License-Identifier: MIT
//
// Two pools cannot have the same threads.
// expect: use of deleted function|call to deleted constructor

#include <concurrent/executor.hpp>

void use(concurrent::ThreadPoolExecutor& executor) {
#ifdef CONTROL
  concurrent::ThreadPoolExecutor other(executor.max_workers());
#else
  concurrent::ThreadPoolExecutor other(executor);
#endif
}
