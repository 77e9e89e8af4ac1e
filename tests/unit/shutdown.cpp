// SPDX-License-Identifier: MIT
// shutdown() and the destructor.
#include <atomic>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::Future;
using concurrent::ShutdownError;
using concurrent::ThreadPoolExecutor;

bool throws_shutdown_error(ThreadPoolExecutor& executor) {
  try {
    executor.submit([] {});
  } catch (const ShutdownError&) { return true; }
  return false;
}

}  // namespace

TEST_CASE("the destructor runs all that was accepted and then joins") {
  const int before = support::count_threads();
  std::atomic<int> runs{0};
  {
    ThreadPoolExecutor executor(3);
    for (int i = 0; i < 300; ++i) executor.submit([&runs] { runs.fetch_add(1); });
  }
  CHECK(runs == 300);
  CHECK(support::eventually([&] { return support::count_threads() == before; }));
}

TEST_CASE("the destructor waits for the task that runs, and for those behind it") {
  std::vector<int> order;
  support::Gate begun;
  support::Gate gate;
  std::optional<ThreadPoolExecutor> executor(std::in_place, 1);
  executor->submit([&] {
    begun.open();
    gate.wait();
    order.push_back(0);
  });
  for (int i = 1; i < 5; ++i) executor->submit([&order, i] { order.push_back(i); });
  begun.wait();
  const support::OpenOnceAsleep opener(gate);
  executor.reset();
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("shutdown() returns when everything has run and every worker has ended") {
  const int before = support::count_threads();
  ThreadPoolExecutor executor(3);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 50; ++i) futures.push_back(executor.submit([i] { return i; }));
  executor.shutdown();
  int not_done = 0;
  for (const auto& future : futures) not_done += !future.done();
  CHECK(not_done == 0);
  CHECK(support::eventually([&] { return support::count_threads() == before; }));
}

TEST_CASE("shutdown() may be called again, and before anything was submitted") {
  ThreadPoolExecutor used(1);
  used.submit([] {}).wait();
  used.shutdown();
  used.shutdown();
  used.shutdown({.wait = false});
  used.shutdown({.cancel_futures = true});

  ThreadPoolExecutor unused(1);
  unused.shutdown();
  unused.shutdown();
  CHECK(throws_shutdown_error(unused));
}

TEST_CASE("submit, post and map after shutdown are ShutdownErrors") {
  ThreadPoolExecutor executor(1);
  executor.shutdown({.wait = false});
  CHECK_THROWS_AS(executor.submit([] {}), ShutdownError);
  CHECK_THROWS_AS(executor.post([] {}), ShutdownError);
  CHECK_THROWS_AS(executor.map([](int x) { return x; }, {1, 2}), ShutdownError);
}

TEST_CASE("a submit after shutdown destroys what it was given and changes nothing else") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  executor.shutdown();
  CHECK_THROWS_AS(executor.submit([held = support::Counted(counts)] {}), ShutdownError);
  CHECK(counts.alive == 0);
}

TEST_CASE("several threads may shut down at once, and each returns only when all has run") {
  constexpr int kThreads = 4;
  support::Gate gate;
  support::Barrier barrier(kThreads + 1);
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(gate);
  std::atomic<int> runs{0};
  for (int i = 0; i < 20; ++i) {
    executor.submit([&] {
      gate.wait();
      runs.fetch_add(1);
    });
  }
  std::vector<int> seen(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      barrier.arrive_and_wait();
      executor.shutdown();
      seen[static_cast<std::size_t>(t)] = runs;
    });
  }
  barrier.arrive_and_wait();
  CHECK(support::eventually([&] { return throws_shutdown_error(executor); }));
  gate.open();
  for (auto& thread : threads) thread.join();
  CHECK(seen == std::vector<int>(kThreads, 20));
}

TEST_CASE("shutdown without waiting returns at once, and the queue is still run") {
  std::atomic<int> runs{0};
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 20; ++i) {
    futures.push_back(executor.submit([&runs] { runs.fetch_add(1); }));
  }
  executor.shutdown({.wait = false});
  CHECK(runs == 0);
  CHECK(throws_shutdown_error(executor));
  busy.release();
  for (const auto& future : futures) future.result();
  CHECK(runs == 20);
  executor.shutdown();
}

