// SPDX-License-Identifier: MIT
//
// Workers are counted in whole numbers.
// expect: no matching (function for call|constructor for init)

#include <concurrent/executor.hpp>

void use() {
#ifdef CONTROL
  concurrent::ThreadPoolExecutor executor(2);
#else
  concurrent::ThreadPoolExecutor executor(2.5);
#endif
}
