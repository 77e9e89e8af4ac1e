// SPDX-License-Identifier: MIT
//
// cancel() and request_stop() against workers, waiters and each other.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::CancelledError;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using stress::Tally;
using support::Counted;
using support::Counts;
using support::Gate;
using support::scaled;

namespace {

// Futures that one thread hands to others, in order.
class Stream {
 public:
  explicit Stream(int count) : futures_(static_cast<std::size_t>(count)) {}

  void put(Future<int> future) {
    const std::size_t index = published_.load(std::memory_order_relaxed);
    futures_[index] = std::move(future);
    published_.store(index + 1, std::memory_order_release);
  }

  const Future<int>& at(int index) const {
    while (published_.load(std::memory_order_acquire) <= static_cast<std::size_t>(index)) {
      std::this_thread::yield();
    }
    return futures_[static_cast<std::size_t>(index)];
  }

 private:
  std::vector<Future<int>> futures_;
  std::atomic<std::size_t> published_ = 0;
};

}  // namespace

TEST_CASE("A task is run or cancelled, never both, and all who cancel hear the same answer",
          "[cancel]") {
  constexpr int kCancellers = 2;
  const int count = scaled(40000);
  Counts counts;
  Tally tally(static_cast<std::size_t>(count));
  Stream stream(count);
  std::vector<std::vector<char>> answers(kCancellers,
                                         std::vector<char>(static_cast<std::size_t>(count)));
  {
    ThreadPoolExecutor pool(2);
    in_parallel(kCancellers + 1, [&](int role) {
      if (role == kCancellers) {
        for (int i = 0; i < count; ++i) {
          stream.put(pool.submit([&tally, i, counted = Counted(counts)] {
            tally.hit(i);
            return i;
          }));
        }
        return;
      }
      Random random(static_cast<std::uint64_t>(31 + role));
      for (int i = 0; i < count; ++i) {
        const Future<int>& future = stream.at(i);
        stress::spin(random.below(50));
        answers[static_cast<std::size_t>(role)][static_cast<std::size_t>(i)] = future.cancel();
      }
    });
  }
  REQUIRE(counts.alive.load() == 0);
  int contradictions = 0;
  int cancelled = 0;
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const Future<int>& future = stream.at(i);
    const bool is_cancelled = future.cancelled();
    if (is_cancelled) ++cancelled;
    if (tally.hits(index) != (is_cancelled ? 0 : 1)) ++contradictions;
    for (const auto& mine : answers) {
      if ((mine[index] != 0) != is_cancelled) ++contradictions;
    }
    if (!is_cancelled && future.result() != i) ++contradictions;
  }
  CAPTURE(cancelled, count);
  REQUIRE(contradictions == 0);
}

TEST_CASE("cancel() that returned true means done, and that the callable is destroyed",
          "[cancel]") {
  const int rounds = scaled(300);
  Random random(32);
  for (int round = 0; round < rounds; ++round) {
    constexpr int kTasks = 40;
    Counts counts[kTasks];
    std::atomic<int> wrong = 0;
    ThreadPoolExecutor pool(1);
    std::vector<Future<int>> futures;
    for (auto& count : counts) { futures.push_back(pool.submit(Counted(count, 1))); }
    // Both cancel everything, in opposite directions, so that they meet.
    in_parallel(2, [&](int role) {
      for (int i = 0; i < kTasks; ++i) {
        const auto index = static_cast<std::size_t>(role == 0 ? i : kTasks - 1 - i);
        if (!futures[index].cancel()) continue;
        if (!futures[index].done() || !futures[index].cancelled()) wrong.fetch_add(1);
        if (counts[index].alive.load() != 0) wrong.fetch_add(1);
      }
    });
    REQUIRE(wrong.load() == 0);
  }
}

