// SPDX-License-Identifier: MIT
//
// wait() and as_completed() against futures that end meanwhile.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/scale.hpp"

using concurrent::as_completed;
using concurrent::Future;
using concurrent::Promise;
using concurrent::ReturnWhen;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using support::scaled;
using namespace std::chrono_literals;

namespace {

std::vector<Future<int>> submit_many(ThreadPoolExecutor& pool, int count) {
  std::vector<Future<int>> futures;
  for (int i = 0; i < count; ++i) {
    futures.push_back(pool.submit([i] {
      stress::spin(i % 7 * 20);
      return i;
    }));
  }
  return futures;
}

}  // namespace

TEST_CASE("as_completed() yields each of many futures once while they end", "[wait]") {
  const int count = scaled(1 << 15);
  ThreadPoolExecutor pool(2);
  const auto futures = submit_many(pool, count);
  std::vector<int> seen;
  for (const auto& future : as_completed(futures)) { seen.push_back(future.result()); }
  std::ranges::sort(seen);
  std::vector<int> expected(static_cast<std::size_t>(count));
  std::iota(expected.begin(), expected.end(), 0);
  REQUIRE(seen == expected);
}

TEST_CASE("wait() for the first of ever fewer futures always finds one", "[wait]") {
  const int rounds = scaled(200);
  ThreadPoolExecutor pool(2);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    auto left = submit_many(pool, 30);
    int seen = 0;
    while (!left.empty()) {
      auto result = concurrent::wait(left, {.return_when = ReturnWhen::first_completed});
      if (result.done.empty()) ++wrong;
      if (result.done.size() + result.not_done.size() != left.size()) ++wrong;
      seen += static_cast<int>(result.done.size());
      left = std::move(result.not_done);
    }
    if (seen != 30) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("Who gives up waiting while futures end leaves nothing behind", "[wait]") {
  const int rounds = scaled(2000);
  ThreadPoolExecutor pool(2);
  Random random(61);
  for (int round = 0; round < rounds; ++round) {
    auto futures = submit_many(pool, 8);
    switch (random.below(3)) {
      case 0:
        for (const auto& future : as_completed(futures)) {
          if (future.result() >= 0) break;
        }
        break;
      case 1:
        concurrent::wait(futures, {.timeout = std::chrono::nanoseconds(random.below(20000)),
                                   .return_when = ReturnWhen::first_exception});
        break;
      default: {
        const auto nobody_looks = as_completed(futures);
        if (random.below(2) == 0) futures.clear();
        stress::spin(random.below(100));
      }
    }
  }
  REQUIRE(concurrent::wait(submit_many(pool, 10)).done.size() == 10);
}

TEST_CASE("Several threads wait in every way for the same promises, and all wake up", "[wait]") {
  const int rounds = scaled(1000);
  std::atomic<int> wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    constexpr std::size_t kPromises = 4;
    std::vector<Promise<int>> promises(kPromises);
    std::vector<Future<int>> futures;
    for (const auto& promise : promises) futures.push_back(promise.future());
    in_parallel(4, [&](int role) {
      if (role == 0) {
        for (auto& promise : promises) promise.set_result(1);
      } else if (role == 1) {
        if (concurrent::wait(futures).done.size() != kPromises) wrong.fetch_add(1);
      } else if (role == 2) {
        int sum = 0;
        for (const auto& future : as_completed(futures, {.timeout = 1min})) sum += future.result();
        if (sum != kPromises) wrong.fetch_add(1);
      } else {
        const auto first = concurrent::wait(
            futures, {.timeout = 1min, .return_when = ReturnWhen::first_completed});
        if (first.done.empty()) wrong.fetch_add(1);
      }
    });
  }
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("A wait for any ends though the last handles are dropped by those who keep promises",
          "[wait]") {
  const int rounds = scaled(2000);
  std::atomic<int> wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    auto first = std::make_unique<Promise<int>>();
    auto second = std::make_unique<Promise<int>>();
    std::vector futures{first->future(), second->future()};
    in_parallel(3, [&](int role) {
      if (role == 0) {
        first->set_result(1);
        first.reset();
      } else if (role == 1) {
        second.reset();
      } else {
        int seen = 0;
        for (auto& future : as_completed(std::move(futures))) {
          future = {};
          ++seen;
        }
        if (seen != 2) wrong.fetch_add(1);
      }
    });
  }
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("wait() and as_completed() cost the same per future for few and for many", "[wait]") {
  // Quadratic cost would take minutes here: the time limit of the test sees it.
  const int count = scaled(200'000);
  std::vector<Promise<void>> promises(static_cast<std::size_t>(count));
  std::vector<Future<void>> futures;
  for (const auto& promise : promises) futures.push_back(promise.future());
  std::thread keeper([&promises] {
    for (auto& promise : promises) promise.set_result();
  });
  int seen = 0;
  for (const auto& future : as_completed(futures)) seen += future.done() ? 1 : 0;
  keeper.join();
  const auto result = concurrent::wait(futures);
  REQUIRE(seen == count);
  REQUIRE(result.done.size() == futures.size());
}
