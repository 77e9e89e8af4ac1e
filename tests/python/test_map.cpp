// SPDX-License-Identifier: MIT
//
// What Python promises of Executor.map().

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"

using concurrent::MapOptions;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

namespace {

int square(int value) { return value * value; }
int multiply(int left, int right) { return left * right; }

std::vector<int> first_integers(int count) {
  std::vector<int> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

template <class Map> std::vector<int> collect(Map&& results) {
  std::vector<int> collected;
  for (auto& result : results) { collected.push_back(result); }
  return collected;
}

}  // namespace

TEST_CASE("map() gives what the sequential map gives, in the order of the input", "[map]") {
  ThreadPoolExecutor pool(3);
  const std::vector<int> numbers = first_integers(10);
  std::vector<int> expected(numbers.size());
  std::ranges::transform(numbers, expected.begin(), square);
  REQUIRE(collect(pool.map(square, numbers)) == expected);
  REQUIRE(pool.map(square, numbers).result() == expected);
}

TEST_CASE("map() gives the same results for every chunksize", "[map]") {
  ThreadPoolExecutor pool(3);
  const std::vector<int> numbers = first_integers(10);
  std::vector<int> expected(numbers.size());
  std::ranges::transform(numbers, expected.begin(), square);
  for (std::size_t chunksize : {1U, 2U, 3U, 9U, 10U, 11U, 1000U}) {
    CAPTURE(chunksize);
    REQUIRE(collect(pool.map(MapOptions{.chunksize = chunksize}, square, numbers)) == expected);
  }
}

TEST_CASE("map() over two ranges pairs them and stops at the end of the shorter", "[map]") {
  ThreadPoolExecutor pool(3);
  const std::vector<int> ten = first_integers(10);
  const std::vector<int> four = {5, 6, 7, 8};
  const std::vector<int> expected = {0, 6, 14, 24};
  REQUIRE(collect(pool.map(multiply, ten, four)) == expected);
  REQUIRE(collect(pool.map(multiply, four, ten)) == expected);
  REQUIRE(pool.map(multiply, four, std::views::iota(0)).result() == expected);
}

TEST_CASE("map() over an empty range has no elements", "[map]") {
  ThreadPoolExecutor pool(1);
  const std::vector<int> none;
  auto results = pool.map(square, none);
  REQUIRE(results.begin() == results.end());
  REQUIRE(pool.map(multiply, none, first_integers(3)).result().empty());
}

TEST_CASE("map() reads its ranges and submits at the call, without being iterated", "[map]") {
  std::atomic<int> calls = 0;
  ThreadPoolExecutor pool(2);
  auto results = pool.map([&calls](int) { calls.fetch_add(1, std::memory_order_relaxed); },
                          std::views::iota(0, 10));
  pool.shutdown();
  REQUIRE(calls.load() == 10);
}

TEST_CASE("map() as a statement runs every element", "[map]") {
  std::atomic<int> sum = 0;
  ThreadPoolExecutor pool(3);
  pool.map([&sum](int value) { sum.fetch_add(value, std::memory_order_relaxed); },
           std::views::iota(0, 5));
  REQUIRE(sum.load() == 10);
}

TEST_CASE("map() runs several elements at the same time", "[map]") {
  Gate gates[2];
  ThreadPoolExecutor pool(2);
  auto results = pool.map(
      MapOptions{.chunksize = 1},
      [&gates](int own) {
        gates[own].open();
        gates[1 - own].wait();
        return own;
      },
      std::views::iota(0, 2));
  REQUIRE(results.result() == std::vector<int>{0, 1});
}

TEST_CASE("The exception of an element is thrown where its value is asked for", "[map]") {
  ThreadPoolExecutor pool(2);
  auto divide = [](int value) {
    if (value == 2) { throw std::domain_error("division by zero"); }
    return 12 / (2 - value);
  };
  auto results = pool.map(divide, std::views::iota(0, 4));
  auto it = results.begin();
  REQUIRE(*it == 6);
  ++it;
  REQUIRE(*it == 12);
  ++it;
  REQUIRE_THROWS_AS(*it, std::domain_error);
  REQUIRE_THROWS_AS(pool.map(divide, std::views::iota(0, 4)).result(), std::domain_error);
}

TEST_CASE("map() with a timeout throws TimeoutError at the element that is late", "[map]") {
  Gate gate;
  ThreadPoolExecutor pool(2);
  auto slow_at_two = [&gate](int value) {
    if (value == 2) { gate.wait(); }
    return value;
  };
  std::vector<int> so_far;
  {
    auto results =
        pool.map(MapOptions{.timeout = 50ms, .chunksize = 1}, slow_at_two, std::views::iota(0, 3));
    const support::OpenAtExit opener(gate);  // before the map's destructor, which waits
    auto it = results.begin();
    // The first two may be late on a busy machine. They are asked again until they are there,
    // for a limit that has passed still hands out what is ready.
    while (so_far.size() < 2) {
      try {
        so_far.push_back(*it);
        ++it;
      } catch (const concurrent::TimeoutError&) { std::this_thread::yield(); }
    }
    REQUIRE_THROWS_AS(*it, concurrent::TimeoutError);
    REQUIRE_THROWS_AS(*it, concurrent::TimeoutError);
    gate.open();
    results.wait();
    REQUIRE(*it == 2);
  }
  REQUIRE(so_far == std::vector<int>{0, 1});
}

TEST_CASE("The timeout of map() counts from the call, not from the asking", "[map]") {
  Gate gate;
  ThreadPoolExecutor pool(1);
  const auto start = std::chrono::steady_clock::now();
  auto results = pool.map(
      MapOptions{.timeout = 100ms},
      [&gate](int value) {
        gate.wait();
        return value;
      },
      std::views::iota(0, 3));
  const support::OpenAtExit opener(gate);  // before the map's destructor, which waits
  auto it = results.begin();
  REQUIRE_THROWS_AS(*it, concurrent::TimeoutError);
  REQUIRE(std::chrono::steady_clock::now() - start >= 100ms);
  // Had each asking a limit of its own, these sixty would need six seconds.
  const auto asked_again = std::chrono::steady_clock::now();
  for (int i = 0; i < 60; ++i) { REQUIRE_THROWS_AS(*it, concurrent::TimeoutError); }
  REQUIRE(std::chrono::steady_clock::now() - asked_again < 5s);
}

TEST_CASE("map() on an executor that was shut down throws and runs nothing", "[map]") {
  std::atomic<int> calls = 0;
  ThreadPoolExecutor pool(1);
  pool.shutdown();
  REQUIRE_THROWS_AS(pool.map([&calls](int) { calls.fetch_add(1); }, std::views::iota(0, 3)),
                    concurrent::ShutdownError);
  REQUIRE(calls.load() == 0);
}
