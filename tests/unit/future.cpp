// SPDX-License-Identifier: MIT
// Future: the handle, its states and the waits. Taking is in get.cpp, cancelling in cancel.cpp.
#include <chrono>
#include <compare>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"

namespace {

using concurrent::CancelledError;
using concurrent::Future;
using concurrent::InvalidStateError;
using concurrent::ThreadPoolExecutor;
using concurrent::TimeoutError;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

/// One future in each of the five states, in the manner of CPython's test_future.py.
struct AllStates {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor{1};
  Future<int> finished = executor.submit([] { return 42; });
  Future<int> failed = executor.submit([]() -> int { throw std::runtime_error("failed"); });
  Future<int> running = executor.submit([this] {
    begun.open();
    gate.wait();
    return 1;
  });
  Future<int> pending = executor.submit([] { return 2; });
  Future<int> cancelled = executor.submit([] { return 3; });

  AllStates() {
    begun.wait();
    cancelled.cancel();
  }
  ~AllStates() { gate.open(); }
};

template <class T> bool is_empty(Future<T> future) {
  const auto throws_invalid = [](auto call) {
    try {
      call();
    } catch (const InvalidStateError&) { return true; }
    return false;
  };
  const Future<T>& handle = future;
  return !handle.valid() && !handle.done() && !handle.running() && !handle.cancelled() &&
         throws_invalid([&] { handle.result(); }) &&
         throws_invalid([&] { std::move(future).result(); }) &&
         throws_invalid([&] { future.get(); }) && throws_invalid([&] { handle.exception(); }) &&
         throws_invalid([&] { future.cancel(); }) && throws_invalid([&] { handle.wait(); }) &&
         throws_invalid([&] { handle.wait_for(seconds(0)); }) &&
         throws_invalid([&] { handle.wait_until(steady_clock::now()); });
}

}  // namespace

TEST_CASE("done(), running() and cancelled() tell each state apart") {
  AllStates states;
  CHECK(states.finished.done());
  CHECK_FALSE(states.finished.running());
  CHECK_FALSE(states.finished.cancelled());
  CHECK(states.failed.done());
  CHECK_FALSE(states.failed.running());
  CHECK_FALSE(states.failed.cancelled());
  CHECK_FALSE(states.running.done());
  CHECK(states.running.running());
  CHECK_FALSE(states.running.cancelled());
  CHECK_FALSE(states.pending.done());
  CHECK_FALSE(states.pending.running());
  CHECK_FALSE(states.pending.cancelled());
  CHECK(states.cancelled.done());
  CHECK_FALSE(states.cancelled.running());
  CHECK(states.cancelled.cancelled());
}

TEST_CASE("the questions do not throw, and all but the takers and assignment are const") {
  using Handle = const Future<int>;
  STATIC_REQUIRE(noexcept(std::declval<Handle&>().done()));
  STATIC_REQUIRE(noexcept(std::declval<Handle&>().running()));
  STATIC_REQUIRE(noexcept(std::declval<Handle&>().cancelled()));
  STATIC_REQUIRE(requires(Handle& handle) {
    handle.valid();
    handle.result();
    handle.exception();
    handle.cancel();
    handle.request_stop();
    handle.wait();
    handle.wait_for(seconds(1));
    handle.wait_until(steady_clock::now());
  });
}

TEST_CASE("result() in each state, with a limit of zero") {
  AllStates states;
  CHECK(states.finished.result(seconds(0)) == 42);
  CHECK_THROWS_AS(states.failed.result(seconds(0)), std::runtime_error);
  CHECK_THROWS_AS(states.running.result(seconds(0)), TimeoutError);
  CHECK_THROWS_AS(states.pending.result(seconds(0)), TimeoutError);
  CHECK_THROWS_AS(states.cancelled.result(seconds(0)), CancelledError);
}

