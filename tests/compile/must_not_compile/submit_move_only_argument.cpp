// SPDX-License-Identifier: MIT
//
// A move-only argument has to be moved in.
// expect: no matching (member )?function for call to .*submit

#include <concurrent/executor.hpp>

#include <memory>
#include <utility>

void use(concurrent::ThreadPoolExecutor& executor) {
  auto owner = std::make_unique<int>(1);
  const auto read = [](std::unique_ptr<int> p) { return *p; };
#ifdef CONTROL
  executor.submit(read, std::move(owner));
#else
  executor.submit(read, owner);
#endif
}
