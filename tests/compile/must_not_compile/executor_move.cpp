// SPDX-License-Identifier: MIT
//
// A pool stays where it is.
// expect: use of deleted function|call to deleted constructor

#include <concurrent/executor.hpp>

#include <utility>

void use(concurrent::ThreadPoolExecutor& executor) {
#ifdef CONTROL
  concurrent::ThreadPoolExecutor& other = executor;
  other.shutdown();
#else
  concurrent::ThreadPoolExecutor other(std::move(executor));
  other.shutdown();
#endif
}