TEST_CASE("exception() in each state, with a limit of zero") {
  AllStates states;
  CHECK(states.finished.exception(seconds(0)) == nullptr);
  CHECK(states.failed.exception(seconds(0)) != nullptr);
  CHECK_THROWS_AS(states.running.exception(seconds(0)), TimeoutError);
  CHECK_THROWS_AS(states.pending.exception(seconds(0)), TimeoutError);
  CHECK_THROWS_AS(states.cancelled.exception(seconds(0)), CancelledError);
}

TEST_CASE("wait_for and wait_until are ready for every final state and never deferred") {
  AllStates states;
  for (const auto* final : {&states.finished, &states.failed, &states.cancelled}) {
    final->wait();
    CHECK(final->wait_for(seconds(0)) == std::future_status::ready);
    CHECK(final->wait_for(seconds(-1)) == std::future_status::ready);
    CHECK(final->wait_until(steady_clock::now() - seconds(1)) == std::future_status::ready);
    CHECK(final->wait_until(system_clock::now()) == std::future_status::ready);
  }
  for (const auto* open : {&states.running, &states.pending}) {
    CHECK(open->wait_for(seconds(0)) == std::future_status::timeout);
    CHECK(open->wait_for(milliseconds(1)) == std::future_status::timeout);
    CHECK(open->wait_until(steady_clock::now() - seconds(1)) == std::future_status::timeout);
    CHECK(open->wait_until(system_clock::now() + milliseconds(1)) == std::future_status::timeout);
  }
}

TEST_CASE("wait_until is not over before its time point") {
  AllStates states;
  const auto steady = steady_clock::now() + milliseconds(30);
  CHECK(states.pending.wait_until(steady) == std::future_status::timeout);
  CHECK(steady_clock::now() >= steady);
  const auto system = system_clock::now() + milliseconds(30);
  CHECK(states.pending.wait_until(system) == std::future_status::timeout);
  CHECK(system_clock::now() >= system);
}

TEST_CASE("every waiter wakes when the task ends") {
  AllStates states;
  constexpr int kWaiters = 6;
  std::vector<int> woken(kWaiters);
  std::vector<std::thread> waiters;
  support::Counter begun;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.emplace_back([&, i] {
      const Future<int> handle = states.running;
      int& answer = woken[static_cast<std::size_t>(i)];
      begun.add();
      if (i == 0) answer = handle.result() == 1;
      if (i == 1) answer = handle.exception() == nullptr;
      if (i == 2) answer = (handle.wait(), handle.done());
      if (i == 3) answer = handle.wait_for(seconds(50)) == std::future_status::ready;
      if (i == 4) {
        answer = handle.wait_until(steady_clock::now() + seconds(50)) == std::future_status::ready;
      }
      if (i == 5) answer = handle.result(seconds(50)) == 1;
    });
  }
  begun.reached(kWaiters);
  states.gate.open();
  for (auto& waiter : waiters) waiter.join();
  CHECK(woken == std::vector<int>(kWaiters, 1));
}

TEST_CASE("several threads may call the const members of one handle at once") {
  AllStates states;
  const Future<int>& shared = states.running;
  std::vector<int> results(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      const Future<int> copy = shared;
      results[i] = shared.result() + copy.result();
    });
  }
  states.gate.open();
  for (auto& thread : threads) thread.join();
  CHECK(results == std::vector<int>(4, 2));
}

TEST_CASE("result() may be asked again and gives the same object through every handle") {
  AllStates states;
  const Future<int> copy = states.finished;
  const int& first = states.finished.result();
  CHECK(&first == &states.finished.result());
  CHECK(&first == &copy.result());
  STATIC_REQUIRE(std::is_same_v<decltype(copy.result()), const int&>);
}

TEST_CASE("result() of an rvalue takes the value") {
  ThreadPoolExecutor executor(1);
  STATIC_REQUIRE(
      std::is_same_v<decltype(std::declval<Future<std::string>>().result()), std::string>);
  CHECK(*executor.submit([] { return std::make_unique<int>(3); }).result() == 3);
}

