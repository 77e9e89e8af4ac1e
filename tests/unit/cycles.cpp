// SPDX-License-Identifier: MIT
// A cycle of waits is refused in the task that would close it.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"

namespace {

using concurrent::DeadlockError;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

/// Whether wait(future) throws DeadlockError.
template <class Wait> bool is_refused(Wait wait) {
  try {
    wait();
  } catch (const DeadlockError& error) { return !std::string(error.what()).empty(); }
  return false;
}

}  // namespace

TEST_CASE("every untimed wait of a task for itself throws DeadlockError") {
  Gate known;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(known);
  Future<int> self;
  self = executor.submit([&] {
    known.wait();
    int refused = 0;
    refused += is_refused([&] { static_cast<void>(self.result()); });
    refused += is_refused([&] { static_cast<void>(self.exception()); });
    refused += is_refused([&] { self.wait(); });
    refused += is_refused([&] { static_cast<void>(self.result(std::chrono::hours::max())); });
    auto copy = self;
    refused += is_refused([&] { static_cast<void>(copy.get()); });
    // A taking call that leaves by its own DeadlockError keeps the handle.
    refused += copy.valid() ? 1 : 0;
    return refused;
  });
  known.open();
  CHECK(self.result() == 6);
}

TEST_CASE("a timed wait of a task for itself runs into its limit") {
  Gate known;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(known);
  Future<bool> self;
  self = executor.submit([&] {
    known.wait();
    try {
      static_cast<void>(self.result(5ms));
    } catch (const concurrent::TimeoutError&) { return true; }
    return false;
  });
  known.open();
  CHECK(self.result());
}

TEST_CASE("of two tasks that wait for each other one gets DeadlockError, the other its result") {
  Gate known;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(known);
  Future<int> a;
  Future<int> b;
  const auto wait_for = [&known](const Future<int>& other) {
    known.wait();
    try {
      return other.result() + 10;
    } catch (const DeadlockError&) { return 1; }
  };
  a = executor.submit([&] { return wait_for(b); });
  b = executor.submit([&] { return wait_for(a); });
  known.open();
  CHECK(a.result() + b.result() == 12);
}

TEST_CASE("a DeadlockError that nobody catches goes to whom waits, and to the cycle's other task") {
  Gate known;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(known);
  Future<int> a;
  Future<int> b;
  a = executor.submit([&] {
    known.wait();
    return b.result();
  });
  b = executor.submit([&] {
    known.wait();
    return a.result();
  });
  known.open();
  CHECK_THROWS_AS(a.result(), DeadlockError);
  CHECK_THROWS_AS(b.result(), DeadlockError);
}

TEST_CASE("a task that another one adopts may not wait for that one") {
  ThreadPoolExecutor executor(1);
  Gate known;
  const support::OpenAtExit opened(known);
  Future<bool> parent;
  parent = executor.submit([&] {
    known.wait();
    const auto child = executor.submit([&] { return is_refused([&] { parent.wait(); }); });
    return child.result();
  });
  known.open();
  CHECK(parent.result());
}

TEST_CASE("a grandchild that waits for its grandparent closes a cycle, on any number of workers") {
  // Spread: each of the three is on a worker of its own.
  for (const auto& [workers, is_spread] : {std::pair(1, false), {3, false}, {3, true}}) {
    Gate known;
    support::Counter begun;
    support::Counter ended;
    std::atomic<int> refused = 0;
    std::atomic<bool> was_grandchild = false;
    Future<void> top;
    const auto wait_for = [&](const Future<void>& other) {
      const bool closes_cycle = is_refused([&] { other.wait(); });
      if (closes_cycle) refused.fetch_add(1);
      ended.add();
      return closes_cycle;
    };
    ThreadPoolExecutor executor(workers);
    const support::OpenAtExit opened(known);
    const auto begin = [&, spread = is_spread] {
      begun.add();
      if (spread) begun.reached(3);
    };
    top = executor.submit([&] {
      known.wait();
      const auto child = executor.submit([&] {
        const auto grandchild = executor.submit([&] {
          begin();
          was_grandchild = wait_for(top);
        });
        begin();
        wait_for(grandchild);
      });
      begin();
      wait_for(child);
    });
    known.open();
    ended.reached(3);
    executor.shutdown();
    // On several workers any of the three may be the last to wait, and that one is refused.
    CHECK(refused == 1);
    if (workers == 1) CHECK(was_grandchild.load());
  }
}

TEST_CASE("a cycle across executors is refused too") {
  Gate known;
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  ThreadPoolExecutor third(1);
  const support::OpenAtExit opened(known);
  Future<int> a;
  Future<int> b;
  Future<int> c;
  const auto wait_for = [&known](const Future<int>& other) {
    known.wait();
    try {
      return other.result() + 10;
    } catch (const DeadlockError&) { return 1; }
  };
  a = first.submit([&] { return wait_for(b); });
  b = second.submit([&] { return wait_for(c); });
  c = third.submit([&] { return wait_for(a); });
  known.open();
  // One was refused, and the two that wait for it one behind the other get its result.
  CHECK(a.result() + b.result() + c.result() == 1 + 11 + 21);
}

TEST_CASE("a wait that closes no cycle is not refused, however waits are shared") {
  Gate go_on;
  ThreadPoolExecutor executor(4);
  const support::OpenAtExit opened(go_on);
  const auto bottom = executor.submit([&go_on] {
    go_on.wait();
    return 1;
  });
  const auto left = executor.submit([&] { return bottom.result() + 1; });
  const auto right = executor.submit([&] { return bottom.result() + 2; });
  const auto top = executor.submit([&] { return left.result() + right.result(); });
  go_on.open();
  CHECK(top.result() == 5);
}

TEST_CASE("a worker that was refused once may wait again") {
  Gate known;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(known);
  Future<int> self;
  self = executor.submit([&] {
    known.wait();
    if (!is_refused([&] { self.wait(); })) return 0;
    Gate begun;
    const auto other = executor.submit([&begun] {
      begun.open();
      return 7;
    });
    begun.wait();
    return other.result();
  });
  known.open();
  CHECK(self.result() == 7);
}

TEST_CASE("a task may wait for one whose callback waits for it") {
  // The callback runs when its task is done: nobody waits for the callback.
  Gate begun;
  Gate known;
  Gate go_on;
  support::Counter seen;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(go_on);
  const support::OpenAtExit made_known(known);
  const auto first = executor.submit([&] {
    begun.open();
    go_on.wait();
    return 1;
  });
  begun.wait();  // were it not, the second one could run it, and its callback on top of itself
  const auto second = executor.submit([&] {
    known.wait();
    return first.result() + 1;
  });
  first.add_done_callback([&](auto) {
    if (second.result() == 2) seen.add();
  });
  known.open();
  go_on.open();
  seen.reached(1);
  CHECK(second.result() == 2);
}

TEST_CASE("a thread from outside that waits is part of no cycle") {
  Gate known;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(known);
  Future<int> task;
  task = executor.submit([&] {
    known.wait();
    int seen = 0;
    std::thread([&] { seen = task.wait_for(1ms) == std::future_status::timeout ? 1 : 2; }).join();
    return seen;
  });
  known.open();
  CHECK(task.result() == 1);
}
