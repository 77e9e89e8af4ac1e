// SPDX-License-Identifier: MIT
//
// std::async(std::launch::async, ...): in the common standard libraries a thread for each task.
#pragma once

#include <array>
#include <cstddef>
#include <future>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class StdAsync {
 public:
  static constexpr const char* kName = "std_async";
  static constexpr bool kHasWorkers = false;
  static constexpr bool kThreadPerTask = true;

  explicit StdAsync(int /*workers*/) {}

  template <class F> auto submit(F task) { return std::async(std::launch::async, std::move(task)); }
  template <class F> auto run(F root) { return submit(std::move(root)).get(); }

  template <std::size_t N> class Children {
   public:
    explicit Children(StdAsync& peer) : peer_(peer) {}
    template <class F> void start(F task) { futures_[size_++] = peer_.submit(std::move(task)); }

    long long sum() {
      long long sum = 0;
      while (size_ > 0) sum += futures_[--size_].get();
      return sum;
    }

   private:
    StdAsync& peer_;
    std::array<std::future<long long>, N> futures_;
    std::size_t size_ = 0;
  };
};

static_assert(Submits<StdAsync> && Forks<StdAsync>);

}  // namespace bench
