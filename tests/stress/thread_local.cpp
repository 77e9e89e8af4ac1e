// SPDX-License-Identifier: MIT
//
// thread_local objects whose destructors use the library, in workers and in other threads.

#include <concurrent/executor.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Counted;
using support::Counts;
using support::scaled;

namespace {

// What the destructors below have seen.
struct Seen {
  std::atomic<int> results = 0;
  std::atomic<int> refusals = 0;
  std::atomic<int> others = 0;
};

// Reads a finished future and tries to submit when its thread ends.
struct AtThreadEnd {
  Seen* seen = nullptr;
  ThreadPoolExecutor* pool = nullptr;
  Future<int> future;
  ~AtThreadEnd() {
    if (seen == nullptr) return;
    try {
      if (future.result() == 7) seen->results.fetch_add(1);
    } catch (...) { seen->others.fetch_add(1); }
    try {
      pool->post([] {});
      seen->others.fetch_add(1);
    } catch (const concurrent::ShutdownError&) { seen->refusals.fetch_add(1); }
  }
};

thread_local AtThreadEnd at_thread_end;
thread_local std::optional<Future<Counted>> kept_future;
thread_local std::unique_ptr<ThreadPoolExecutor> own_pool;

}  // namespace

TEST_CASE("A destructor at the end of a worker reads futures, and is refused when it submits",
          "[thread_local]") {
  const int rounds = scaled(300);
  Seen seen;
  for (int round = 0; round < rounds; ++round) {
    ThreadPoolExecutor pool(1);
    auto finished = pool.submit([] { return 7; });
    pool.post([&seen, &pool, finished] {
      at_thread_end.seen = &seen;
      at_thread_end.pool = &pool;
      at_thread_end.future = finished;
    });
  }
  REQUIRE(seen.results.load() == rounds);
  REQUIRE(seen.refusals.load() == rounds);
  REQUIRE(seen.others.load() == 0);
}

TEST_CASE("The last handle of a future may die with a worker, and with any other thread",
          "[thread_local]") {
  const int rounds = scaled(300);
  Counts counts;
  for (int round = 0; round < rounds; ++round) {
    {
      ThreadPoolExecutor pool(2);
      auto future = pool.submit([&counts] { return Counted(counts); });
      pool.submit([future] { kept_future = future; }).wait();
      std::thread([future] { kept_future = future; }).join();
    }
    REQUIRE(counts.alive.load() == 0);
  }
}

TEST_CASE("A pool that belongs to a thread is drained when that thread ends", "[thread_local]") {
  const int rounds = scaled(300);
  std::atomic<int> ran = 0;
  for (int round = 0; round < rounds; ++round) {
    std::thread([&ran] {
      own_pool = std::make_unique<ThreadPoolExecutor>(2);
      for (int i = 0; i < 10; ++i) {
        own_pool->post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
      }
    }).join();
  }
  REQUIRE(ran.load() == 10 * rounds);
}

TEST_CASE("A pool that belongs to a worker of another is drained when that worker ends",
          "[thread_local]") {
  const int rounds = scaled(300);
  std::atomic<int> ran = 0;
  for (int round = 0; round < rounds; ++round) {
    ThreadPoolExecutor outer(1);
    outer.post([&ran] {
      own_pool = std::make_unique<ThreadPoolExecutor>(1);
      own_pool->post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
    });
  }
  REQUIRE(ran.load() == rounds);
}

TEST_CASE("Threads that end give back the memory that they had put by", "[thread_local]") {
  // Each thread makes and drops futures; what it recycles for itself must not be lost with it.
  const int rounds = scaled(300);
  Counts counts;
  ThreadPoolExecutor pool(1);
  for (int round = 0; round < rounds; ++round) {
    std::thread([&] {
      std::vector<Future<Counted>> futures;
      for (int i = 0; i < 200; ++i) {
        futures.push_back(pool.submit([&counts] { return Counted(counts); }));
      }
      for (const auto& future : futures) { future.wait(); }
    }).join();
  }
  pool.shutdown();
  REQUIRE(counts.alive.load() == 0);
}
