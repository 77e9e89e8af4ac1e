// SPDX-License-Identifier: MIT
//
// Exceptions from many threads, seen by many threads.

#include <concurrent/executor.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using support::scaled;

namespace {

// Puts another handler in place for the length of a scope.
class HandlerScope {
 public:
  explicit HandlerScope(std::function<void(std::exception_ptr)> handler)
      : former_(concurrent::set_unhandled_exception_handler(std::move(handler))) {}
  HandlerScope(const HandlerScope&) = delete;
  HandlerScope& operator=(const HandlerScope&) = delete;
  ~HandlerScope() { concurrent::set_unhandled_exception_handler(std::move(former_)); }

 private:
  std::function<void(std::exception_ptr)> former_;
};

}  // namespace

TEST_CASE("Twenty tasks throw, and four threads see each failure", "[exceptions]") {
  constexpr int kTasks = 20;
  constexpr int kWaiters = 4;
  const int rounds = scaled(100);
  std::atomic<int> seen = 0;
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < kTasks; ++i) {
      futures.push_back(
          pool.submit([i]() -> int { throw std::runtime_error("task " + std::to_string(i)); }));
    }
    in_parallel(kWaiters, [&](int) {
      for (int i = 0; i < kTasks; ++i) {
        try {
          futures[static_cast<std::size_t>(i)].result();
        } catch (const std::runtime_error& error) {
          if (error.what() == "task " + std::to_string(i)) seen.fetch_add(1);
        }
      }
    });
  }
  REQUIRE(seen.load() == rounds * kTasks * kWaiters);
}

TEST_CASE("When one of twenty tasks throws, the other nineteen still run", "[exceptions]") {
  const int rounds = scaled(500);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran = 0;
    Future<void> failing;
    {
      ThreadPoolExecutor pool(2);
      for (int i = 0; i < 20; ++i) {
        if (i == round % 20) {
          failing = pool.submit([] { throw std::runtime_error("the one"); });
        } else {
          pool.post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
        }
      }
    }
    REQUIRE(ran.load() == 19);
    REQUIRE(failing.exception() != nullptr);
  }
}

TEST_CASE("The handler sees each exception of post() once", "[exceptions]") {
  const int count = scaled(2000);
  std::atomic<int> seen = 0;
  std::atomic<long> sum = 0;
  const HandlerScope scope([&](std::exception_ptr error) {
    seen.fetch_add(1);
    try {
      std::rethrow_exception(error);
    } catch (int thrown) { sum.fetch_add(thrown); }
  });
  {
    ThreadPoolExecutor pool(4);
    in_parallel(4, [&](int producer) {
      for (int i = producer; i < count; i += 4) {
        pool.post([i] { throw i; });
      }
    });
  }
  REQUIRE(seen.load() == count);
  REQUIRE(sum.load() == static_cast<long>(count) * (count - 1) / 2);
}

TEST_CASE("The handler may be changed while others call it", "[exceptions]") {
  const int count = scaled(2000);
  std::atomic<int> seen = 0;
  const HandlerScope outer([&seen](std::exception_ptr) { seen.fetch_add(1); });
  {
    ThreadPoolExecutor pool(2);
    in_parallel(3, [&](int role) {
      for (int i = 0; i < count; ++i) {
        if (role == 0) {
          pool.post([] { throw 1; });
        } else {
          concurrent::set_unhandled_exception_handler(
              [&seen, kept = std::make_shared<int>(i)](std::exception_ptr) {
                if (*kept >= 0) seen.fetch_add(1);
              });
        }
      }
    });
  }
  REQUIRE(seen.load() == count);
}

TEST_CASE("An exception travels up through many levels of waiting tasks", "[exceptions]") {
  struct Dive {
    ThreadPoolExecutor& pool;
    int go(int depth) const {
      if (depth == 0) throw std::out_of_range("the bottom");
      return pool.submit([this, depth] { return go(depth - 1); }).result();
    }
  };
  const int workers = GENERATE(1, 2);
  CAPTURE(workers);
  const int rounds = scaled(100);
  ThreadPoolExecutor pool(workers);
  const Dive dive{pool};
  for (int round = 0; round < rounds; ++round) {
    auto future = pool.submit([&dive] { return dive.go(50); });
    REQUIRE_THROWS_AS(future.result(), std::out_of_range);
  }
}
