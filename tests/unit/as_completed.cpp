// SPDX-License-Identifier: MIT
// as_completed(): futures in the order in which they end.
#include <chrono>
#include <concurrent/executor.hpp>
#include <iterator>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::as_completed;
using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

using Futures = std::vector<Future<int>>;
using Completed = decltype(as_completed(std::declval<Futures&>()));

static_assert(std::ranges::input_range<Completed>);
static_assert(!std::ranges::forward_range<Completed>);
static_assert(std::is_same_v<std::ranges::range_reference_t<Completed>, Future<int>&>);
static_assert(!std::is_copy_constructible_v<Completed>);
static_assert(std::is_move_constructible_v<Completed>);

Futures futures_of(const std::vector<Promise<int>>& promises) {
  Futures futures;
  for (const auto& promise : promises) futures.push_back(promise.future());
  return futures;
}

}  // namespace

TEST_CASE("as_completed() yields the futures in the order in which they end") {
  std::vector<Promise<int>> promises(4);
  const Futures futures = futures_of(promises);
  auto completed = as_completed(futures);
  auto next = completed.begin();
  for (const std::size_t i : {2U, 0U, 3U, 1U}) {
    promises[i].set_result(static_cast<int>(i));
    REQUIRE(next != completed.end());
    CHECK(*next == futures[i]);
    CHECK(next->done());
    ++next;
  }
  CHECK(next == completed.end());
}

TEST_CASE("as_completed() sleeps until the next one ends") {
  std::vector<Promise<int>> promises(2);
  const Futures futures = futures_of(promises);
  promises[1].set_result(1);
  Gate go_on;
  std::thread keeper([&] {
    go_on.wait();
    promises[0].set_result(0);
  });
  std::vector<int> seen;
  {
    const support::OpenOnceAsleep opener(go_on);
    for (const auto& future : as_completed(futures)) seen.push_back(future.result());
  }
  keeper.join();
  CHECK(seen == std::vector<int>{1, 0});
}

TEST_CASE("as_completed() yields each future once, and those that are done first") {
  std::vector<Promise<int>> promises(5);
  const Futures futures = futures_of(promises);
  promises[4].set_result(4);
  promises[2].set_exception(std::make_exception_ptr(std::domain_error("test")));
  futures[3].cancel();
  auto completed = as_completed(futures);
  promises[0].set_result(0);
  promises[1].set_result(1);
  std::vector<Future<int>> seen;
  for (const auto& future : completed) seen.push_back(future);
  CHECK(seen == Futures{futures[2], futures[3], futures[4], futures[0], futures[1]});
}

TEST_CASE("as_completed() yields a future that is given twice once") {
  Promise<int> promise;
  promise.set_result(1);
  const auto future = promise.future();
  int count = 0;
  for (const auto& same : as_completed({future, future, future})) count += same.result();
  CHECK(count == 1);
}

TEST_CASE("as_completed() of nothing is at its end") {
  auto completed = as_completed(Futures(), {.timeout = 0s});
  CHECK(completed.begin() == completed.end());
}

TEST_CASE("as_completed() yields what is done, then tells how many are unfinished") {
  for (const auto limit : {0ms, 20ms}) {
    std::vector<Promise<int>> promises(5);
    const Futures futures = futures_of(promises);
    for (const std::size_t i : {0U, 1U, 2U}) promises[i].set_result(1);
    int seen = 0;
    const auto collect = [&] {
      for (const auto& future : as_completed(futures, {.timeout = limit})) seen += future.result();
    };
    CHECK_THROWS_WITH(collect(), "2 (of 5) futures unfinished");
    CHECK(seen == 3);
    CHECK_THROWS_AS(collect(), concurrent::TimeoutError);
  }
}

TEST_CASE("the clock of as_completed() starts at the call") {
  std::vector<Promise<int>> promises(2);
  const auto begin = std::chrono::steady_clock::now();
  auto completed = as_completed(futures_of(promises), {.timeout = 30ms});
  std::this_thread::sleep_for(40ms);
  promises[0].set_result(7);
  auto next = completed.begin();
  CHECK(next->result() == 7);  // done: no limit counts
  ++next;
  CHECK_THROWS_AS(*next, concurrent::TimeoutError);
  CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
}

