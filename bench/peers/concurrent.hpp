// SPDX-License-Identifier: MIT
//
// This library.
#pragma once

#include <concurrent/executor.hpp>

#include <array>
#include <cstddef>
#include <ranges>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class Concurrent {
 public:
  static constexpr const char* kName = "concurrent";
  static constexpr bool kHasWorkers = true;

  explicit Concurrent(int workers) : executor_({.max_workers = workers}) {}

  template <class F> auto submit(F task) { return executor_.submit(std::move(task)); }
  template <class F> void post(F task) { executor_.post(std::move(task)); }
  template <class F> auto run(F root) { return executor_.submit(std::move(root)).get(); }

  template <class F> void loop(int count, F body) {
    executor_.map(concurrent::MapOptions{.chunksize = 1}, body, std::views::iota(0, count))
        .result();
  }

  template <std::size_t N> class Children {
   public:
    explicit Children(Concurrent& peer) : peer_(peer) {}
    template <class F> void start(F task) { futures_[size_++] = peer_.submit(std::move(task)); }

    long long sum() {
      long long sum = 0;
      // The newest first: it is the one that nobody else has taken yet.
      while (size_ > 0) sum += futures_[--size_].get();
      return sum;
    }

   private:
    Concurrent& peer_;
    std::array<concurrent::Future<long long>, N> futures_;
    std::size_t size_ = 0;
  };

  /// Gives recycled memory back, so that the next round begins with none.
  static void forget_memory() { concurrent::release_memory(); }

 private:
  concurrent::ThreadPoolExecutor executor_;
};

static_assert(Submits<Concurrent> && Posts<Concurrent> && Forks<Concurrent> && Loops<Concurrent>);

}  // namespace bench
