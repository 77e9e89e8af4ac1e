// SPDX-License-Identifier: MIT
// map: results, iteration and failures. Time limits and cancellation: map_progress.cpp.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"

namespace {

using concurrent::MapFuture;
using concurrent::MapOptions;
using concurrent::ThreadPoolExecutor;
using std::chrono::seconds;

int square(int x) { return x * x; }

std::vector<int> numbers_to(int count) {
  std::vector<int> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

int fails_at_odd(int x) {
  if (x % 2 != 0) throw std::out_of_range("odd: " + std::to_string(x));
  return x;
}

}  // namespace

TEST_CASE("a map gives the results in the order of its input") {
  ThreadPoolExecutor executor(3);
  const auto numbers = numbers_to(1000);
  int expected = 0;
  int wrong = 0;
  for (const int& squared : executor.map(square, numbers)) {
    wrong += squared != expected * expected;
    ++expected;
  }
  CHECK(wrong == 0);
  CHECK(expected == 1000);
}

TEST_CASE("result() takes all results as a vector") {
  ThreadPoolExecutor executor(2);
  auto mapped = executor.map(square, {1, 2, 3});
  STATIC_REQUIRE(std::is_same_v<decltype(mapped), MapFuture<int>>);
  STATIC_REQUIRE(std::is_same_v<decltype(mapped.result()), std::vector<int>>);
  CHECK(mapped.result() == std::vector<int>{1, 4, 9});
}

TEST_CASE("a map is a single-pass range that a vector can be made from") {
  STATIC_REQUIRE(std::ranges::input_range<MapFuture<int>>);
  STATIC_REQUIRE(std::is_same_v<std::ranges::range_reference_t<MapFuture<int>>, int&>);
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<MapFuture<int>>);
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<MapFuture<int>>);
  ThreadPoolExecutor executor(2);
  auto mapped = executor.map(square, {1, 2, 3});
  CHECK(std::vector<int>(mapped.begin(), mapped.end()) == std::vector<int>{1, 4, 9});
}

TEST_CASE("the results do not depend on the chunk size") {
  ThreadPoolExecutor executor(2);
  const auto numbers = numbers_to(103);
  std::vector<int> expected;
  for (const int number : numbers) expected.push_back(square(number));
  for (const std::size_t size : {1U, 2U, 7U, 50U, 102U, 103U, 104U, 1000U}) {
    CHECK(executor.map(MapOptions{.chunksize = size}, square, numbers).result() == expected);
  }
  CHECK(executor.map(MapOptions{}, square, numbers).result() == expected);
  CHECK(executor.map(MapOptions{.chunksize = PTRDIFF_MAX}, square, numbers).result() == expected);
}

TEST_CASE("a chunk size of zero, or a converted negative one, is an invalid_argument") {
  ThreadPoolExecutor executor(1);
  std::atomic<int> calls{0};
  const auto count = [&calls](int) { calls.fetch_add(1); };
  CHECK_THROWS_AS(executor.map(MapOptions{.chunksize = 0}, count, {1, 2}), std::invalid_argument);
  CHECK_THROWS_AS(
      executor.map(MapOptions{.chunksize = static_cast<std::size_t>(-1)}, count, {1, 2}),
      std::invalid_argument);
  CHECK_THROWS_AS(
      executor.map(MapOptions{.chunksize = std::size_t{PTRDIFF_MAX} + 1}, count, {1, 2}),
      std::invalid_argument);
  executor.shutdown();
  CHECK(calls == 0);
}

TEST_CASE("an empty map is done, empty and gives no results") {
  ThreadPoolExecutor executor(1);
  const std::vector<int> none;
  auto mapped = executor.map(square, none);
  CHECK(mapped.size() == 0);
  CHECK(mapped.completed() == 0);
  CHECK(mapped.done());
  CHECK_FALSE(mapped.cancel());
  mapped.wait();
  CHECK(mapped.wait_for(seconds(0)) == std::future_status::ready);
  CHECK(mapped.begin() == mapped.end());
  CHECK(mapped.result().empty());
}

