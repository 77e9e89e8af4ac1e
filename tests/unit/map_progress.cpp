// SPDX-License-Identifier: MIT
// map: time limits, progress, waits and cancellation.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <future>
#include <numeric>
#include <thread>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::MapOptions;
using concurrent::ThreadPoolExecutor;
using std::chrono::milliseconds;
using std::chrono::seconds;

int square(int x) { return x * x; }

std::vector<int> numbers_to(int count) {
  std::vector<int> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

}  // namespace

TEST_CASE("a time limit counts from the call, and what is late may be asked again") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto begin = std::chrono::steady_clock::now();
  auto mapped = executor.map(MapOptions{.timeout = milliseconds(30), .chunksize = 1},
                             [&gate](int x) {
                               if (x == 1) gate.wait();
                               return x;
                             },
                             {0, 1});
  while (mapped.completed() < 1) std::this_thread::yield();
  auto it = mapped.begin();
  CHECK(*it == 0);
  ++it;
  CHECK_THROWS_AS(*it, concurrent::TimeoutError);
  CHECK(std::chrono::steady_clock::now() - begin >= milliseconds(30));
  CHECK_THROWS_AS(*it, concurrent::TimeoutError);
  gate.open();
  CHECK(support::eventually([&] { return mapped.done(); }));
  CHECK(*it == 1);
}

TEST_CASE("result() keeps to the time limit too, and then has taken nothing") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(MapOptions{.timeout = milliseconds(10)},
                             [&gate](int x) {
                               gate.wait();
                               return x;
                             },
                             {1, 2});
  CHECK_THROWS_AS(mapped.result(), concurrent::TimeoutError);
  gate.open();
  CHECK(support::eventually([&] { return mapped.done(); }));
  CHECK(mapped.result() == std::vector<int>{1, 2});
}

TEST_CASE("size(), completed() and done() tell how far a map is") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(
      MapOptions{.chunksize = 1},
      [&gate](int x) {
        if (x == 3) gate.wait();
        return x;
      },
      numbers_to(6));
  CHECK(mapped.size() == 6);
  CHECK(support::eventually([&] { return mapped.completed() == 3; }));
  CHECK_FALSE(mapped.done());
  CHECK(mapped.wait_for(milliseconds(1)) == std::future_status::timeout);
  gate.open();
  CHECK(support::eventually([&] { return mapped.done(); }));
  CHECK(mapped.completed() == 6);
  CHECK(mapped.size() == 6);
}

TEST_CASE("completed() counts elements, not chunks") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(
      MapOptions{.chunksize = 3},
      [&](int x) {
        if (x == 2) {
          begun.open();
          gate.wait();
        }
        return x;
      },
      numbers_to(3));
  begun.wait();
  CHECK(mapped.completed() == 2);
  gate.open();
  mapped.wait();
  CHECK(mapped.completed() == 3);
}

TEST_CASE("wait() returns when all elements have run") {
  support::Gate gate;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(gate);
  std::atomic<int> calls{0};
  auto mapped = executor.map(
      [&](int) {
        gate.wait();
        calls.fetch_add(1);
      },
      numbers_to(20));
  {
    const support::OpenOnceAsleep opener(gate);
    mapped.wait();
  }
  CHECK(calls == 20);
  CHECK(mapped.done());
  CHECK(mapped.wait_for(seconds(0)) == std::future_status::ready);
}

TEST_CASE("cancel() cancels what has not begun, and is true only if there was any") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  std::atomic<int> calls{0};
  auto mapped = executor.map(
      [&calls](int x) {
        calls.fetch_add(1);
        return x;
      },
      numbers_to(10));
  CHECK(mapped.cancel());
  CHECK(mapped.done());
  CHECK_FALSE(mapped.cancel());
  CHECK_THROWS_AS(mapped.result(), concurrent::CancelledError);
  int cancelled = 0;
  for (auto it = mapped.begin(); it != mapped.end(); ++it) {
    try {
      static_cast<void>(*it);
    } catch (const concurrent::CancelledError&) { ++cancelled; }
  }
  CHECK(cancelled == 10);
  busy.release();
  executor.shutdown();
  CHECK(calls == 0);
}

TEST_CASE("cancel() leaves the elements alone that run or have run") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(MapOptions{.chunksize = 1},
                             [&](int x) {
                               if (x == 1) {
                                 begun.open();
                                 gate.wait();
                               }
                               return x;
                             },
                             {0, 1, 2, 3});
  begun.wait();
  CHECK(mapped.cancel());
  CHECK_FALSE(mapped.done());
  gate.open();
  mapped.wait();
  auto it = mapped.begin();
  CHECK(*it == 0);
  CHECK(*++it == 1);
  CHECK_THROWS_AS(*++it, concurrent::CancelledError);
  CHECK_THROWS_AS(*++it, concurrent::CancelledError);
  CHECK(++it == mapped.end());
}

TEST_CASE("cancel() of a finished map is false") {
  ThreadPoolExecutor executor(1);
  auto mapped = executor.map(square, {1, 2});
  mapped.wait();
  CHECK_FALSE(mapped.cancel());
  CHECK(mapped.result() == std::vector<int>{1, 4});
}

TEST_CASE("another thread may cancel a map, and that wakes who iterates over it") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto mapped = executor.map(square, {1, 2});
  std::thread canceller([&] {
    gate.wait();
    mapped.cancel();
  });
  {
    const support::OpenOnceAsleep opener(gate);
    CHECK_THROWS_AS(*mapped.begin(), concurrent::CancelledError);
  }
  canceller.join();
}

TEST_CASE("shutdown with cancel_futures cancels the elements that have not begun") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto mapped = executor.map(square, {1, 2, 3});
  executor.shutdown({.wait = false, .cancel_futures = true});
  CHECK(mapped.done());
  CHECK_THROWS_AS(mapped.result(), concurrent::CancelledError);
}
