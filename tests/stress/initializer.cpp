// SPDX-License-Identifier: MIT
//
// The initializer under load, above all when it fails.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
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

using concurrent::BrokenThreadPool;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using support::Counted;
using support::Counts;
using support::Gate;
using support::scaled;

namespace {

// Counts the end of a thread that has set it.
struct AtThreadEnd {
  std::atomic<int>* ended = nullptr;
  ~AtThreadEnd() {
    if (ended != nullptr) ended->fetch_add(1);
  }
};
thread_local AtThreadEnd at_thread_end;

}  // namespace

TEST_CASE("The initializer fails in one of the workers, under load: every future is completed",
          "[initializer]") {
  constexpr int kWorkers = 4;
  constexpr int kSubmitters = 3;
  const int failing = GENERATE(1, 2, 3, 4);
  CAPTURE(failing);
  const int rounds = scaled(100);
  for (int round = 0; round < rounds; ++round) {
    Counts counts;
    std::atomic<int> calls = 0;
    std::atomic<int> refused = 0;
    std::atomic<int> wrong = 0;
    {
      ThreadPoolExecutor pool({.max_workers = kWorkers, .initializer = [&calls, failing] {
                                 if (calls.fetch_add(1) + 1 == failing) {
                                   throw std::runtime_error("worker failed");
                                 }
                               }});
      in_parallel(kSubmitters, [&](int) {
        std::vector<Future<int>> futures;
        try {
          // Each waits at times, so that it is up to chance how many workers start and when.
          for (int i = 0; i < 400; ++i) {
            futures.push_back(pool.submit([i, counted = Counted(counts)] {
              stress::spin(200);
              return i;
            }));
          }
        } catch (const BrokenThreadPool&) { refused.fetch_add(1); }
        for (std::size_t i = 0; i < futures.size(); ++i) {
          try {
            if (futures[i].result() != static_cast<int>(i)) wrong.fetch_add(1);
          } catch (const BrokenThreadPool&) { refused.fetch_add(1); }
        }
      });
      // As many workers as that may not have started.
      if (calls.load() >= failing) {
        REQUIRE(support::eventually([&] {
          try {
            pool.submit([] {});
          } catch (const BrokenThreadPool&) { return true; }
          return false;
        }));
      }
    }
    REQUIRE(wrong.load() == 0);
    REQUIRE(counts.alive.load() == 0);
  }
}

TEST_CASE("An initializer that fails as the pool is shut down does not hang it", "[initializer]") {
  const int rounds = scaled(500);
  const int baseline = support::count_threads();
  for (int round = 0; round < rounds; ++round) {
    Gate gate;
    std::vector<Future<int>> futures;
    std::thread opener([&gate, round] {
      stress::spin(round * 100);
      gate.open();
    });
    {
      ThreadPoolExecutor pool({.max_workers = 2, .initializer = [&gate] {
                                 gate.wait();
                                 throw 1;
                               }});
      try {
        for (int i = 0; i < 10; ++i) {
          futures.push_back(pool.submit([i] { return i; }));
        }
      } catch (const BrokenThreadPool&) {
        // The gate was open so soon.
      }
      if (round % 2 == 0) pool.shutdown({.wait = false, .cancel_futures = true});
    }
    opener.join();
    for (const Future<int>& future : futures) {
      REQUIRE(future.done());
      if (!future.cancelled()) REQUIRE_THROWS_AS(future.result(), BrokenThreadPool);
    }
  }
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("A waiter on a future of a pool that breaks wakes", "[initializer]") {
  const int rounds = scaled(300);
  std::atomic<int> broken = 0;
  for (int round = 0; round < rounds; ++round) {
    Gate gate;
    ThreadPoolExecutor pool({.max_workers = 1, .initializer = [&gate] {
                               gate.wait();
                               throw 1;
                             }});
    const support::OpenAtExit opener(gate);
    auto first = pool.submit([] {});
    auto second = pool.submit([] {});
    in_parallel(3, [&](int role) {
      if (role == 2) {
        gate.open();
        return;
      }
      try {
        (role == 0 ? first : second).result();
      } catch (const BrokenThreadPool&) { broken.fetch_add(1); }
    });
  }
  REQUIRE(broken.load() == 2 * rounds);
}

TEST_CASE("The initializer runs exactly once for each worker that has run a task",
          "[initializer]") {
  static thread_local int initialized = 0;
  const int rounds = scaled(200);
  std::atomic<int> wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> calls = 0;
    ThreadPoolExecutor pool({.max_workers = 4, .initializer = [&calls] {
                               calls.fetch_add(1);
                               ++initialized;
                             }});
    in_parallel(2, [&](int) {
      for (int i = 0; i < 50; ++i) {
        pool.post([&wrong] {
          if (initialized != 1) wrong.fetch_add(1);
        });
      }
    });
    const int workers = pool.worker_count();
    pool.shutdown();
    REQUIRE(calls.load() <= 4);
    REQUIRE(calls.load() <= workers);
  }
  REQUIRE(wrong.load() == 0);
}

TEST_CASE(
    "Each thread, a spare too, begins once with the initializer and has ended behind the "
    "destructor",
    "[initializer]") {
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> begun = 0;
    std::atomic<int> ended = 0;
    std::atomic<int> unseen = 0;
    const bool breaks = round % 5 == 4;
    {
      ThreadPoolExecutor pool({.max_workers = 1 + round % 4, .initializer = [&, breaks] {
                                 at_thread_end.ended = &ended;
                                 if (begun.fetch_add(1) == 1 && breaks) throw 1;
                               }});
      try {
        for (int i = 0; i < 10; ++i) {
          pool.post([&] {
            if (at_thread_end.ended != &ended) unseen.fetch_add(1);
            // With a limit, so that a spare has to help.
            try {
              pool.submit([] {}).wait_for(std::chrono::minutes(1));
            } catch (const concurrent::Error&) {
              // Broken, or shut down.
            }
          });
        }
      } catch (const BrokenThreadPool&) {
        // So soon.
      }
    }
    REQUIRE(unseen.load() == 0);
    REQUIRE(begun.load() >= 1);
    REQUIRE(ended.load() == begun.load());
  }
}

TEST_CASE("An initializer that submits to its own pool does not block it", "[initializer]") {
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran = 0;
    ThreadPoolExecutor* self = nullptr;
    ThreadPoolExecutor pool({.max_workers = 2, .initializer = [&] {
                               try {
                                 self->post([&ran] { ran.fetch_add(1); });
                               } catch (const concurrent::ShutdownError&) {
                                 // The second worker may start as late as that.
                               }
                             }});
    self = &pool;
    pool.submit([] {}).result();
    pool.shutdown();
    REQUIRE(ran.load() >= 1);
    REQUIRE(ran.load() <= 2);
  }
}
