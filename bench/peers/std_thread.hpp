// SPDX-License-Identifier: MIT
//
// What one writes without a library: one std::thread for each task, joined by whoever wants the
// result. It posts nothing, for nobody could wait for a detached thread.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "peers/peer.hpp"

namespace bench {

class StdThread {
 public:
  static constexpr const char* kName = "std_thread";
  static constexpr bool kHasWorkers = false;
  static constexpr bool kThreadPerTask = true;

  template <class T> class Pending {
   public:
    Pending() = default;
    template <class F>
    explicit Pending(F task)
        : result_(std::make_unique<std::optional<T>>()),
          thread_(
              [result = result_.get(), task = std::move(task)]() mutable { *result = task(); }) {}

    T get() {
      thread_.join();
      return std::move(**result_);
    }

   private:
    std::unique_ptr<std::optional<T>> result_;
    std::thread thread_;
  };

  explicit StdThread(int /*workers*/) {}

  template <class F> auto submit(F task) {
    return Pending<std::invoke_result_t<F&>>(std::move(task));
  }
  template <class F> auto run(F root) { return submit(std::move(root)).get(); }

  template <std::size_t N> class Children {
   public:
    explicit Children(StdThread& /*peer*/) {}
    template <class F> void start(F task) { pending_[size_++] = Pending<long long>(task); }

    long long sum() {
      long long sum = 0;
      while (size_ > 0) sum += pending_[--size_].get();
      return sum;
    }

   private:
    std::array<Pending<long long>, N> pending_;
    std::size_t size_ = 0;
  };
};

/// A loop that is split by hand: an equal part for each of the threads, which it starts and joins.
class StdThreadSplit {
 public:
  static constexpr const char* kName = "std_thread_split";
  static constexpr bool kHasWorkers = true;

  explicit StdThreadSplit(int workers) : workers_(workers) {}

  template <class F> void loop(int count, F body) {
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers_; ++worker) {
      const int begin = static_cast<int>(1LL * count * worker / workers_);
      const int end = static_cast<int>(1LL * count * (worker + 1) / workers_);
      threads.emplace_back([begin, end, &body] {
        for (int i = begin; i < end; ++i) body(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int workers_;
};

static_assert(Submits<StdThread> && Forks<StdThread> && Loops<StdThreadSplit>);

}  // namespace bench
