// SPDX-License-Identifier: MIT
//
// What Python promises of ThreadPoolExecutor: its threads, and waiting inside a task.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;

TEST_CASE("An executor has as many workers as there are usable CPUs by default", "[threads]") {
  REQUIRE(concurrent::usable_cpus() >= 1);
  ThreadPoolExecutor pool;
  REQUIRE(pool.max_workers() == concurrent::usable_cpus());
  ThreadPoolExecutor with_options({.thread_name_prefix = "default"});
  REQUIRE(with_options.max_workers() == concurrent::usable_cpus());
}

TEST_CASE("A saturated executor has max_workers threads and no more", "[threads]") {
  constexpr int kWorkers = 4;
  Gate gate;
  const int baseline = support::count_threads();
  ThreadPoolExecutor pool(kWorkers);
  const support::OpenAtExit opener(gate);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 15 * kWorkers; ++i) {
    futures.push_back(pool.submit([&gate] { gate.wait(); }));
    REQUIRE(pool.worker_count() == std::min(i + 1, kWorkers));
  }
  REQUIRE(support::count_threads() <= baseline + kWorkers);
  gate.open();
  for (auto& future : futures) { future.result(); }
  REQUIRE(pool.worker_count() == kWorkers);
}

TEST_CASE("Threads start on demand: an executor that was given nothing has none", "[threads]") {
  const int baseline = support::count_threads();
  ThreadPoolExecutor pool(1000);
  REQUIRE(pool.max_workers() == 1000);
  REQUIRE(pool.worker_count() == 0);
  REQUIRE(support::count_threads() <= baseline);
  pool.submit([] {}).result();
  REQUIRE(pool.worker_count() == 1);
}

TEST_CASE("An idle worker is used again before a new one is started", "[threads]") {
  ThreadPoolExecutor pool(100);
  pool.submit([] {}).result();
  for (int i = 0; i < 10; ++i) {
    const long worker = pool.submit(support::this_thread_number).result();
    REQUIRE(support::falls_asleep(worker));
    const int before = pool.worker_count();
    pool.submit([] {}).result();
    REQUIRE(pool.worker_count() == before);
  }
}

TEST_CASE("The workers of an executor are reused for all of its tasks", "[threads]") {
  std::mutex mutex;
  std::set<std::thread::id> ids;
  {
    ThreadPoolExecutor pool(3);
    for (int i = 0; i < 200; ++i) {
      pool.submit([&] {
        const std::lock_guard lock(mutex);
        ids.insert(std::this_thread::get_id());
      });
    }
  }
  REQUIRE(ids.size() <= 3);
  REQUIRE_FALSE(ids.empty());
}

TEST_CASE("A task may submit further tasks to its own executor", "[threads]") {
  ThreadPoolExecutor pool(2);
  auto outer = pool.submit([&pool] { return pool.submit([] { return 42; }); });
  REQUIRE(outer.result().result() == 42);
}

TEST_CASE(
    "A task that waits for a task of its own executor does not block it, though only one "
    "worker exists",
    "[threads]") {
  // Python's documentation shows this very program as a deadlock.
  ThreadPoolExecutor pool(1);
  auto wait_on_future = [&pool] { return pool.submit([] { return 5 * 5; }).result(); };
  REQUIRE(pool.submit(wait_on_future).result() == 25);
}

TEST_CASE("A task may wait for a task that was submitted from outside behind it", "[threads]") {
  Gate gate;
  Future<int> behind;
  ThreadPoolExecutor pool(1);
  auto waiting = pool.submit([&] {
    gate.wait();
    return behind.result() + 1;
  });
  behind = pool.submit([] { return 6; });
  gate.open();
  REQUIRE(waiting.result() == 7);
}
