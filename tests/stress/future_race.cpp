// SPDX-License-Identifier: MIT
//
// Handles that are dropped, copied, waited on and emptied while their task completes.

#include <concurrent/executor.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::InvalidStateError;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using support::Counted;
using support::Counts;
using support::Gate;
using support::scaled;

TEST_CASE("The last handle may be dropped at the moment of completion", "[future]") {
  const int rounds = scaled(100000);
  Counts counts;
  Random random(41);
  {
    ThreadPoolExecutor pool(1);
    for (int round = 0; round < rounds; ++round) {
      std::atomic<bool> about_to_end = false;
      std::optional<Future<Counted>> future(pool.submit([&] {
        Counted result(counts, 1);
        about_to_end.store(true, std::memory_order_release);
        return result;
      }));
      stress::spin_until(about_to_end);
      stress::spin(random.below(300));
      future.reset();
    }
  }
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("The last handle may be dropped at the moment a worker takes the task", "[future]") {
  const int rounds = scaled(100000);
  Counts counts;
  Random random(42);
  {
    ThreadPoolExecutor pool(2);
    for (int round = 0; round < rounds; ++round) {
      auto future = pool.submit(Counted(counts, 1));
      stress::spin(random.below(300));
    }
  }
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("The last handle of a failed task may be dropped at the moment of completion",
          "[future]") {
  const int rounds = scaled(10000);
  Random random(43);
  ThreadPoolExecutor pool(1);
  auto witness = std::make_shared<int>(0);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<bool> about_to_end = false;
    {
      auto future = pool.submit([&about_to_end, witness]() -> int {
        about_to_end.store(true, std::memory_order_release);
        throw std::runtime_error("nobody looks at this");
      });
      stress::spin_until(about_to_end);
      stress::spin(random.below(300));
    }
  }
  pool.shutdown();
  REQUIRE(witness.use_count() == 1);
}

TEST_CASE("A waiter may destroy the future as soon as it wakes", "[future]") {
  // Who completes a task must not touch it after the waiter could have seen it done.
  const int rounds = scaled(50000);
  Random random(44);
  ThreadPoolExecutor pool(1);
  long sum = 0;
  for (int round = 0; round < rounds; ++round) {
    auto future = pool.submit([steps = random.below(2000)] {
      stress::spin(steps);
      return 1;
    });
    sum += future.get();
  }
  REQUIRE(sum == rounds);
}

TEST_CASE("Of several threads that take one result exactly one gets it", "[future]") {
  constexpr int kTakers = 4;
  const int count = scaled(5000);
  Counts counts;
  std::vector<std::atomic<int>> taken(static_cast<std::size_t>(count));
  std::atomic<int> wrong = 0;
  {
    ThreadPoolExecutor pool(2);
    std::vector<std::vector<Future<Counted>>> handles(kTakers);
    for (int i = 0; i < count; ++i) {
      auto future = pool.submit([&counts, i] { return Counted(counts, i); });
      for (auto& mine : handles) { mine.push_back(future); }
    }
    in_parallel(kTakers, [&](int taker) {
      for (int i = 0; i < count; ++i) {
        const auto index = static_cast<std::size_t>(i);
        Future<Counted>& future = handles[static_cast<std::size_t>(taker)][index];
        try {
          const Counted value = taker % 2 == 0 ? future.get() : std::move(future).result();
          taken[index].fetch_add(1);
          if (value.value() != i) wrong.fetch_add(1);
        } catch (const InvalidStateError&) {
          // Another one was first.
        }
        if (future.valid()) wrong.fetch_add(1);
      }
    });
  }
  for (const auto& takers : taken) { REQUIRE(takers.load() == 1); }
  REQUIRE(wrong.load() == 0);
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("Of several threads that take one failure every one gets it", "[future]") {
  constexpr int kTakers = 4;
  const int count = scaled(2000);
  std::atomic<int> failures = 0;
  ThreadPoolExecutor pool(2);
  std::vector<std::vector<Future<int>>> handles(kTakers);
  for (int i = 0; i < count; ++i) {
    auto future = pool.submit([i]() -> int { throw i; });
    for (auto& mine : handles) { mine.push_back(future); }
  }
  in_parallel(kTakers, [&](int taker) {
    for (int i = 0; i < count; ++i) {
      try {
        handles[static_cast<std::size_t>(taker)][static_cast<std::size_t>(i)].get();
      } catch (int thrown) {
        if (thrown == i) failures.fetch_add(1);
      }
    }
  });
  REQUIRE(failures.load() == kTakers * count);
}

TEST_CASE("Every thread that waits for a future wakes, whichever way it waits", "[future]") {
  constexpr int kWaiters = 6;
  const int count = scaled(5000);
  std::atomic<int> published = 0;
  std::atomic<int> wrong = 0;
  std::vector<Future<int>> futures(static_cast<std::size_t>(count));
  ThreadPoolExecutor pool(1);
  in_parallel(kWaiters + 1, [&](int role) {
    for (int i = 0; i < count; ++i) {
      const auto index = static_cast<std::size_t>(i);
      if (role == kWaiters) {
        futures[index] = pool.submit([i] {
          stress::spin(500);
          return i;
        });
        published.store(i + 1, std::memory_order_release);
        continue;
      }
      while (published.load(std::memory_order_acquire) <= i) { std::this_thread::yield(); }
      const Future<int>& future = futures[index];
      const auto far = std::chrono::minutes(5);
      if (role == 0) future.wait();
      if (role == 1 && future.wait_for(far) != std::future_status::ready) wrong.fetch_add(1);
      if (role == 2 &&
          future.wait_until(std::chrono::system_clock::now() + far) != std::future_status::ready) {
        wrong.fetch_add(1);
      }
      if (role == 3 && future.exception() != nullptr) wrong.fetch_add(1);
      if (role == 4 && future.result(far) != i) wrong.fetch_add(1);
      if (role == 5) {
        while (!future.done()) { std::this_thread::yield(); }
      }
      if (future.result() != i) wrong.fetch_add(1);
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("What a task wrote is seen by whoever has seen it done", "[future]") {
  // Plain memory on purpose: ThreadSanitizer reports an edge that is missing.
  const int count = scaled(5000);
  ThreadPoolExecutor pool(2);
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    std::array<int, 8> plain = {};
    auto future = pool.submit([&plain, i] { plain.fill(i); });
    switch (i % 5) {
      case 0:
        while (!future.done()) { std::this_thread::yield(); }
        break;
      case 1:
        while (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
          std::this_thread::yield();
        }
        break;
      case 2:
        future.wait();
        break;
      case 3:
        future.result();
        break;
      default:
        if (future.exception() != nullptr) ++wrong;
    }
    for (const int value : plain) {
      if (value != i) ++wrong;
    }
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("What the submitter wrote is seen by the task", "[future]") {
  const int count = scaled(5000);
  ThreadPoolExecutor pool(2);
  int wrong = 0;
  for (int i = 0; i < count; ++i) {
    std::array<int, 8> plain = {};
    plain.fill(i);
    auto inner = pool.submit([&] {
      plain[0] += 1;
      return pool.submit([&plain] { return plain[0]; }).result();
    });
    if (inner.result() != i + 1) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("Handles of one future are copied and dropped by many threads", "[future]") {
  const int rounds = scaled(200);
  Counts counts;
  for (int round = 0; round < rounds; ++round) {
    ThreadPoolExecutor pool(1);
    Gate gate;
    auto future = pool.submit([&] {
      gate.wait();
      return Counted(counts, 9);
    });
    std::atomic<int> wrong = 0;
    in_parallel(4, [&](int role) {
      if (role == 0) gate.open();
      std::vector<Future<Counted>> copies;
      for (int i = 0; i < 100; ++i) {
        copies.push_back(future);
        if (copies.back() != future) wrong.fetch_add(1);
        if (i % 3 == 0) copies.erase(copies.begin());
      }
      if (copies.front().result().value() != 9) wrong.fetch_add(1);
    });
    REQUIRE(wrong.load() == 0);
    REQUIRE(counts.alive.load() == 1);
    future = Future<Counted>();
    // The worker may hold the last reference for a moment, until it has woken those who waited.
    REQUIRE(support::eventually([&] { return counts.alive.load() == 0; }));
  }
}

TEST_CASE("Futures are made in one thread, finished in a second and dropped in a third",
          "[future]") {
  // The memory of a task travels through three threads, while a fourth gives free memory back.
  const int rounds = scaled(60);
  std::atomic<bool> has_ended = false;
  long sum = 0;
  ThreadPoolExecutor pool(2);
  std::thread releaser([&] {
    while (!has_ended.load(std::memory_order_relaxed)) {
      concurrent::release_memory();
      std::this_thread::yield();
    }
  });
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<std::string>> futures;
    for (int i = 0; i < 1000; ++i) {
      futures.push_back(pool.submit([i] { return std::string(static_cast<std::size_t>(i), 'x'); }));
    }
    std::thread dropper([&sum, mine = std::move(futures)]() mutable {
      for (auto& future : mine) { sum += static_cast<long>(future.get().size()); }
    });
    dropper.join();
  }
  has_ended.store(true);
  releaser.join();
  REQUIRE(sum == rounds * 499500L);
}

TEST_CASE("A future is waited for by a thread and by a task of its pool at once", "[future]") {
  const int rounds = scaled(10000);
  ThreadPoolExecutor pool(2);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    auto awaited = pool.submit([round] { return round; });
    auto waiting = pool.submit([awaited] { return awaited.result() + 1; });
    if (awaited.result() != round) ++wrong;
    if (waiting.result() != round + 1) ++wrong;
  }
  REQUIRE(wrong == 0);
}
