// SPDX-License-Identifier: MIT
//
// Arguments are copied: a reference takes std::ref.
// expect: no matching (member )?function for call to .*submit

#include <concurrent/executor.hpp>

#include <functional>

void use(concurrent::ThreadPoolExecutor& executor) {
  int count = 0;
  const auto increment = [](int& n) { ++n; };
#ifdef CONTROL
  executor.submit(increment, std::ref(count)).wait();
#else
  executor.submit(increment, count).wait();
#endif
}