TEST_CASE("a map of a void callable iterates over monostate, and its result() gives nothing") {
  ThreadPoolExecutor executor(2);
  std::atomic<int> sum{0};
  auto mapped = executor.map([&sum](int x) { sum.fetch_add(x); }, {1, 2, 3});
  STATIC_REQUIRE(std::is_same_v<std::ranges::range_reference_t<decltype(mapped)>, std::monostate&>);
  STATIC_REQUIRE(std::is_void_v<decltype(mapped.result())>);
  int elements = 0;
  for (std::monostate& nothing : mapped) {
    static_cast<void>(nothing);
    ++elements;
  }
  CHECK(elements == 3);
  CHECK(sum == 6);
  executor.map([&sum](int x) { sum.fetch_add(x); }, {10, 20}).result();
  CHECK(sum == 36);
}

TEST_CASE("results are decayed, and may be move-only or have no default constructor") {
  struct Strict {
    explicit Strict(int start) : value(start) {}
    int value;
  };
  ThreadPoolExecutor executor(2);
  std::vector<std::string> words{"one", "two"};
  auto references = executor.map([](std::string& word) -> std::string& { return word; }, words);
  STATIC_REQUIRE(std::is_same_v<decltype(references), MapFuture<std::string>>);
  CHECK(references.result() == words);

  auto owners = executor.map([](int x) { return std::make_unique<int>(x); }, {4, 5}).result();
  CHECK(*owners.at(0) + *owners.at(1) == 9);
  CHECK(executor.map([](int x) { return Strict(x); }, {6, 7}).result().at(1).value == 7);
}

TEST_CASE("boolean results are carried one by one") {
  ThreadPoolExecutor executor(2);
  auto mapped = executor.map([](int x) { return x % 2 == 0; }, {1, 2, 3, 4});
  STATIC_REQUIRE(std::is_same_v<decltype(mapped), MapFuture<bool>>);
  CHECK(mapped.result() == std::vector<bool>{false, true, false, true});
  int even = 0;
  for (const bool& is_even : executor.map([](int x) { return x % 2 == 0; }, {1, 2, 4})) {
    even += is_even;
  }
  CHECK(even == 2);
}

TEST_CASE("a failing element rethrows its own failure, again if asked, and ++ goes on behind it") {
  ThreadPoolExecutor executor(2);
  for (const std::size_t size : {1U, 2U, 10U}) {
    auto mapped = executor.map(MapOptions{.chunksize = size}, fails_at_odd, {0, 1, 2, 3, 4});
    std::vector<int> good;
    std::vector<std::string> bad;
    for (auto it = mapped.begin(); it != mapped.end(); ++it) {
      try {
        good.push_back(*it);
      } catch (const std::out_of_range& error) {
        bad.push_back(error.what());
        CHECK_THROWS_AS(*it, std::out_of_range);
      }
    }
    CHECK(good == std::vector<int>{0, 2, 4});
    CHECK(bad == std::vector<std::string>{"odd: 1", "odd: 3"});
  }
}

TEST_CASE("after a failure the rest of its chunk still runs") {
  ThreadPoolExecutor executor(1);
  std::atomic<int> calls{0};
  {
    const auto mapped = executor.map(
        MapOptions{.chunksize = 10},
        [&calls](int x) {
          calls.fetch_add(1);
          return fails_at_odd(x);
        },
        numbers_to(10));
  }
  CHECK(calls == 10);
}

TEST_CASE("result() rethrows the first failure in input order and then has taken nothing") {
  ThreadPoolExecutor executor(2);
  auto mapped = executor.map(MapOptions{.chunksize = 1}, fails_at_odd, {0, 2, 3, 5, 8});
  for (int i = 0; i < 2; ++i) {
    std::string message;
    try {
      mapped.result();
    } catch (const std::out_of_range& error) { message = error.what(); }
    CHECK(message == "odd: 3");
  }
  auto it = mapped.begin();
  CHECK(*it == 0);
  CHECK(*++it == 2);
  ++it;
  ++it;
  CHECK_THROWS_AS(*it, std::out_of_range);
  CHECK(*++it == 8);
}

TEST_CASE("result() is an InvalidStateError once results were passed or taken") {
  ThreadPoolExecutor executor(2);
  auto passed = executor.map(square, {1, 2, 3});
  auto it = passed.begin();
  CHECK(*it == 1);
  ++it;
  CHECK_THROWS_AS(passed.result(), concurrent::InvalidStateError);

  auto taken = executor.map(square, {1, 2, 3});
  CHECK(taken.result().size() == 3);
  CHECK_THROWS_AS(taken.result(), concurrent::InvalidStateError);

  auto only_looked_at = executor.map(square, {1, 2, 3});
  CHECK(*only_looked_at.begin() == 1);
  CHECK(only_looked_at.result() == std::vector<int>{1, 4, 9});
}

