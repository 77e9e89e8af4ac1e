// SPDX-License-Identifier: MIT
//
// What Python promises of Future. CPython's tests make futures by hand; here each state is
// reached by a task.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

namespace {

struct TaskFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A future in each of the states that there are, on a pool of one worker.
class FuturesInEachState {
 public:
  FuturesInEachState() {
    finished = pool_.submit([] { return 42; });
    finished.wait();
    failed = pool_.submit([]() -> int { throw TaskFailure("failed"); });
    failed.wait();
    running = pool_.submit([this] {
      started_.open();
      gate_.wait();
      return 1;
    });
    started_.wait();
    cancelled = pool_.submit([] { return 2; });
    cancelled.cancel();
    pending = pool_.submit([] { return 3; });
  }
  ~FuturesInEachState() { gate_.open(); }

  void let_run() { gate_.open(); }

 private:
  Gate started_;
  Gate gate_;
  ThreadPoolExecutor pool_{1};

 public:
  Future<int> pending;
  Future<int> running;
  Future<int> cancelled;
  Future<int> finished;
  Future<int> failed;
};

template <class Exception> std::string text_of(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Exception& exception) { return exception.what(); }
}

}  // namespace

TEST_CASE("cancel() is true for a pending and for a cancelled future and false for all others",
          "[future]") {
  FuturesInEachState futures;
  REQUIRE(futures.pending.cancel());
  REQUIRE(futures.pending.cancelled());
  REQUIRE_FALSE(futures.running.cancel());
  REQUIRE(futures.running.running());
  REQUIRE(futures.cancelled.cancel());
  REQUIRE(futures.cancelled.cancelled());
  REQUIRE_FALSE(futures.finished.cancel());
  REQUIRE_FALSE(futures.finished.cancelled());
  REQUIRE(futures.finished.result() == 42);
  REQUIRE_FALSE(futures.failed.cancel());
  REQUIRE_FALSE(futures.failed.cancelled());
  REQUIRE_THROWS_AS(futures.failed.result(), TaskFailure);
}

TEST_CASE("A cancelled task never runs", "[future]") {
  Gate gate;
  bool has_run = false;
  {
    ThreadPoolExecutor pool(1);
    const support::OpenAtExit opener(gate);
    pool.submit([&gate] { gate.wait(); });
    auto future = pool.submit([&has_run] { has_run = true; });
    REQUIRE(future.cancel());
  }
  REQUIRE_FALSE(has_run);
}

TEST_CASE("A running future that cancel() could not stop finishes normally", "[future]") {
  FuturesInEachState futures;
  REQUIRE_FALSE(futures.running.cancel());
  futures.let_run();
  REQUIRE(futures.running.result() == 1);
  REQUIRE_FALSE(futures.running.cancelled());
}

TEST_CASE("cancelled() is true for a cancelled future only", "[future]") {
  FuturesInEachState futures;
  REQUIRE_FALSE(futures.pending.cancelled());
  REQUIRE_FALSE(futures.running.cancelled());
  REQUIRE(futures.cancelled.cancelled());
  REQUIRE_FALSE(futures.finished.cancelled());
  REQUIRE_FALSE(futures.failed.cancelled());
}

TEST_CASE("done() is true for a cancelled, a finished and a failed future", "[future]") {
  FuturesInEachState futures;
  REQUIRE_FALSE(futures.pending.done());
  REQUIRE_FALSE(futures.running.done());
  REQUIRE(futures.cancelled.done());
  REQUIRE(futures.finished.done());
  REQUIRE(futures.failed.done());
}

TEST_CASE("running() is true for a future whose task is being run only", "[future]") {
  FuturesInEachState futures;
  REQUIRE_FALSE(futures.pending.running());
  REQUIRE(futures.running.running());
  REQUIRE_FALSE(futures.cancelled.running());
  REQUIRE_FALSE(futures.finished.running());
  REQUIRE_FALSE(futures.failed.running());
}

TEST_CASE("result() with a limit of zero answers at once in every state", "[future]") {
  FuturesInEachState futures;
  REQUIRE_THROWS_AS(futures.pending.result(0s), concurrent::TimeoutError);
  REQUIRE_THROWS_AS(futures.running.result(0s), concurrent::TimeoutError);
  REQUIRE_THROWS_AS(futures.cancelled.result(0s), concurrent::CancelledError);
  REQUIRE(futures.finished.result(0s) == 42);
  REQUIRE_THROWS_AS(futures.failed.result(0s), TaskFailure);
}

TEST_CASE("exception() with a limit of zero answers at once in every state", "[future]") {
  FuturesInEachState futures;
  REQUIRE_THROWS_AS(futures.pending.exception(0s), concurrent::TimeoutError);
  REQUIRE_THROWS_AS(futures.running.exception(0s), concurrent::TimeoutError);
  REQUIRE_THROWS_AS(futures.cancelled.exception(0s), concurrent::CancelledError);
  REQUIRE(futures.finished.exception(0s) == nullptr);
  REQUIRE(text_of<TaskFailure>(futures.failed.exception(0s)) == "failed");
}

TEST_CASE("result() with a limit waits that long, and a late task still finishes", "[future]") {
  FuturesInEachState futures;
  const auto start = std::chrono::steady_clock::now();
  REQUIRE_THROWS_AS(futures.running.result(30ms), concurrent::TimeoutError);
  REQUIRE(std::chrono::steady_clock::now() - start >= 30ms);
  REQUIRE_THROWS_AS(futures.pending.exception(10ms), concurrent::TimeoutError);
  futures.let_run();
  REQUIRE(futures.running.result() == 1);
  REQUIRE(futures.pending.exception() == nullptr);
}

