// SPDX-License-Identifier: MIT
// get(), and result() of an rvalue: the value is taken, once, from all handles.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

namespace {

using concurrent::Future;
using concurrent::InvalidStateError;
using concurrent::ThreadPoolExecutor;
using concurrent::TimeoutError;
using std::chrono::milliseconds;
using std::chrono::seconds;

template <class Handle>
concept can_get_from = requires(Handle handle) { handle.get(); };

}  // namespace

TEST_CASE("get() takes the value and empties the handle") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([] { return std::string("taken"); });
  STATIC_REQUIRE(std::is_same_v<decltype(future.get()), std::string>);
  CHECK(future.get() == "taken");
  CHECK_FALSE(future.valid());
  CHECK_THROWS_AS(future.get(), InvalidStateError);
}

TEST_CASE("get() needs a handle that may be changed") {
  STATIC_REQUIRE(can_get_from<Future<int>&>);
  STATIC_REQUIRE_FALSE(can_get_from<const Future<int>&>);
}

TEST_CASE("result() of an rvalue handle takes and empties as get() does") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([] { return std::string("taken"); });
  CHECK(std::move(future).result() == "taken");
  CHECK_FALSE(future.valid());
}

TEST_CASE("after a taking, the other handles know that the task is done, but not its value") {
  ThreadPoolExecutor executor(1);
  auto taker = executor.submit([] { return std::make_unique<int>(3); });
  auto other = taker;
  const auto third = taker;
  const auto hash = std::hash<Future<std::unique_ptr<int>>>{}(other);
  CHECK(*taker.get() == 3);
  CHECK_THROWS_AS(other.result(), InvalidStateError);
  CHECK_THROWS_AS(other.result(seconds(1)), InvalidStateError);
  CHECK(other.valid());
  CHECK(other.done());
  CHECK_FALSE(other.running());
  CHECK_FALSE(other.cancelled());
  other.wait();
  CHECK(other.wait_for(seconds(0)) == std::future_status::ready);
  CHECK(other.exception() == nullptr);
  CHECK_FALSE(other.cancel());
  CHECK(other == third);
  CHECK(std::hash<Future<std::unique_ptr<int>>>{}(other) == hash);
  CHECK_THROWS_AS(other.get(), InvalidStateError);
}

TEST_CASE("a get() that finds the value taken empties its handle too") {
  ThreadPoolExecutor executor(1);
  auto first = executor.submit([] { return 1; });
  auto second = first;
  CHECK(first.get() == 1);
  CHECK_THROWS_AS(second.get(), InvalidStateError);
  CHECK_FALSE(second.valid());
}

TEST_CASE("of several takers exactly one gets the value") {
  constexpr std::size_t kTakers = 4;
  const int rounds = support::scaled(500);
  support::Counts counts;
  std::atomic<int> takings{0};
  std::atomic<int> refusals{0};
  {
    support::Barrier barrier(kTakers);
    ThreadPoolExecutor executor(1);
    std::vector<Future<support::Counted>> futures;
    for (int i = 0; i < rounds; ++i) {
      futures.push_back(executor.submit([&counts] { return support::Counted(counts, 7); }));
    }
    std::vector<std::thread> takers;
    for (std::size_t t = 0; t < kTakers; ++t) {
      takers.emplace_back([&, handles = futures]() mutable {
        barrier.arrive_and_wait();
        for (auto& handle : handles) {
          try {
            if (handle.get().value() == 7) takings.fetch_add(1);
          } catch (const InvalidStateError&) { refusals.fetch_add(1); }
        }
      });
    }
    for (auto& taker : takers) taker.join();
  }
  CHECK(takings == rounds);
  CHECK(refusals == rounds * static_cast<int>(kTakers - 1));
  CHECK(counts.copies == 0);
  CHECK(counts.alive == 0);
}

TEST_CASE("the taker destroys the value: nothing of it is left in other handles") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  auto taker = executor.submit([&counts] { return support::Counted(counts); });
  const auto other = taker;
  other.wait();
  CHECK(counts.alive == 1);
  {
    const support::Counted taken = taker.get();
    CHECK(counts.alive == 1);
  }
  CHECK(counts.alive == 0);
  CHECK(other.valid());
}

TEST_CASE("failures are never taken: every handle rethrows them, and get() empties its own") {
  ThreadPoolExecutor executor(1);
  auto first = executor.submit([]() -> int { throw std::domain_error("again"); });
  auto second = first;
  CHECK_THROWS_AS(first.get(), std::domain_error);
  CHECK_FALSE(first.valid());
  CHECK_THROWS_AS(second.result(), std::domain_error);
  CHECK(second.valid());
  CHECK_THROWS_AS(std::move(second).result(), std::domain_error);
  CHECK_FALSE(second.valid());
}

TEST_CASE("a cancellation is never taken either") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto first = executor.submit([] { return 1; });
  auto second = first;
  first.cancel();
  CHECK_THROWS_AS(first.get(), concurrent::CancelledError);
  CHECK_FALSE(first.valid());
  CHECK_THROWS_AS(second.get(), concurrent::CancelledError);
}

TEST_CASE("a get() that runs out of time keeps its handle") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto future = executor.submit([] { return 4; });
  CHECK_THROWS_AS(future.get(seconds(0)), TimeoutError);
  CHECK_THROWS_AS(future.get(milliseconds(1)), TimeoutError);
  CHECK_THROWS_AS(std::move(future).result(milliseconds(1)), TimeoutError);
  REQUIRE(future.valid());
  busy.release();
  CHECK(future.get(seconds(50)) == 4);
  CHECK_FALSE(future.valid());
}

TEST_CASE("a TimeoutError that the task threw empties the handle like any failure") {
  ThreadPoolExecutor executor(1);
  ThreadPoolExecutor other(1);
  support::BusyWorker busy(other);
  const auto pending = other.submit([] {});
  auto future = executor.submit([&pending] { pending.result(seconds(0)); });
  CHECK_THROWS_AS(future.get(), TimeoutError);
  CHECK_FALSE(future.valid());
}

TEST_CASE("get() of a reference gives the reference and empties the handle") {
  ThreadPoolExecutor executor(1);
  int number = 1;
  auto future = executor.submit([&number]() -> int& { return number; });
  STATIC_REQUIRE(std::is_same_v<decltype(future.get()), int&>);
  CHECK(&future.get() == &number);
  CHECK_FALSE(future.valid());
}

TEST_CASE("get() of a void future is a taking: the second handle finds it taken") {
  ThreadPoolExecutor executor(1);
  auto first = executor.submit([] {});
  auto second = first;
  first.get();
  CHECK_FALSE(first.valid());
  CHECK_THROWS_AS(second.result(), InvalidStateError);
  CHECK_THROWS_AS(second.get(), InvalidStateError);
}
