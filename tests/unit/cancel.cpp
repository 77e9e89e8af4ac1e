// SPDX-License-Identifier: MIT
// cancel(): only before the task begins, final at once.
#include <atomic>
#include <concurrent/executor.hpp>
#include <stdexcept>
#include <thread>
#include <utility>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::CancelledError;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;

}  // namespace

TEST_CASE("cancel() of a pending task is true and final at once") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  bool ran = false;
  auto pending = executor.submit([&ran] { ran = true; });
  CHECK(pending.cancel());
  CHECK(pending.cancelled());
  CHECK(pending.done());
  CHECK_FALSE(pending.running());
  CHECK_THROWS_AS(pending.result(), CancelledError);
  CHECK_THROWS_AS(pending.exception(), CancelledError);
  pending.wait();
  busy.release();
  executor.shutdown();
  CHECK_FALSE(ran);
  CHECK(pending.cancelled());
}

TEST_CASE("a second cancel() is true too") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto pending = executor.submit([] {});
  auto copy = pending;
  CHECK(pending.cancel());
  CHECK(pending.cancel());
  CHECK(copy.cancel());
}

TEST_CASE("cancel() of a running, finished or failed task is false and changes nothing") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  auto finished = executor.submit([] { return 1; });
  auto failed = executor.submit([]() -> int { throw std::runtime_error("failed"); });
  const support::OpenAtExit opened(gate);
  auto running = executor.submit([&] {
    begun.open();
    gate.wait();
    return 2;
  });
  begun.wait();
  CHECK_FALSE(finished.cancel());
  CHECK(finished.result() == 1);
  CHECK_FALSE(failed.cancel());
  CHECK_THROWS_AS(failed.result(), std::runtime_error);
  CHECK_FALSE(running.cancel());
  CHECK(running.running());
  gate.open();
  CHECK(running.result() == 2);
  CHECK_FALSE(running.cancelled());
}

TEST_CASE("cancel() wakes those who wait") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto pending = executor.submit([] { return 1; });
  bool answer = false;
  std::thread canceller([&, handle = pending]() mutable {
    gate.wait();
    answer = handle.cancel();
  });
  {
    const support::OpenOnceAsleep opener(gate);
    CHECK_THROWS_AS(pending.result(), CancelledError);
  }
  canceller.join();
  CHECK(answer);
}

TEST_CASE("captures and arguments are destroyed in the cancelling thread, before it is done") {
  struct Witness {
    Witness(std::thread::id& id, bool& done, const Future<void>*& future)
        : destroyed_in(&id), was_done(&done), watched(&future) {}
    Witness(Witness&& other) noexcept
        : destroyed_in(std::exchange(other.destroyed_in, nullptr)),
          was_done(other.was_done),
          watched(other.watched) {}
    ~Witness() {
      if (destroyed_in == nullptr) return;
      *destroyed_in = std::this_thread::get_id();
      *was_done = (*watched)->done() || (*watched)->running();
    }
    std::thread::id* destroyed_in;
    bool* was_done;
    const Future<void>** watched;
  };
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  std::thread::id callable_in;
  std::thread::id argument_in;
  bool callable_saw_done = true;
  bool argument_saw_done = true;
  const Future<void>* watched = nullptr;
  auto pending = executor.submit(
      [witness = Witness(callable_in, callable_saw_done, watched)](const Witness&) {},
      Witness(argument_in, argument_saw_done, watched));
  watched = &pending;
  CHECK(pending.cancel());
  CHECK(callable_in == std::this_thread::get_id());
  CHECK(argument_in == std::this_thread::get_id());
  CHECK_FALSE(callable_saw_done);
  CHECK_FALSE(argument_saw_done);
}

TEST_CASE("inside the destruction of its captures a second cancel() returns true at once") {
  struct CancelsAgain {
    CancelsAgain(Future<void>*& future, int& slot) : watched(&future), answer(&slot) {}
    CancelsAgain(CancelsAgain&& other) noexcept
        : watched(std::exchange(other.watched, nullptr)), answer(other.answer) {}
    ~CancelsAgain() {
      if (watched != nullptr) *answer = (*watched)->cancel() ? 1 : 0;
    }
    void operator()() const {}
    Future<void>** watched;
    int* answer;
  };
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  Future<void>* watched = nullptr;
  int answer = -1;
  auto pending = executor.submit(CancelsAgain(watched, answer));
  watched = &pending;
  CHECK(pending.cancel());
  CHECK(answer == 1);
  CHECK(pending.cancelled());
}

TEST_CASE("a second cancel() from another thread waits for the destruction of the captures") {
  struct Slow {
    Slow(support::Gate& begun, support::Gate& gate) : begun_(&begun), gate_(&gate) {}
    Slow(Slow&& other) noexcept
        : begun_(std::exchange(other.begun_, nullptr)), gate_(other.gate_) {}
    ~Slow() {
      if (begun_ == nullptr) return;
      begun_->open();
      gate_->wait();
    }
    void operator()() const {}
    support::Gate* begun_;
    support::Gate* gate_;
  };
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto pending = executor.submit(Slow(begun, gate));
  std::thread first([handle = pending]() mutable { handle.cancel(); });
  begun.wait();
  CHECK_FALSE(pending.done());
  CHECK_FALSE(pending.running());
  {
    const support::OpenOnceAsleep opener(gate);
    CHECK(pending.cancel());
    CHECK(gate.is_open());
  }
  CHECK(pending.done());
  first.join();
}

TEST_CASE("the handle that cancels may be the last one") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  for (int i = 0; i < 100; ++i) {
    CHECK(executor.submit([held = support::Counted(counts)] {}).cancel());
  }
  CHECK(counts.alive == 0);
}

TEST_CASE("cancel() against the worker that begins: either the task runs or the cancel is true") {
  const int rounds = support::scaled(5000);
  ThreadPoolExecutor executor(1);
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    std::atomic<bool> ran{false};
    auto future = executor.submit([&ran] { ran = true; });
    const bool cancelled = future.cancel();
    future.wait();
    wrong += cancelled == ran;
    wrong += cancelled != future.cancelled();
  }
  CHECK(wrong == 0);
}

TEST_CASE("of several threads that cancel one task all are told the same") {
  const int rounds = support::scaled(500);
  ThreadPoolExecutor executor(1);
  int wrong = 0;
  for (int i = 0; i < rounds; ++i) {
    auto future = executor.submit([] {});
    int other_answer = 0;
    std::thread other(
        [&other_answer, handle = future]() mutable { other_answer = handle.cancel(); });
    const int answer = future.cancel();
    other.join();
    wrong += answer != other_answer;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a task may cancel a pending one of its pool") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    auto child = executor.submit([] { return 1; });
    return child.cancel() && child.cancelled();
  });
  CHECK(task.result());
}