TEST_CASE("cancel_futures cancels what has not begun and lets the running tasks finish") {
  support::Counts counts;
  ThreadPoolExecutor executor(2);
  std::optional<support::BusyWorker> first(std::in_place, executor);
  std::optional<support::BusyWorker> second(std::in_place, executor);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 50; ++i) {
    futures.push_back(executor.submit([held = support::Counted(counts)] { return 1; }));
  }
  executor.shutdown({.wait = false, .cancel_futures = true});
  int cancelled = 0;
  for (const auto& future : futures) cancelled += future.cancelled() && future.done();
  CHECK(cancelled == 50);
  CHECK(counts.alive == 0);
  CHECK_THROWS_AS(futures.front().result(), concurrent::CancelledError);
  first.reset();
  second.reset();
  executor.shutdown();
}

TEST_CASE("with cancel_futures every task has either run or been cancelled") {
  std::atomic<int> runs{0};
  ThreadPoolExecutor executor(2);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 500; ++i) {
    futures.push_back(executor.submit([&runs] { runs.fetch_add(1); }));
  }
  executor.shutdown({.cancel_futures = true});
  int cancelled = 0;
  int unfinished = 0;
  for (const auto& future : futures) {
    unfinished += !future.done();
    cancelled += future.cancelled();
  }
  CHECK(unfinished == 0);
  CHECK(cancelled + runs == 500);
}

TEST_CASE(
    "when shutdown with cancel_futures returns, every task has begun, ended or been cancelled") {
  int neither = 0;
  for (int round = 0; round < support::scaled(200); ++round) {
    ThreadPoolExecutor executor(2);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 200; ++i) futures.push_back(executor.submit([] {}));
    executor.shutdown({.wait = false, .cancel_futures = true});
    int in_hand = 0;
    for (const auto& future : futures) in_hand += !future.running() && !future.done();
    if (in_hand > 2) ++neither;  // each worker may hold one that it begins just now
  }
  CHECK(neither == 0);
}

TEST_CASE("cancel_futures with waiting waits for the running task") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto running = executor.submit([&] {
    begun.open();
    gate.wait();
    return 3;
  });
  begun.wait();
  const auto pending = executor.submit([] { return 4; });
  const support::OpenOnceAsleep opener(gate);
  executor.shutdown({.cancel_futures = true});
  CHECK(running.done());
  CHECK(running.result() == 3);
  CHECK(pending.cancelled());
}

TEST_CASE("a later shutdown may still cancel what an earlier one left to run") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  const auto pending = executor.submit([] {});
  executor.shutdown({.wait = false});
  CHECK_FALSE(pending.done());
  executor.shutdown({.wait = false, .cancel_futures = true});
  CHECK(pending.cancelled());
}

TEST_CASE("destructors of cancelled callables may use the executor") {
  struct Meddler {
    explicit Meddler(ThreadPoolExecutor& used) : executor(&used) {}
    Meddler(Meddler&& other) noexcept : executor(std::exchange(other.executor, nullptr)) {}
    ~Meddler() {
      if (executor == nullptr) return;
      executor->shutdown({.wait = false, .cancel_futures = true});
      refused = throws_shutdown_error(*executor);
    }
    void operator()() const {}
    ThreadPoolExecutor* executor;
    bool refused = false;
  };
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  std::vector<Future<void>> futures;
  for (int i = 0; i < 10; ++i) futures.push_back(executor.submit(Meddler(executor)));
  executor.shutdown({.wait = false, .cancel_futures = true});
  int cancelled = 0;
  for (const auto& future : futures) cancelled += future.cancelled();
  CHECK(cancelled == 10);
}

TEST_CASE("a pool's own tasks cannot submit after shutdown either") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto refused = executor.submit([&] {
    begun.open();
    gate.wait();
    return throws_shutdown_error(executor);
  });
  begun.wait();
  executor.shutdown({.wait = false});
  gate.open();
  CHECK(refused.result());
}

