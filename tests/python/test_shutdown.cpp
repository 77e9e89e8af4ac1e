// SPDX-License-Identifier: MIT
//
// What Python promises of shutdown() and of leaving the `with` block.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

TEST_CASE("submit() after shutdown() throws ShutdownError, a runtime_error, and says why",
          "[shutdown]") {
  ThreadPoolExecutor pool(1);
  pool.shutdown();
  REQUIRE_THROWS_AS(pool.submit([] {}), concurrent::ShutdownError);
  REQUIRE_THROWS_AS(pool.submit([] {}), std::runtime_error);
  REQUIRE_THROWS_AS(pool.post([] {}), concurrent::ShutdownError);
  std::string text;
  try {
    pool.submit([] {});
  } catch (const concurrent::ShutdownError& error) { text = error.what(); }
  REQUIRE(text.find("cannot schedule new futures after shutdown") != std::string::npos);
}

TEST_CASE("shutdown() waits until every pending task has run", "[shutdown]") {
  std::atomic<int> calls = 0;
  ThreadPoolExecutor pool(2);
  for (int i = 0; i < 100; ++i) {
    pool.submit([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
  }
  pool.shutdown();
  REQUIRE(calls.load() == 100);
}

TEST_CASE("shutdown() right after a flood of work does not hang", "[shutdown]") {
  ThreadPoolExecutor pool(3);
  auto results = pool.map([](int value) { return value; }, std::views::iota(0, 4));
  pool.shutdown();
  REQUIRE(results.result() == std::vector<int>{0, 1, 2, 3});
}

TEST_CASE("All results are there after shutdown() with many tasks that take a while",
          "[shutdown]") {
  ThreadPoolExecutor pool(5);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 50; ++i) {
    futures.push_back(pool.submit([i] {
      std::this_thread::sleep_for(2ms);
      return i;
    }));
  }
  pool.shutdown();
  for (int i = 0; i < 50; ++i) {
    REQUIRE(futures[static_cast<std::size_t>(i)].done());
    REQUIRE(futures[static_cast<std::size_t>(i)].result() == i);
  }
}

TEST_CASE("shutdown() with cancel_futures cancels what has not begun and finishes what runs",
          "[shutdown]") {
  Gate gate;
  support::Counter running;
  ThreadPoolExecutor pool(2);
  const support::OpenAtExit opener(gate);
  auto witness = std::make_shared<int>(0);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 50; ++i) {
    futures.push_back(pool.submit([&, witness, i] {
      running.add();
      gate.wait();
      return i;
    }));
  }
  running.reached(2);
  // With wait = false first, so that the gate can be opened by this thread afterwards.
  pool.shutdown({.wait = false, .cancel_futures = true});
  gate.open();
  pool.shutdown();
  int cancelled = 0;
  int finished = 0;
  for (int i = 0; i < 50; ++i) {
    auto& future = futures[static_cast<std::size_t>(i)];
    REQUIRE(future.done());
    if (future.cancelled()) {
      ++cancelled;
      REQUIRE_THROWS_AS(future.result(), concurrent::CancelledError);
    } else {
      ++finished;
      REQUIRE(future.result() == i);
    }
  }
  REQUIRE(finished == 2);
  REQUIRE(cancelled == 48);
  REQUIRE(witness.use_count() == 1);
}

TEST_CASE("shutdown() with both options returns when what had begun is finished", "[shutdown]") {
  Gate started;
  Gate gate;
  std::atomic<bool> has_finished = false;
  ThreadPoolExecutor pool(1);
  auto running = pool.submit([&] {
    started.open();
    gate.wait();
    has_finished.store(true);
  });
  auto pending = pool.submit([] {});
  started.wait();
  std::thread opener([&] {
    // The pending task is cancelled before shutdown() waits for the running one.
    pending.wait();
    gate.open();
  });
  pool.shutdown({.cancel_futures = true});
  const bool finished_at_return = has_finished.load();
  opener.join();
  REQUIRE(finished_at_return);
  REQUIRE(pending.cancelled());
  REQUIRE_FALSE(running.cancelled());
}

TEST_CASE("cancel_futures leaves finished futures as they are", "[shutdown]") {
  ThreadPoolExecutor pool(1);
  auto finished = pool.submit([] { return 3; });
  finished.wait();
  pool.shutdown({.cancel_futures = true});
  REQUIRE_FALSE(finished.cancelled());
  REQUIRE(finished.result() == 3);
}

