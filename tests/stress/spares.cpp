// SPDX-License-Identifier: MIT
//
// Spare workers in numbers: at their limit, coming and going, under long chains of waits.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::DeadlockError;
using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using support::Gate;
using support::scaled;
using namespace std::chrono_literals;

namespace {

// Whether a failure has another one nested in it.
bool has_cause(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& outer) {
    try {
      std::rethrow_if_nested(outer);
    } catch (...) { return true; }
  }
  return false;
}

int fib_by_timed_waits(ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  const auto left = pool.submit([&pool, n] { return fib_by_timed_waits(pool, n - 1); });
  return fib_by_timed_waits(pool, n - 2) + left.result(1h);
}

}  // namespace

TEST_CASE("The untimed wait that would need a spare beyond 256 throws DeadlockError", "[spares]") {
  if (support::kSanitized) return;  // starting hundreds of threads takes them too long
  Promise<int> promise;
  support::Counter begun;
  ThreadPoolExecutor pool(1);
  // Of one worker and 256 spares all but the last can be waiting.
  std::vector<Future<int>> waiters;
  for (int i = 0; i < 257; ++i) {
    waiters.push_back(pool.submit([&begun, future = promise.future()] {
      begun.add();
      return future.result();
    }));
  }
  begun.reached(257);
  const auto refused = waiters.back().exception();
  promise.set_result(5);
  REQUIRE(refused != nullptr);
  REQUIRE_THROWS_AS(std::rethrow_exception(refused), DeadlockError);
  REQUIRE(has_cause(refused));
  int sum = 0;
  for (std::size_t i = 0; i < 256; ++i) { sum += waiters[i].result(); }
  REQUIRE(sum == 256 * 5);
  REQUIRE(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("A timed wait that can have no spare sleeps instead", "[spares]") {
  if (support::kSanitized) return;
  Promise<int> promise;
  support::Counter begun;
  ThreadPoolExecutor pool(1);
  std::vector<Future<int>> waiters;
  for (int i = 0; i < 257; ++i) {
    waiters.push_back(pool.submit([&begun, future = promise.future()] {
      begun.add();
      return future.result(1h);
    }));
  }
  begun.reached(257);
  promise.set_result(5);
  int sum = 0;
  for (const auto& waiter : waiters) { sum += waiter.result(); }
  REQUIRE(sum == 257 * 5);
}

TEST_CASE("A chain of 100000 nested waits ends, or fails with a clear error", "[spares]") {
  const int depth = support::kSanitized ? 1000 : 100'000;
  for (const int workers : {1, 2}) {
    ThreadPoolExecutor pool(workers);
    std::function<int(int)> chain = [&](int left) -> int {
      return left == 0 ? 0 : pool.submit(chain, left - 1).result() + 1;
    };
    const auto outermost = pool.submit(chain, depth);
    int answer = 0;
    std::string complaint;
    try {
      answer = outermost.result();
    } catch (const DeadlockError& error) { complaint = error.what(); }
    CAPTURE(complaint);
    REQUIRE((answer == depth || !complaint.empty()));
  }
}

TEST_CASE("A long chain of waits to and fro between executors of one worker ends", "[spares]") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  std::function<int(int)> bounce = [&](int left) -> int {
    if (left == 0) return 0;
    return (left % 2 == 0 ? first : second).submit(bounce, left - 1).result() + 1;
  };
  const int depth = support::kSanitized ? 20 : 200;
  REQUIRE(bounce(depth) == depth);
}

TEST_CASE("One worker and its spares compute fib by waits with a time limit", "[spares]") {
  ThreadPoolExecutor pool(1);
  REQUIRE(pool.submit([&pool] { return fib_by_timed_waits(pool, 10); }).result() == 55);
  REQUIRE(pool.worker_count() == 1);
}

TEST_CASE("Workers that wait for each other's promises all go on", "[spares]") {
  const int rounds = scaled(500);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    constexpr int kLinks = 8;
    // Each link waits for the promise that the one behind it keeps.
    const auto promises = std::make_shared<std::vector<Promise<int>>>(kLinks + 1);
    std::vector<Future<void>> links;
    for (std::size_t i = 0; i < kLinks; ++i) {
      links.push_back(pool.submit(
          [promises, i] { (*promises)[i].set_result((*promises)[i + 1].future().result() + 1); }));
    }
    pool.post([promises] { promises->back().set_result(0); });
    REQUIRE(promises->front().future().result() == kLinks);
    concurrent::wait(links);
  }
}

TEST_CASE("Spares come and go while threads from outside submit", "[spares]") {
  constexpr int kBurst = 20;  // far fewer waits at once than there may be spares
  const int rounds = scaled(200);
  std::atomic<int> sum = 0;
  {
    ThreadPoolExecutor pool(2);
    in_parallel(2, [&](int) {
      for (int round = 0; round < rounds; ++round) {
        std::vector<Future<void>> burst;
        for (int i = 0; i < kBurst; ++i) {
          burst.push_back(pool.submit([&] {
            const auto child = pool.submit([] { return 1; });
            sum.fetch_add(child.result(1h));
          }));
        }
        concurrent::wait(burst);
      }
    });
  }
  REQUIRE(sum.load() == 2 * rounds * kBurst);
}

TEST_CASE("Executors that end while their spares come and go lose nothing", "[spares]") {
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> sum = 0;
    {
      ThreadPoolExecutor pool(1 + round % 2);
      for (int i = 0; i < 20; ++i) {
        pool.post([&] {
          Promise<int> promise;
          const auto future = promise.future();
          try {
            pool.post([kept = std::move(promise)]() mutable { kept.set_result(1); });
            sum.fetch_add(future.result());
          } catch (const concurrent::ShutdownError&) { sum.fetch_add(1); }
        });
      }
    }
    REQUIRE(sum.load() == 20);
  }
}
