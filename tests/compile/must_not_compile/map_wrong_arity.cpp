// SPDX-License-Identifier: MIT
//
// One argument for each range.
// expect: no matching (member )?function for call to .*map

#include <concurrent/executor.hpp>

#include <vector>

void use(concurrent::ThreadPoolExecutor& executor) {
  const std::vector<int> numbers{1, 2};
  const auto add = [](int a, int b) { return a + b; };
#ifdef CONTROL
  executor.map(add, numbers, numbers);
#else
  executor.map(add, numbers);
#endif
}
