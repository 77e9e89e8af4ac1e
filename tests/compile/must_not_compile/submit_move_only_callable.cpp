// SPDX-License-Identifier: MIT
//
// A move-only callable has to be moved in.
// expect: no matching (member )?function for call to .*submit

#include <concurrent/executor.hpp>

#include <memory>
#include <utility>

void use(concurrent::ThreadPoolExecutor& executor) {
  auto task = [owner = std::make_unique<int>(1)] { return *owner; };
#ifdef CONTROL
  executor.submit(std::move(task));
#else
  executor.submit(task);
#endif
}
