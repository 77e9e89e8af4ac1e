// SPDX-License-Identifier: MIT
//
// A number is no range.
// expect: no matching (member )?function for call to .*map

#include <concurrent/executor.hpp>

#include <ranges>

void use(concurrent::ThreadPoolExecutor& executor) {
  const auto negate = [](int a) { return -a; };
#ifdef CONTROL
  executor.map(negate, std::views::iota(0, 5));
#else
  executor.map(negate, 5);
#endif
}