TEST_CASE("shutdown() in an own worker begins the shutdown and then throws DeadlockError") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] { executor.shutdown(); });
  CHECK_THROWS_AS(task.result(), concurrent::DeadlockError);
  CHECK(throws_shutdown_error(executor));
  executor.shutdown();
}

TEST_CASE("shutdown() in an own worker cancels the queue if asked to, before it throws") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  const auto task = executor.submit([&executor] { executor.shutdown({.cancel_futures = true}); });
  const auto pending = executor.submit([] {});
  busy.release();
  CHECK_THROWS_AS(task.result(), concurrent::DeadlockError);
  CHECK(pending.cancelled());
}

TEST_CASE("shutdown without waiting is fine in an own worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] { executor.shutdown({.wait = false}); });
  CHECK(task.exception() == nullptr);
  CHECK(throws_shutdown_error(executor));
}

TEST_CASE("a worker may shut down another pool and wait for it") {
  ThreadPoolExecutor outer(1);
  std::atomic<int> runs{0};
  ThreadPoolExecutor inner(1);
  for (int i = 0; i < 10; ++i) inner.submit([&runs] { runs.fetch_add(1); });
  const auto task = outer.submit([&] {
    inner.shutdown();
    return runs.load();
  });
  CHECK(task.result() == 10);
}

TEST_CASE("an executor may be destroyed in its own task, and its queue is still run") {
  std::atomic<int> runs{0};
  auto executor = std::make_unique<ThreadPoolExecutor>(1);
  support::Gate gate;
  std::vector<Future<void>> futures;
  futures.push_back(executor->submit([&] {
    gate.wait();
    executor.reset();
    runs.fetch_add(1);
  }));
  for (int i = 0; i < 10; ++i) {
    futures.push_back(executor->submit([&runs] { runs.fetch_add(1); }));
  }
  gate.open();
  for (const auto& future : futures) future.result();
  CHECK(runs == 11);
  CHECK(executor == nullptr);
}

TEST_CASE("a task may destroy the executor while its submit has not yet returned") {
  for (int round = 0; round < support::scaled(1000); ++round) {
    auto executor = std::make_unique<ThreadPoolExecutor>(1 + round % 4);
    executor->submit([&executor] { executor.reset(); }).result();
  }
  SUCCEED();
}

TEST_CASE("the last owner of an executor may be a capture of its own task") {
  const int before = support::count_threads();
  Future<int> future;
  {
    auto shared = std::make_shared<ThreadPoolExecutor>(2);
    support::BusyWorker first(*shared);
    support::BusyWorker second(*shared);
    future = shared->submit([shared] { return 5; });
    shared.reset();
    first.release();
  }
  CHECK(future.result() == 5);
  CHECK(support::eventually([&] { return support::count_threads() == before; }));
}

TEST_CASE("the destructor after a shutdown that did not wait waits") {
  std::atomic<int> runs{0};
  {
    ThreadPoolExecutor executor(1);
    for (int i = 0; i < 100; ++i) executor.submit([&runs] { runs.fetch_add(1); });
    executor.shutdown({.wait = false});
  }
  CHECK(runs == 100);
}

TEST_CASE("tasks that fail during a shutdown leave their exceptions in their futures") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto failing = executor.submit([&gate] {
    gate.wait();
    throw std::runtime_error("late");
  });
  const auto next = executor.submit([] { return 2; });
  const support::OpenOnceAsleep opener(gate);
  executor.shutdown();
  CHECK_THROWS_AS(failing.result(), std::runtime_error);
  CHECK(next.result() == 2);
}

TEST_CASE("right after a flood of work, shutdown does not block for ever") {
  for (int round = 0; round < 20; ++round) {
    ThreadPoolExecutor executor(3);
    executor.map([](int x) { return x; }, {1, 2, 3, 4});
    executor.shutdown();
  }
  SUCCEED();
}

TEST_CASE("the options of shutdown wait and cancel nothing by default") {
  STATIC_REQUIRE(std::is_aggregate_v<concurrent::ShutdownOptions>);
  CHECK(concurrent::ShutdownOptions{}.wait);
  CHECK_FALSE(concurrent::ShutdownOptions{}.cancel_futures);
}
