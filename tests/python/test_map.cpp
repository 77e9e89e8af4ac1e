// SPDX-License-Identifier: MIT
//
// What Python promises of Executor.map().

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <list>
#include <numeric>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"

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

// The numbers from 0 on, without end. They can be gone through once, and are counted.
class Counting {
 public:
  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    explicit Iterator(int& consumed) : consumed_(&consumed) {}
    Iterator(Iterator&&) = default;
    Iterator& operator=(Iterator&&) = default;

    int operator*() const { return *consumed_ - 1; }
    Iterator& operator++() {
      ++*consumed_;
      return *this;
    }
    void operator++(int) { ++*this; }

   private:
    int* consumed_;
  };

  // As of a stream: who stands at a number has consumed it.
  Iterator begin() {
    consumed_ = 1;
    return Iterator(consumed_);
  }
  std::unreachable_sentinel_t end() const { return {}; }

  int consumed() const { return consumed_; }

 private:
  int consumed_ = 0;
};

// Takes any number of arguments, none as well.
struct Sum {
  int operator()(auto... values) const { return (0 + ... + values); }
};

template <class... Ranges>
concept CanMapBuffered = requires(ThreadPoolExecutor& pool, Ranges... ranges) {
  pool.map(MapOptions{.buffersize = 2}, Sum(), ranges...);
};

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

