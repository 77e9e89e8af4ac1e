// SPDX-License-Identifier: MIT
//
// oneTBB. It has no futures: a handle is a std::packaged_task that is enqueued into an arena. What
// forks is a tbb::task_group inside the arena. The arena has no place for the caller, so the number
// of workers means the same as elsewhere. TBB keeps its threads when an arena ends.
#pragma once

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include <array>
#include <cstddef>
#include <future>
#include <type_traits>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class Tbb {
 public:
  static constexpr const char* kName = "tbb";
  static constexpr bool kHasWorkers = true;

  // The limit counts the thread that sets it.
  explicit Tbb(int workers)
      : limit_(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(workers) + 1),
        arena_(workers, 0) {}

  // task_group says that its destructor may throw; not once it has been waited for.
  ~Tbb() noexcept {
    arena_.execute([this] { posted_.wait(); });
  }

  Tbb(const Tbb&) = delete;
  Tbb& operator=(const Tbb&) = delete;

  template <class F> auto submit(F task) {
    std::packaged_task<std::invoke_result_t<F&>()> packaged(std::move(task));
    auto future = packaged.get_future();
    arena_.enqueue(Enqueued<std::invoke_result_t<F&>>{std::move(packaged)});
    return future;
  }

  template <class F> void post(F task) { arena_.enqueue(posted_.defer(std::move(task))); }
  template <class F> auto run(F root) { return submit(std::move(root)).get(); }

  template <class F> void loop(int count, F body) {
    arena_.execute([&] { tbb::parallel_for(0, count, body, tbb::simple_partitioner()); });
  }

  template <std::size_t N> class Children {
   public:
    explicit Children(Tbb& /*peer*/) {}

    template <class F> void start(F task) {
      group_.run([result = &results_[size_++], task] { *result = task(); });
    }

    long long sum() {
      group_.wait();
      long long sum = 0;
      while (size_ > 0) sum += results_[--size_];
      return sum;
    }

   private:
    tbb::task_group group_;
    std::array<long long, N> results_;
    std::size_t size_ = 0;
  };

 private:
  // enqueue calls its functor as const, which a packaged_task does not take.
  template <class R> struct Enqueued {
    mutable std::packaged_task<R()> task;
    void operator()() const { task(); }
  };

  tbb::global_control limit_;
  tbb::task_arena arena_;
  tbb::task_group posted_;
};

static_assert(Submits<Tbb> && Posts<Tbb> && Forks<Tbb> && Loops<Tbb>);

}  // namespace bench