TEST_CASE("as_completed() whose time is up may be asked again") {
  std::vector<Promise<int>> promises(1);
  auto completed = as_completed(futures_of(promises), {.timeout = 1ms});
  auto next = completed.begin();
  CHECK_THROWS_AS(*next, concurrent::TimeoutError);
  promises[0].set_result(7);
  CHECK(next->result() == 7);
  ++next;
  CHECK(next == completed.end());
}

TEST_CASE("as_completed() copies the handles and not the range") {
  std::optional<Futures> futures;
  std::vector<Promise<int>> promises(3);
  futures = futures_of(promises);
  auto completed = as_completed(*futures);
  futures.reset();
  for (std::size_t i = 0; i < 3; ++i) promises[i].set_result(1);
  int sum = 0;
  for (auto& future : completed) sum += future.get();
  CHECK(sum == 3);
}

TEST_CASE("as_completed() takes any input range of futures, of any executors") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  const Futures futures{first.submit([] { return 1; }), second.submit([] { return 2; })};
  const auto sum = [](auto&& completed) {
    int all = 0;
    for (const auto& future : completed) all += future.result();
    return all;
  };
  CHECK(sum(as_completed(futures)) == 3);
  CHECK(sum(as_completed(std::span(futures))) == 3);
  CHECK(sum(as_completed(std::set(futures.begin(), futures.end()))) == 3);
  CHECK(sum(as_completed({futures[0], futures[1]})) == 3);
  const std::map<std::string, Future<int>> named{{"a", futures[0]}, {"b", futures[1]}};
  CHECK(sum(as_completed(named | std::views::values)) == 3);
  CHECK(sum(as_completed(futures | std::views::transform([](auto f) { return f; }))) == 3);
}

TEST_CASE("as_completed() refuses an empty handle before it waits") {
  const Promise<int> promise;
  CHECK_THROWS_AS(as_completed({promise.future(), Future<int>()}), concurrent::InvalidStateError);
}

TEST_CASE("as_completed() may be moved while somebody goes through it") {
  std::vector<Promise<int>> promises(2);
  const Futures futures = futures_of(promises);
  promises[0].set_result(0);
  auto first = as_completed(futures);
  auto next = first.begin();
  CHECK(*next == futures[0]);
  ++next;
  auto second = std::move(first);
  promises[1].set_result(1);
  CHECK(*next == futures[1]);
  ++next;
  CHECK(next == second.end());
}

TEST_CASE("as_completed() that is left early forgets the rest") {
  std::vector<Promise<int>> promises(3);
  const Futures futures = futures_of(promises);
  promises[1].set_result(1);
  for (const auto& future : as_completed(futures)) {
    CHECK(future == futures[1]);
    break;
  }
  promises[0].set_result(0);
  promises[2].set_result(2);
  int count = 0;
  for (const auto& future : as_completed(futures)) count += future.done() ? 1 : 0;
  CHECK(count == 3);
}

TEST_CASE("several threads may go through the same futures, each with its own as_completed()") {
  ThreadPoolExecutor executor(2);
  Futures futures;
  for (int i = 0; i < 100; ++i) futures.push_back(executor.submit([i] { return i; }));
  std::vector<int> sums(3);
  std::vector<std::thread> threads;
  for (int& sum : sums) {
    threads.emplace_back([&sum, &futures] {
      for (const auto& future : as_completed(futures)) sum += future.result();
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(sums == std::vector<int>(3, 4950));
}

TEST_CASE("an element of as_completed() may be taken, cancelled or waited for") {
  ThreadPoolExecutor executor(1);
  std::vector futures{executor.submit([] { return std::string("text"); })};
  std::string taken;
  for (auto& future : as_completed(futures)) {
    CHECK_FALSE(future.cancel());
    future.wait();
    taken = future.get();
  }
  CHECK(taken == "text");
  CHECK_THROWS_AS(futures[0].result(), concurrent::InvalidStateError);
}