TEST_CASE("iteration gives each result as soon as it is there, while later ones still run") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(MapOptions{.chunksize = 1},
                             [&gate](int x) {
                               if (x == 1) gate.wait();
                               return x + 10;
                             },
                             {0, 1, 2});
  auto it = mapped.begin();
  CHECK(*it == 10);
  CHECK_FALSE(mapped.done());
  gate.open();
  CHECK(*++it == 11);
  CHECK(*++it == 12);
  CHECK(++it == mapped.end());
}

TEST_CASE("moving past an element destroys it") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  auto mapped = executor.map([&counts](int x) { return support::Counted(counts, x); }, {1, 2, 3});
  mapped.wait();
  CHECK(counts.alive == 3);
  auto it = mapped.begin();
  CHECK((*it).value() == 1);
  ++it;
  CHECK(counts.alive == 2);
  ++it;
  CHECK(counts.alive == 1);
  ++it;
  CHECK(counts.alive == 0);
}

TEST_CASE("an element that was passed before it was ready is destroyed once it is") {
  support::Counts counts;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(
      [&](int x) {
        gate.wait();
        return support::Counted(counts, x);
      },
      {1, 2, 3});
  auto it = mapped.begin();
  ++it;
  gate.open();
  CHECK((*it).value() == 2);
  mapped.wait();
  ++it;
  CHECK(counts.alive == 1);
}

TEST_CASE("results that nobody looked at are destroyed with the map, and none is copied") {
  support::Counts counts;
  ThreadPoolExecutor executor(2);
  executor.map([&counts](int x) { return support::Counted(counts, x); }, numbers_to(100));
  CHECK(counts.alive == 0);
  auto taken =
      executor.map([&counts](int x) { return support::Counted(counts, x); }, {7, 8}).result();
  CHECK(taken.at(0).value() + taken.at(1).value() == 15);
  CHECK(counts.alive == 2);
  CHECK(counts.copies == 0);
}

TEST_CASE("a map in a task of the only worker is worked off by that worker") {
  ThreadPoolExecutor executor(1);
  const auto by_result =
      executor.submit([&executor] { return executor.map(square, {1, 2, 3}).result(); });
  CHECK(by_result.result() == std::vector<int>{1, 4, 9});
  const auto by_iteration = executor.submit([&executor] {
    int sum = 0;
    for (const int squared : executor.map(MapOptions{.chunksize = 2}, square, {1, 2, 3})) {
      sum += squared;
    }
    return sum;
  });
  CHECK(by_iteration.result() == 14);
  const auto by_wait = executor.submit([&executor] {
    auto mapped = executor.map(square, {1, 2, 3});
    mapped.wait();
    return mapped.completed();
  });
  CHECK(by_wait.result() == 3);
  const auto by_wait_without_limit = executor.submit([&executor] {
    auto mapped = executor.map(square, {1, 2, 3});
    return mapped.wait_for(std::chrono::hours::max()) == std::future_status::ready;
  });
  CHECK(by_wait_without_limit.result());
  std::atomic<int> calls{0};
  const auto by_destructor = executor.submit([&] {
    executor.map([&calls](int) { calls.fetch_add(1); }, {1, 2, 3});
    return calls.load();
  });
  CHECK(by_destructor.result() == 3);
}

TEST_CASE("maps nest: an element may map over its own pool") {
  for (const int workers : {1, 2}) {
    ThreadPoolExecutor executor(workers);
    std::function<int(int)> leaves = [&](int depth) -> int {
      if (depth == 0) return 1;
      int sum = 0;
      for (const int part : executor.map(leaves, {depth - 1, depth - 1, depth - 1})) sum += part;
      return sum;
    };
    CHECK(executor.map(leaves, {4}).result() == std::vector<int>{81});
  }
}

TEST_CASE("a map of a member function and of a data member works") {
  struct Account {
    int balance = 0;
    int doubled() const { return 2 * balance; }
  };
  ThreadPoolExecutor executor(2);
  const std::vector<Account> accounts{{1}, {2}};
  CHECK(executor.map(&Account::doubled, accounts).result() == std::vector<int>{2, 4});
  CHECK(executor.map(&Account::balance, accounts).result() == std::vector<int>{1, 2});
}