TEST_CASE("Whoever waits for a future that is cancelled wakes up", "[cancel]") {
  const int count = scaled(20000);
  Stream stream(count);
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(1);
  in_parallel(4, [&](int role) {
    for (int i = 0; i < count; ++i) {
      if (role == 0) {
        stream.put(pool.submit([i] { return i; }));
      } else if (role == 1) {
        stream.at(i).cancel();
      } else {
        // One waits without a limit, one with a limit that it does not reach.
        const Future<int>& future = stream.at(i);
        try {
          const int value = role == 2 ? future.result() : future.result(std::chrono::minutes(5));
          if (value != i || future.cancelled()) wrong.fetch_add(1);
        } catch (const CancelledError&) {
          if (!future.cancelled()) wrong.fetch_add(1);
        }
      }
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("A child that others try to cancel while its parent waits for it ends one way for all",
          "[cancel]") {
  const int rounds = scaled(10000);
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    Gate handed_over;
    Future<int> child;
    auto parent = pool.submit([&] {
      child = pool.submit([] { return 5; });
      handed_over.open();
      try {
        return child.result();
      } catch (const CancelledError&) { return -1; }
    });
    handed_over.wait();
    const bool cancelled = child.cancel();
    const int seen = parent.result();
    if (seen != (cancelled ? -1 : 5)) wrong.fetch_add(1);
  }
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("cancel() racing shutdown() with cancel_futures leaves every future done", "[cancel]") {
  const int rounds = scaled(300);
  for (int round = 0; round < rounds; ++round) {
    constexpr int kTasks = 200;
    std::atomic<int> ran = 0;
    ThreadPoolExecutor pool(2);
    std::vector<Future<void>> futures;
    for (int i = 0; i < kTasks; ++i) {
      futures.push_back(pool.submit([&ran] { ran.fetch_add(1, std::memory_order_relaxed); }));
    }
    in_parallel(2, [&](int role) {
      if (role == 0) {
        pool.shutdown({.cancel_futures = true});
        return;
      }
      for (auto it = futures.rbegin(); it != futures.rend(); ++it) { it->cancel(); }
    });
    int cancelled = 0;
    for (const Future<void>& future : futures) {
      REQUIRE(future.done());
      if (future.cancelled()) ++cancelled;
    }
    REQUIRE(cancelled + ran.load() == kTasks);
  }
}

TEST_CASE("A cancelled task's captures may submit, cancel and shut down as they are destroyed",
          "[cancel]") {
  // No lock of the library may be held while it destroys what belongs to the user.
  struct Meddler {
    ThreadPoolExecutor* pool;
    Future<int> other;
    Meddler(ThreadPoolExecutor& executor, Future<int> future)
        : pool(&executor), other(std::move(future)) {}
    Meddler(Meddler&& moved) noexcept
        : pool(std::exchange(moved.pool, nullptr)), other(std::move(moved.other)) {}
    ~Meddler() {
      if (pool == nullptr) return;
      other.cancel();
      try {
        pool->submit([] {});
      } catch (const concurrent::ShutdownError&) {
        // When the shutdown was first.
      }
      pool->shutdown({.wait = false});
    }
    int operator()() const { return 1; }
  };
  const int rounds = scaled(500);
  for (int round = 0; round < rounds; ++round) {
    Gate gate;
    ThreadPoolExecutor pool(1);
    const support::OpenAtExit opener(gate);
    auto blocker = pool.submit([&gate] { gate.wait(); });
    // Once it was cancelled before it began, the worker would come to the others.
    while (!blocker.running()) std::this_thread::yield();
    auto other = pool.submit([] { return 1; });
    auto meddling = pool.submit(Meddler(pool, other));
    if (round % 2 == 0) {
      REQUIRE(meddling.cancel());
    } else {
      pool.shutdown({.wait = false, .cancel_futures = true});
    }
    REQUIRE(meddling.cancelled());
    REQUIRE(other.cancelled());
  }
}

#if defined(__cpp_lib_jthread)

TEST_CASE("request_stop() by several threads: one of them is told that it was first", "[cancel]") {
  const int count = scaled(10000);
  Stream stream(count);
  std::vector<std::atomic<int>> firsts(static_cast<std::size_t>(count));
  std::vector<std::atomic<int>> ran(static_cast<std::size_t>(count));
  ThreadPoolExecutor pool(2);
  in_parallel(3, [&](int role) {
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(i);
      if (role == 0) {
        stream.put(pool.submit([&, index](std::stop_token token) {
          ran[index].fetch_add(1);
          // Without the request it would never end.
          while (!token.stop_requested()) { std::this_thread::yield(); }
          return 1;
        }));
      } else if (stream.at(i).request_stop()) {
        firsts[index].fetch_add(1);
      }
    }
  });
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<std::size_t>(i);
    const Future<int>& future = stream.at(i);
    future.wait();
    if (ran[index].load() != (future.cancelled() ? 0 : 1)) ++wrong;
    if (firsts[index].load() < 1) ++wrong;
    if (!future.cancelled() && firsts[index].load() != 1) ++wrong;
  }
  REQUIRE(wrong == 0);
}

#endif
