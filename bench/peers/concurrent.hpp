// SPDX-License-Identifier: MIT
//
// This library.
#pragma once

#include <concurrent/executor.hpp>

#include <utility>

namespace bench {

class Concurrent {
 public:
  explicit Concurrent(int workers) : executor_({.max_workers = workers}) {}

  template <class F> auto submit(F task) { return executor_.submit(std::move(task)); }

 private:
  concurrent::ThreadPoolExecutor executor_;
};

}  // namespace bench
