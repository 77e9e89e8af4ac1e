// SPDX-License-Identifier: MIT
//
// shutdown() against everything else: what was accepted is completed, what was not has thrown.

#include <concurrent/executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ShutdownError;
using concurrent::ShutdownOptions;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using support::Counted;
using support::Counts;
using support::Gate;
using support::scaled;

TEST_CASE("submit() racing shutdown() is accepted and completed, or throws and never runs",
          "[shutdown]") {
  const bool cancel_futures = GENERATE(false, true);
  const bool wait = GENERATE(true, false);
  CAPTURE(cancel_futures, wait);
  constexpr int kSubmitters = 3;
  const int rounds = scaled(150);
  Random random(21);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran = 0;
    std::atomic<int> accepted = 0;
    std::vector<std::vector<Future<int>>> futures(kSubmitters);
    const int workers = 1 + random.below(3);
    const int threshold = random.below(300);
    const int delay = random.below(2000);
    {
      ThreadPoolExecutor pool(workers);
      in_parallel(kSubmitters + 1, [&](int role) {
        if (role == kSubmitters) {
          while (accepted.load(std::memory_order_relaxed) < threshold) {
            std::this_thread::yield();
          }
          stress::spin(delay);
          pool.shutdown({.wait = wait, .cancel_futures = cancel_futures});
          return;
        }
        try {
          // A bound, for the one who closes may be late.
          for (int i = 0; i < 3000; ++i) {
            futures[static_cast<std::size_t>(role)].push_back(pool.submit([&ran, i] {
              ran.fetch_add(1, std::memory_order_relaxed);
              return i;
            }));
            accepted.fetch_add(1, std::memory_order_relaxed);
          }
        } catch (const ShutdownError&) {
          // As expected, sooner or later.
        }
      });
    }
    int completed = 0;
    int cancelled = 0;
    int wrong = 0;
    for (const auto& mine : futures) {
      for (std::size_t i = 0; i < mine.size(); ++i) {
        if (!mine[i].done()) {
          ++wrong;
        } else if (mine[i].cancelled()) {
          ++cancelled;
        } else {
          ++completed;
          if (mine[i].result() != static_cast<int>(i)) ++wrong;
        }
      }
    }
    REQUIRE(wrong == 0);
    REQUIRE(completed == ran.load());
    REQUIRE(completed + cancelled == accepted.load());
    if (!cancel_futures) REQUIRE(cancelled == 0);
  }
}

TEST_CASE("shutdown() may be called by many threads at once and each finds all work done",
          "[shutdown]") {
  const int rounds = scaled(300);
  for (int round = 0; round < rounds; ++round) {
    constexpr int kTasks = 50;
    std::atomic<int> ran = 0;
    std::atomic<int> early = 0;
    ThreadPoolExecutor pool(2);
    for (int i = 0; i < kTasks; ++i) {
      pool.post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
    }
    in_parallel(4, [&](int) {
      pool.shutdown();
      if (ran.load(std::memory_order_relaxed) != kTasks) early.fetch_add(1);
    });
    REQUIRE(early.load() == 0);
  }
}

TEST_CASE("Tasks that submit during shutdown() are refused or run, never lost", "[shutdown]") {
  const int rounds = scaled(300);
  Random random(22);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> accepted = 0;
    std::atomic<int> ran = 0;
    const int delay = random.below(20000);
    {
      ThreadPoolExecutor pool(2);
      // Each task goes on until it is refused, or long enough.
      for (int i = 0; i < 4; ++i) {
        pool.post([&] {
          try {
            for (int j = 0; j < 20000; ++j) {
              pool.post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
              accepted.fetch_add(1, std::memory_order_relaxed);
            }
          } catch (const ShutdownError&) {
            // The end of this task.
          }
        });
      }
      stress::spin(delay);
    }
    REQUIRE(ran.load() == accepted.load());
  }
}

TEST_CASE("shutdown() with cancel_futures destroys every callable that it cancels", "[shutdown]") {
  const int rounds = scaled(100);
  for (int round = 0; round < rounds; ++round) {
    Counts counts;
    {
      ThreadPoolExecutor pool(2);
      std::vector<Future<int>> futures;
      in_parallel(2, [&](int role) {
        if (role == 0) {
          try {
            for (int i = 0; i < 1000; ++i) { futures.push_back(pool.submit(Counted(counts, i))); }
          } catch (const ShutdownError&) {
            // Then fewer.
          }
        } else {
          stress::spin(round * 500);
          pool.shutdown({.wait = false, .cancel_futures = true});
        }
      });
      pool.shutdown();
      // The futures are still held: it is completion that destroys the callables.
      REQUIRE(counts.alive.load() == 0);
    }
  }
}

TEST_CASE("An executor may be destroyed by its own task: its queue is finished, its threads end",
          "[shutdown]") {
  const int rounds = scaled(1000);
  const int baseline = support::count_threads();
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<int>> futures;
    auto pool = std::make_shared<ThreadPoolExecutor>(1 + round % 3);
    Gate gate;
    futures.push_back(pool->submit([&gate, pool]() mutable {
      gate.wait();
      pool.reset();
      return 0;
    }));
    for (int i = 1; i < 10; ++i) {
      futures.push_back(pool->submit([i] { return i; }));
    }
    pool.reset();
    gate.open();
    for (int i = 0; i < 10; ++i) { REQUIRE(futures[static_cast<std::size_t>(i)].result() == i); }
  }
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("An executor may be destroyed with the callable of its own task", "[shutdown]") {
  // Its owner is a capture, which dies on the worker before the future is done.
  const int rounds = scaled(1000);
  const int baseline = support::count_threads();
  for (int round = 0; round < rounds; ++round) {
    auto pool = std::make_shared<ThreadPoolExecutor>(1 + round % 3);
    auto owner = pool->submit([pool] { return 1; });
    auto behind = pool->submit([] { return 2; });
    pool.reset();
    REQUIRE(owner.result() == 1);
    REQUIRE(behind.result() == 2);
  }
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("shutdown() inside a task begins it and throws DeadlockError, under load", "[shutdown]") {
  const int rounds = scaled(300);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran = 0;
    std::vector<Future<void>> futures;
    ThreadPoolExecutor pool(2);
    auto closing = pool.submit([&pool] { pool.shutdown(); });
    try {
      for (int i = 0; i < 3000; ++i) {
        futures.push_back(pool.submit([&ran] { ran.fetch_add(1, std::memory_order_relaxed); }));
      }
    } catch (const ShutdownError&) {
      // The task has begun the shutdown.
    }
    REQUIRE_THROWS_AS(closing.result(), concurrent::DeadlockError);
    pool.shutdown();
    REQUIRE(ran.load() == static_cast<int>(futures.size()));
  }
}

TEST_CASE("A worker of one pool may shut down another", "[shutdown]") {
  const int rounds = scaled(300);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran = 0;
    ThreadPoolExecutor outer(1);
    auto all_have_run = outer.submit([&ran] {
      ThreadPoolExecutor inner(2);
      for (int i = 0; i < 20; ++i) {
        inner.post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
      }
      inner.shutdown();
      return ran.load(std::memory_order_relaxed) == 20;
    });
    REQUIRE(all_have_run.result());
  }
}
