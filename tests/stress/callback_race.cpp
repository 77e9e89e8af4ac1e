// SPDX-License-Identifier: MIT
//
// Callbacks against completion, cancellation and each other; promises against all of them.

#include <concurrent/executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::InvalidStateError;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using stress::Tally;
using support::Counted;
using support::Counts;
using support::scaled;

TEST_CASE("A callback that is added while its task ends runs once", "[callback]") {
  const int count = scaled(20000);
  Tally tally(static_cast<std::size_t>(count));
  std::atomic<int> not_done = 0;
  {
    ThreadPoolExecutor pool(2);
    Random random(51);
    for (int i = 0; i < count; ++i) {
      const auto future = pool.submit([i] { return i; });
      stress::spin(random.below(300));
      future.add_done_callback([&tally, &not_done, i](const Future<int>& done) {
        if (!done.done() || done.result() != i) not_done.fetch_add(1);
        tally.hit(i);
      });
    }
  }
  REQUIRE(tally.not_once() == 0);
  REQUIRE(not_done.load() == 0);
}

TEST_CASE("Callbacks that several threads add while a promise is kept or cancelled run once",
          "[callback]") {
  constexpr int kAdders = 2;
  constexpr int kEach = 5;
  const int rounds = scaled(1500);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    Tally tally(kAdders * kEach);
    Promise<int> promise;
    const auto future = promise.future();
    bool cancelled = false;
    bool kept = false;
    in_parallel(kAdders + 2, [&](int role) {
      if (role == kAdders) {
        cancelled = future.cancel();
      } else if (role == kAdders + 1) {
        try {
          promise.set_result(1);
          kept = true;
        } catch (const InvalidStateError&) {}
      } else {
        for (int i = 0; i < kEach; ++i) {
          future.add_done_callback([&tally, at = role * kEach + i](auto) { tally.hit(at); });
        }
      }
    });
    if (tally.not_once() != 0 || cancelled == kept || future.cancelled() != cancelled) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("Callbacks of one thread run in the order in which it added them, up to completion",
          "[callback]") {
  const int rounds = scaled(3000);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<int> order;  // written by one thread: whoever completes
    Promise<void> promise;
    for (int i = 0; i < 6; ++i) {
      promise.future().add_done_callback([&order, i](auto) { order.push_back(i); });
    }
    in_parallel(2, [&](int role) {
      if (role == 0) {
        promise.future().cancel();
      } else {
        try {
          promise.set_result();
        } catch (const InvalidStateError&) {}
      }
    });
    if (order != std::vector<int>{0, 1, 2, 3, 4, 5}) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("Of several threads that keep one promise one succeeds, and its value stays",
          "[callback]") {
  constexpr int kKeepers = 3;
  const int rounds = scaled(2000);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    Promise<int> promise;
    const auto future = promise.future();
    std::atomic<int> winners = 0;
    std::atomic<int> winner = -1;
    in_parallel(kKeepers + 1, [&](int role) {
      if (role == kKeepers) {
        static_cast<void>(future.exception());
        return;
      }
      try {
        if (role == 0) {
          promise.set_exception(std::make_exception_ptr(std::runtime_error("role 0")));
        } else {
          promise.set_result(role);
        }
        winners.fetch_add(1);
        winner.store(role);
      } catch (const InvalidStateError&) {}
    });
    const bool has_failed = future.exception() != nullptr;
    if (winners.load() != 1 || has_failed != (winner.load() == 0)) ++wrong;
    if (!has_failed && future.result() != winner.load()) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("set_running_or_notify_cancel() and cancel() agree on who was first", "[callback]") {
  const int rounds = scaled(4000);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    Promise<int> promise;
    const auto future = promise.future();
    bool runs = false;
    bool cancelled = false;
    in_parallel(2, [&](int role) {
      if (role == 0) {
        runs = promise.set_running_or_notify_cancel();
      } else {
        cancelled = future.cancel();
      }
    });
    if (runs == cancelled || future.running() != runs || future.cancelled() != cancelled) ++wrong;
    if (runs) promise.set_result(1);
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("The last handle may be dropped while the task ends and its callbacks run",
          "[callback]") {
  const int count = scaled(20000);
  Counts results;
  Counts callbacks;
  std::atomic<int> calls = 0;
  {
    ThreadPoolExecutor pool(2);
    Random random(52);
    for (int i = 0; i < count; ++i) {
      auto future = pool.submit([&results, i] { return Counted(results, i); });
      future.add_done_callback(
          [&calls, counted = Counted(callbacks)](auto) { calls.fetch_add(1); });
      stress::spin(random.below(200));
      future = {};
    }
  }
  REQUIRE(calls.load() == count);
  REQUIRE(results.alive.load() == 0);
  REQUIRE(callbacks.alive.load() == 0);
}

TEST_CASE("Callbacks that submit and add callbacks make a chain of tasks", "[callback]") {
  const int count = scaled(20000);
  std::atomic<int> calls = 0;
  {
    // The pool accepts what its callbacks submit until it is shut down, so wait for the last.
    Promise<void> end;
    ThreadPoolExecutor pool(2);
    struct Chain {
      ThreadPoolExecutor& pool;
      std::atomic<int>& calls;
      Promise<void>& end;
      int left;
      void operator()(const Future<void>&) const {
        calls.fetch_add(1);
        if (left == 0) {
          end.set_result();
        } else {
          pool.submit([] {}).add_done_callback(Chain{pool, calls, end, left - 1});
        }
      }
    };
    pool.submit([] {}).add_done_callback(Chain{pool, calls, end, count - 1});
    end.future().result();
  }
  REQUIRE(calls.load() == count);
}