TEST_CASE("shutdown() with wait = false returns at once and everything is still computed",
          "[shutdown]") {
  const int baseline = support::count_threads();
  Gate gate;
  ThreadPoolExecutor pool(2);
  auto results = pool.map(
      [&gate](int value) {
        gate.wait();
        return value + 1;
      },
      std::views::iota(0, 20));
  const support::OpenAtExit opener(gate);  // before the map's destructor, which waits
  pool.shutdown({.wait = false});
  REQUIRE_FALSE(results.done());
  REQUIRE_THROWS_AS(pool.submit([] {}), concurrent::ShutdownError);
  gate.open();
  const std::vector<int> values = results.result();
  REQUIRE(values.size() == 20);
  REQUIRE(values.front() == 1);
  REQUIRE(values.back() == 20);
  // Then the threads end, though nobody has waited for them.
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("All worker threads have ended after shutdown()", "[shutdown]") {
  const int baseline = support::count_threads();
  Gate gate;
  ThreadPoolExecutor pool(5);
  const support::OpenAtExit opener(gate);
  for (int i = 0; i < 5; ++i) {
    pool.submit([&gate] { gate.wait(); });
  }
  if constexpr (support::kSeesThreads) { REQUIRE(support::count_threads() == baseline + 5); }
  gate.open();
  pool.shutdown();
  // A joined thread may stay in /proc for a moment.
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("Leaving the scope of an executor is shutdown(): everything has run", "[shutdown]") {
  const int baseline = support::count_threads();
  std::atomic<int> calls = 0;
  {
    ThreadPoolExecutor pool(3);
    for (int i = 0; i < 30; ++i) {
      pool.submit([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
    }
  }
  REQUIRE(calls.load() == 30);
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("Leaving the scope by an exception runs what was submitted, too", "[shutdown]") {
  std::atomic<int> calls = 0;
  auto program = [&calls] {
    ThreadPoolExecutor pool(1);
    for (int i = 0; i < 10; ++i) {
      pool.submit([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
    }
    throw std::logic_error("left early");
  };
  REQUIRE_THROWS_AS(program(), std::logic_error);
  REQUIRE(calls.load() == 10);
}

TEST_CASE("A future outlives its executor", "[shutdown]") {
  std::optional<ThreadPoolExecutor> pool(std::in_place, 1);
  auto value = pool->submit([] { return std::string("kept"); });
  auto failure = pool->submit([] { throw std::domain_error("kept too"); });
  pool.reset();
  REQUIRE(value.result() == "kept");
  REQUIRE_THROWS_AS(failure.result(), std::domain_error);
}

TEST_CASE("shutdown() may be called again and then does nothing", "[shutdown]") {
  ThreadPoolExecutor never_used(2);
  never_used.shutdown();
  never_used.shutdown();
  ThreadPoolExecutor pool(2);
  auto future = pool.submit([] { return 1; });
  pool.shutdown();
  pool.shutdown({.wait = false, .cancel_futures = true});
  pool.shutdown();
  REQUIRE(future.result() == 1);
}

TEST_CASE("A task that fails while shutdown() waits does not hang it", "[shutdown]") {
  Gate started;
  Gate gate;
  ThreadPoolExecutor pool(1);
  auto failing = pool.submit([&]() -> int {
    started.open();
    gate.wait();
    throw std::runtime_error("failed during shutdown");
  });
  started.wait();
  std::thread closer([&pool] { pool.shutdown(); });
  gate.open();
  closer.join();
  REQUIRE_THROWS_AS(failing.result(), std::runtime_error);
}

TEST_CASE("A task that fails after shutdown() with wait = false still reports its failure",
          "[shutdown]") {
  Gate gate;
  std::optional<ThreadPoolExecutor> pool(std::in_place, 1);
  auto blocker = pool->submit([&gate] { gate.wait(); });
  auto failing = pool->submit([]() -> int { throw std::runtime_error("failed afterwards"); });
  pool->shutdown({.wait = false});
  gate.open();
  pool.reset();
  REQUIRE_THROWS_AS(failing.result(), std::runtime_error);
}
