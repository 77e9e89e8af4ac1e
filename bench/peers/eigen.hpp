// SPDX-License-Identifier: MIT
//
// Eigen's ThreadPool. It takes std::function and has no futures, so a handle is a shared
// std::packaged_task. Each worker's queue has 1024 places; where they are taken, Schedule runs the
// task in the caller. A task that waits for another one occupies its worker, so it does not fork.
#pragma once

#include <future>
#include <memory>
#include <type_traits>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class Eigen {
 public:
  static constexpr const char* kName = "eigen";
  static constexpr bool kHasWorkers = true;
  static constexpr bool kHasBoundedQueue = true;

  explicit Eigen(int workers) : pool_(workers) {}

  template <class F> auto submit(F task) {
    auto packaged =
        std::make_shared<std::packaged_task<std::invoke_result_t<F&>()>>(std::move(task));
    auto future = packaged->get_future();
    pool_.Schedule([packaged] { (*packaged)(); });
    return future;
  }
  template <class F> void post(F task) { pool_.Schedule(std::move(task)); }

 private:
  ::Eigen::ThreadPool pool_;
};

static_assert(Submits<Eigen> && Posts<Eigen>);

}  // namespace bench