TEST_CASE("result() that is blocked wakes when the task returns", "[future]") {
  Gate gate;
  ThreadPoolExecutor pool(1);
  auto future = pool.submit([&gate] {
    gate.wait();
    return 42;
  });
  const support::OpenOnceAsleep opener(gate);
  REQUIRE(future.result(60s) == 42);
}

TEST_CASE("result() that is blocked wakes when the future is cancelled", "[future]") {
  Gate gate;
  ThreadPoolExecutor pool(1);
  const support::OpenAtExit opener(gate);
  pool.submit([&gate] { gate.wait(); });
  auto future = pool.submit([] { return 1; });
  std::thread canceller([sleeper = support::this_thread_number(), future] {
    support::falls_asleep(sleeper);
    future.cancel();
  });
  bool was_cancelled = false;
  try {
    future.result(60s);
  } catch (const concurrent::CancelledError&) { was_cancelled = true; }
  canceller.join();
  REQUIRE(was_cancelled);
}

TEST_CASE("exception() that is blocked wakes when the task throws", "[future]") {
  Gate gate;
  ThreadPoolExecutor pool(1);
  auto future = pool.submit([&gate]() -> int {
    gate.wait();
    throw TaskFailure("late");
  });
  const support::OpenOnceAsleep opener(gate);
  REQUIRE(text_of<TaskFailure>(future.exception(60s)) == "late");
}

TEST_CASE("result() may be asked for again and gives the same value, by reference", "[future]") {
  ThreadPoolExecutor pool(1);
  const auto future = pool.submit([] { return std::string("once computed"); });
  const std::string& first = future.result();
  const std::string& second = future.result();
  REQUIRE(first == "once computed");
  REQUIRE(&first == &second);
}

TEST_CASE("A failed future throws the same exception every time, with its type and text",
          "[future]") {
  ThreadPoolExecutor pool(1);
  const auto future = pool.submit([]() -> int { throw TaskFailure("the same"); });
  const TaskFailure* first = nullptr;
  const TaskFailure* second = nullptr;
  try {
    future.result();
  } catch (const TaskFailure& failure) {
    first = &failure;
    REQUIRE(failure.what() == std::string("the same"));
  }
  try {
    future.result();
  } catch (const TaskFailure& failure) { second = &failure; }
  REQUIRE(first != nullptr);
  REQUIRE(second != nullptr);
  REQUIRE(future.exception() == future.exception());
}

TEST_CASE("A final state is final: nothing that is called on a done future changes it",
          "[future]") {
  FuturesInEachState futures;
  const std::vector<Future<int>> all{futures.finished, futures.failed, futures.cancelled};
  for (int i = 0; i < 3; ++i) {
    REQUIRE_FALSE(futures.finished.cancel());
    REQUIRE_FALSE(futures.failed.cancel());
    REQUIRE(futures.cancelled.cancel());
    int calls = 0;
    for (const Future<int>& future : all) {
      REQUIRE_FALSE(future.request_stop());
      future.add_done_callback([&calls](const Future<int>& done) { calls += done.done() ? 1 : 0; });
      future.wait();
      REQUIRE(future.wait_for(1s) == std::future_status::ready);
      REQUIRE(future.done());
      REQUIRE_FALSE(future.running());
      REQUIRE(future.cancelled() == (future == futures.cancelled));
    }
    REQUIRE(calls == 3);
    REQUIRE(concurrent::wait(all).done == all);
    REQUIRE(futures.finished.result() == 42);
    REQUIRE(futures.finished.exception() == nullptr);
    REQUIRE_THROWS_AS(futures.failed.result(), TaskFailure);
    REQUIRE_THROWS_AS(futures.cancelled.result(), concurrent::CancelledError);
  }
}

TEST_CASE("A future is a key: copies are equal and hash alike, others differ", "[future]") {
  ThreadPoolExecutor pool(1);
  const auto future = pool.submit([] { return 1; });
  const auto other = pool.submit([] { return 1; });
  const auto copy = future;
  REQUIRE(copy == future);
  REQUIRE_FALSE(copy == other);
  REQUIRE(std::hash<Future<int>>()(copy) == std::hash<Future<int>>()(future));
}

TEST_CASE("The states of a future are seen in order, by any number of threads", "[future]") {
  // What CPython's get_snapshot() is for: done, running and cancelled never contradict each other,
  // and no thread sees a future go back to an earlier state.
  const int rounds = support::scaled(300);
  std::atomic<int> contradictions = 0;
  for (int round = 0; round < rounds; ++round) {
    ThreadPoolExecutor pool(1);
    Gate start;
    auto future = pool.submit([&start] {
      start.wait();
      return 7;
    });
    std::thread observer([&] {
      bool seen_running = false;
      start.open();
      while (true) {
        const bool is_running = future.running();
        const bool is_done = future.done();
        const bool is_running_still = future.running();
        if (is_done && is_running_still) contradictions.fetch_add(1);
        if (seen_running && !is_running && !is_done) contradictions.fetch_add(1);
        if (future.cancelled()) contradictions.fetch_add(1);
        seen_running = seen_running || is_running;
        if (is_done) break;
      }
      if (future.result(0s) != 7) contradictions.fetch_add(1);
    });
    observer.join();
  }
  REQUIRE(contradictions.load() == 0);
}
