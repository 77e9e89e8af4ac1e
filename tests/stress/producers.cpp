// SPDX-License-Identifier: MIT
//
// Many threads submit to one executor.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using support::scaled;

namespace {

// A callable that takes its time whenever it is moved: what is half moved must not be run.
class SlowMover {
 public:
  explicit SlowMover(int value) : value_(value) {}
  SlowMover(SlowMover&& other) noexcept : value_(-1) {
    std::this_thread::yield();
    value_ = std::exchange(other.value_, -2);
  }
  int operator()() const { return value_; }

 private:
  int value_;
};

}  // namespace

TEST_CASE("Eight threads submit to one executor and each gets its own results", "[producers]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int count = scaled(20000);
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(workers);
  in_parallel(8, [&](int producer) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < count; ++i) {
      futures.push_back(pool.submit([producer, i] { return producer * 1000000 + i; }));
    }
    for (int i = 0; i < count; ++i) {
      const int expected = producer * 1000000 + i;
      if (futures[static_cast<std::size_t>(i)].get() != expected) wrong.fetch_add(1);
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("One worker runs the tasks of each producer in the order of their submission",
          "[producers]") {
  constexpr int kProducers = 8;
  const int count = scaled(20000);
  // Only the one worker touches these, so they need no lock; ThreadSanitizer watches that.
  std::vector<int> last(kProducers, -1);
  int out_of_order = 0;
  {
    ThreadPoolExecutor pool(1);
    in_parallel(kProducers, [&](int producer) {
      for (int i = 0; i < count; ++i) {
        pool.post([&last, &out_of_order, producer, i] {
          int& previous = last[static_cast<std::size_t>(producer)];
          if (previous != i - 1) ++out_of_order;
          previous = i;
        });
      }
    });
  }
  REQUIRE(out_of_order == 0);
  REQUIRE(last == std::vector<int>(kProducers, count - 1));
}

TEST_CASE(
    "One worker keeps the order of submits that happen one before the other, though in "
    "different threads",
    "[producers]") {
  constexpr int kProducers = 3;
  const int count = scaled(6000);
  std::atomic<int> turn = 0;
  std::vector<int> order;
  {
    ThreadPoolExecutor pool(1);
    in_parallel(kProducers, [&](int producer) {
      for (int i = producer; i < count; i += kProducers) {
        while (turn.load(std::memory_order_acquire) != i) { std::this_thread::yield(); }
        pool.post([&order, i] { order.push_back(i); });
        turn.store(i + 1, std::memory_order_release);
      }
    });
  }
  REQUIRE(order.size() == static_cast<std::size_t>(count));
  REQUIRE(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("Threads that submit a few tasks and end leave nothing undone", "[producers]") {
  const int generations = scaled(60);
  std::atomic<int> calls = 0;
  {
    ThreadPoolExecutor pool(2);
    for (int generation = 0; generation < generations; ++generation) {
      in_parallel(8, [&](int) {
        for (int i = 0; i < 20; ++i) {
          pool.submit([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
        }
      });
    }
  }
  REQUIRE(calls.load() == generations * 8 * 20);
}

TEST_CASE("A callable that is slow to move is never run before it has arrived", "[producers]") {
  const int count = scaled(3000);
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(2);
  in_parallel(4, [&](int producer) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < count; ++i) {
      futures.push_back(pool.submit(SlowMover(producer * 1000000 + i)));
    }
    for (int i = 0; i < count; ++i) {
      const int expected = producer * 1000000 + i;
      if (futures[static_cast<std::size_t>(i)].result() != expected) wrong.fetch_add(1);
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("Tasks are added while others are drained, for a second", "[producers]") {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  std::atomic<long> submitted = 0;
  std::atomic<long> calls = 0;
  ThreadPoolExecutor pool(2);
  in_parallel(8, [&](int producer) {
    Random random(static_cast<std::uint64_t>(producer));
    while (std::chrono::steady_clock::now() < deadline) {
      std::vector<Future<void>> burst;
      const int count = 1 + random.below(300);
      for (int i = 0; i < count; ++i) {
        burst.push_back(pool.submit([&calls] { calls.fetch_add(1, std::memory_order_relaxed); }));
      }
      submitted.fetch_add(count, std::memory_order_relaxed);
      // Sometimes the whole burst is awaited, sometimes one of it, sometimes nothing.
      const int waits = random.below(3);
      if (waits == 1) burst[static_cast<std::size_t>(random.below(count))].result();
      if (waits == 2) {
        for (const Future<void>& future : burst) { future.result(); }
      }
    }
  });
  pool.shutdown();
  REQUIRE(calls.load() == submitted.load());
}

TEST_CASE("One thread submits while others wait for what it has submitted so far", "[producers]") {
  const int count = scaled(20000);
  std::mutex mutex;
  std::vector<Future<int>> futures;  // guarded by mutex
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(2);
  in_parallel(4, [&](int role) {
    if (role == 0) {
      for (int i = 0; i < count; ++i) {
        auto future = pool.submit([i] { return i; });
        const std::lock_guard lock(mutex);
        futures.push_back(std::move(future));
      }
      return;
    }
    for (int i = 0; i < count;) {
      Future<int> next;
      {
        const std::lock_guard lock(mutex);
        if (static_cast<std::size_t>(i) < futures.size()) {
          next = futures[static_cast<std::size_t>(i)];
        }
      }
      if (!next.valid()) {
        std::this_thread::yield();
        continue;
      }
      if (next.result() != i) wrong.fetch_add(1);
      ++i;
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("One callable object may be submitted a thousand times", "[producers]") {
  std::atomic<int> calls = 0;
  auto callable = [&calls] { return calls.fetch_add(1, std::memory_order_relaxed); };
  std::vector<bool> seen(1000);
  ThreadPoolExecutor pool(2);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 1000; ++i) { futures.push_back(pool.submit(callable)); }
  for (const Future<int>& future : futures) {
    seen.at(static_cast<std::size_t>(future.result())) = true;
  }
  REQUIRE(std::find(seen.begin(), seen.end(), false) == seen.end());
}