TEST_CASE("a future of void gives no value and rethrows what was thrown") {
  ThreadPoolExecutor executor(1);
  auto good = executor.submit([] {});
  STATIC_REQUIRE(std::is_void_v<decltype(good.result())>);
  STATIC_REQUIRE(std::is_void_v<decltype(good.get())>);
  good.result();
  good.get();
  CHECK_FALSE(good.valid());
  const auto bad = executor.submit([] { throw std::logic_error("void"); });
  CHECK_THROWS_AS(bad.result(), std::logic_error);
}

TEST_CASE("an empty handle answers false to every question and throws for all else") {
  CHECK(is_empty(Future<int>()));
  CHECK(is_empty(Future<void>()));
  CHECK(is_empty(Future<int&>()));
  CHECK(is_empty(Future<std::unique_ptr<int>>()));
}

TEST_CASE("a moved-from handle is empty") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([] { return 1; });
  auto target = std::move(future);
  CHECK(is_empty(future));
  CHECK(target.result() == 1);
  auto assigned = executor.submit([] { return 2; });
  assigned = std::move(target);
  CHECK(is_empty(target));
  CHECK(assigned.result() == 1);
}

TEST_CASE("copies share one state, and assignment to itself changes nothing") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([] { return 1; });
  auto copy = future;
  CHECK(copy == future);
  CHECK(copy.result() == 1);
  auto& same = copy;
  copy = same;
  CHECK(copy.result() == 1);
  copy = Future<int>();
  CHECK_FALSE(copy.valid());
  CHECK(future.result() == 1);
}

TEST_CASE("handles compare and hash by identity") {
  ThreadPoolExecutor executor(1);
  const auto first = executor.submit([] { return 1; });
  const auto second = executor.submit([] { return 1; });
  const auto copy = first;
  CHECK(first == copy);
  CHECK(first != second);
  CHECK((first <=> copy) == std::strong_ordering::equal);
  CHECK((first < second) != (second < first));
  CHECK(std::hash<Future<int>>{}(first) == std::hash<Future<int>>{}(copy));
  CHECK(Future<int>() == Future<int>());
  CHECK(Future<int>() != first);
  CHECK(std::hash<Future<int>>{}(Future<int>()) == std::hash<Future<int>>{}(Future<int>()));
}

TEST_CASE("handles are keys of maps and members of sets") {
  ThreadPoolExecutor executor(2);
  std::unordered_map<Future<int>, int> inputs;
  std::map<Future<int>, int> ordered;
  std::unordered_set<Future<int>> unordered;
  std::set<Future<int>> sorted;
  for (int i = 0; i < 100; ++i) {
    const auto future = executor.submit([i] { return i * i; });
    inputs.emplace(future, i);
    ordered.emplace(future, i);
    unordered.insert(future);
    sorted.insert(future);
  }
  int wrong = 0;
  for (const auto& [future, input] : inputs) {
    wrong += future.result() != input * input;
    wrong += ordered.at(future) != input;
    wrong += !unordered.contains(future) || !sorted.contains(future);
  }
  CHECK(wrong == 0);
  CHECK(sorted.size() == 100);
  CHECK(unordered.size() == 100);
}

TEST_CASE("a future is never seen done and running at once, nor a final state left") {
  ThreadPoolExecutor executor(1);
  int wrong = 0;
  for (int i = 0; i < 200; ++i) {
    const auto future = executor.submit([] { return 1; });
    while (true) {
      const bool was_done = future.done();
      const bool is_running = future.running();
      wrong += was_done && is_running;
      wrong += was_done && !future.done();
      if (was_done) break;
      std::this_thread::yield();
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a failed future rethrows the same exception every time, in every thread") {
  AllStates states;
  std::vector<std::exception_ptr> seen(4);
  std::vector<std::thread> threads;
  for (auto& slot : seen) {
    threads.emplace_back([&slot, handle = states.failed] { slot = handle.exception(); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& error : seen) CHECK(error == states.failed.exception());
  CHECK_THROWS_AS(states.failed.result(), std::runtime_error);
  CHECK_THROWS_AS(states.failed.result(), std::runtime_error);
}