TEST_CASE("map() over two ranges gives the same results for every chunksize", "[map]") {
  ThreadPoolExecutor pool(3);
  const std::vector<int> ten = first_integers(10);
  const std::list<int> eight = {9, 8, 7, 6, 5, 4, 3, 2};
  const std::vector<int> expected = {0, 8, 14, 18, 20, 20, 18, 14};
  for (std::size_t chunksize : {1U, 2U, 3U, 7U, 8U, 9U, 10U, 1000U}) {
    CAPTURE(chunksize);
    const MapOptions options{.chunksize = chunksize};
    REQUIRE(collect(pool.map(options, multiply, ten, eight)) == expected);
    REQUIRE(pool.map(options, multiply, eight, ten).result() == expected);
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
  // Had each asking a limit of its own, none of these could end before it. The second and later ones
  // are for machines that stand still in between.
  REQUIRE(support::eventually([&] {
    const auto asked = std::chrono::steady_clock::now();
    REQUIRE_THROWS_AS(*it, concurrent::TimeoutError);
    return std::chrono::steady_clock::now() - asked < 100ms;
  }));
}

TEST_CASE("map() on an executor that was shut down throws and runs nothing", "[map]") {
  std::atomic<int> calls = 0;
  ThreadPoolExecutor pool(1);
  pool.shutdown();
  REQUIRE_THROWS_AS(pool.map([&calls](int) { calls.fetch_add(1); }, std::views::iota(0, 3)),
                    concurrent::ShutdownError);
  REQUIRE(calls.load() == 0);
}

TEST_CASE("A buffersize of zero, or a negative one, is refused before anything is drawn", "[map]") {
  std::atomic<int> calls = 0;
  const auto count = [&calls](int) { calls.fetch_add(1); };
  Counting numbers;
  ThreadPoolExecutor pool(1);
  const MapOptions zero{.buffersize = 0};
  REQUIRE_THROWS_AS(pool.map(zero, count, numbers), std::invalid_argument);
  const MapOptions negative{.buffersize = static_cast<std::size_t>(-1)};
  REQUIRE_THROWS_AS(pool.map(negative, count, numbers), std::invalid_argument);
  REQUIRE_THROWS_AS(pool.map(negative, count, first_integers(3)), std::invalid_argument);
  pool.shutdown();
  REQUIRE(numbers.consumed() == 0);
  REQUIRE(calls.load() == 0);
}

TEST_CASE("map() gives the same results for every buffersize", "[map]") {
  ThreadPoolExecutor pool(3);
  const std::vector<int> numbers = first_integers(10);
  std::vector<int> expected(numbers.size());
  std::ranges::transform(numbers, expected.begin(), square);
  for (std::size_t buffersize : {1U, 2U, 10U, 20U}) {
    CAPTURE(buffersize);
    MapOptions options{.buffersize = buffersize};
    REQUIRE(collect(pool.map(options, square, numbers)) == expected);
    REQUIRE(pool.map(options, square, numbers).result() == expected);
    for (std::size_t chunksize : {1U, 3U, 10U, 1000U}) {
      CAPTURE(chunksize);
      options.chunksize = chunksize;
      REQUIRE(collect(pool.map(options, square, numbers)) == expected);
    }
  }
}

TEST_CASE("map() over two ranges gives the same results for every buffersize", "[map]") {
  ThreadPoolExecutor pool(3);
  const std::vector<int> ten = first_integers(10);
  const std::list<int> eight = {9, 8, 7, 6, 5, 4, 3, 2};
  const std::vector<int> expected = {0, 8, 14, 18, 20, 20, 18, 14};
  for (std::size_t buffersize : {1U, 2U, 8U, 10U, 20U}) {
    CAPTURE(buffersize);
    const MapOptions options{.buffersize = buffersize};
    REQUIRE(collect(pool.map(options, multiply, ten, eight)) == expected);
    REQUIRE(collect(pool.map(options, multiply, eight, ten)) == expected);
    REQUIRE(pool.map(options, multiply, ten, eight).result() == expected);
  }
}

TEST_CASE("map() with a buffersize goes through an endless range as far as it is iterated",
          "[map]") {
  ThreadPoolExecutor pool(3);
  for (std::size_t buffersize : {1U, 2U, 7U}) {
    CAPTURE(buffersize);
    std::atomic<int> calls = 0;
    {
      auto squares = pool.map(
          MapOptions{.buffersize = buffersize},
          [&calls](int value) {
            calls.fetch_add(1, std::memory_order_relaxed);
            return value * value;
          },
          std::views::iota(0));
      auto it = squares.begin();
      for (int i = 0; i < 5; ++i, ++it) { REQUIRE(*it == i * i); }
      REQUIRE(*it == 25);
      REQUIRE_FALSE(squares.done());
    }
    REQUIRE(calls.load() >= 6);
    REQUIRE(calls.load() <= 5 + static_cast<int>(buffersize));
  }
}

TEST_CASE("map() with a buffersize goes through two endless ranges in step", "[map]") {
  ThreadPoolExecutor pool(3);
  for (std::size_t buffersize : {1U, 2U, 7U}) {
    CAPTURE(buffersize);
    Counting numbers;
    auto products =
        pool.map(MapOptions{.buffersize = buffersize}, multiply, numbers, std::views::iota(10));
    auto it = products.begin();
    for (int i = 0; i < 5; ++i, ++it) { REQUIRE(*it == i * (10 + i)); }
    REQUIRE(*it == 5 * 15);
    REQUIRE(numbers.consumed() == 5 + static_cast<int>(buffersize));
  }
}

TEST_CASE("map() with a buffersize over an empty range has no elements", "[map]") {
  ThreadPoolExecutor pool(1);
  const std::vector<int> none;
  for (std::size_t buffersize : {1U, 2U, 100U}) {
    CAPTURE(buffersize);
    const MapOptions options{.buffersize = buffersize};
    auto results = pool.map(options, square, none);
    REQUIRE(results.begin() == results.end());
    REQUIRE(results.done());
    REQUIRE(results.size() == 0);
    REQUIRE(pool.map(options, square, none).result().empty());
    REQUIRE(pool.map(options, multiply, std::views::iota(0), none).result().empty());
  }
}

TEST_CASE("map() with a buffersize and no range does not compile", "[map]") {
  STATIC_REQUIRE(CanMapBuffered<std::vector<int>>);
  STATIC_REQUIRE_FALSE(CanMapBuffered<>);
}

TEST_CASE("map() draws exactly buffersize elements ahead, and one more with each step", "[map]") {
  // No element runs before the gate opens, and the range is drawn all the same.
  for (int buffersize : {1, 2, 5}) {
    CAPTURE(buffersize);
    Gate gate;
    Counting numbers;
    ThreadPoolExecutor pool(2);
    auto squares = pool.map(
        MapOptions{.buffersize = static_cast<std::size_t>(buffersize)},
        [&gate](int value) {
          gate.wait();
          return value * value;
        },
        numbers);
    const support::OpenAtExit opener(gate);  // before the map's destructor, which waits
    REQUIRE(numbers.consumed() == buffersize);
    gate.open();
    auto it = squares.begin();
    for (int i = 0; i < 10; ++i, ++it) {
      REQUIRE(*it == i * i);
      REQUIRE(numbers.consumed() == buffersize + i);
    }
  }
}

TEST_CASE(
    "map() with a buffersize is refused by an executor that was shut down, once it has to submit",
    "[map]") {
  Counting numbers;
  ThreadPoolExecutor pool(2);
  auto squares = pool.map(MapOptions{.buffersize = 3}, square, numbers);
  pool.shutdown();
  auto it = squares.begin();
  REQUIRE(*it == 0);
  REQUIRE_THROWS_AS(++it, concurrent::ShutdownError);
  REQUIRE(numbers.consumed() == 3);
}
