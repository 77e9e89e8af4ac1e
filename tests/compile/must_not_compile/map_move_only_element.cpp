// SPDX-License-Identifier: MIT
//
// The elements of an lvalue are used in place, not moved from.
// expect: no matching (member )?function for call to .*map

#include <concurrent/executor.hpp>

#include <memory>
#include <utility>
#include <vector>

void use(concurrent::ThreadPoolExecutor& executor) {
  std::vector<std::unique_ptr<int>> owners;
  const auto read = [](std::unique_ptr<int> p) { return *p; };
#ifdef CONTROL
  executor.map(read, std::move(owners));
#else
  executor.map(read, owners);
#endif
}
