// SPDX-License-Identifier: MIT
//
// Workers that go to sleep just as work arrives. A wake-up that is lost is a hang here.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::in_parallel;
using stress::Random;
using support::Gate;
using support::scaled;

namespace {

// Up to about a millisecond, mostly much less: before, while and after an idle worker parks.
void wait_a_random_time(Random& random) {
  switch (random.below(4)) {
    case 0:
      return;
    case 1:
      stress::spin(random.below(1000));
      return;
    case 2:
      stress::spin(random.below(100000));
      return;
    default:
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(200)));
  }
}

}  // namespace

TEST_CASE("One task, its result, idle, and again: no wake-up is lost", "[parking]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int rounds = scaled(8000);
  Random random(51);
  ThreadPoolExecutor pool(workers);
  for (int round = 0; round < rounds; ++round) {
    REQUIRE(pool.submit([round] { return round; }).result() == round);
    wait_a_random_time(random);
  }
}

TEST_CASE("Several threads submit one task each, and again: no wake-up is lost", "[parking]") {
  const int workers = GENERATE(1, 2, 3);
  CAPTURE(workers);
  const int rounds = scaled(3000);
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(workers);
  in_parallel(4, [&](int role) {
    Random random(static_cast<std::uint64_t>(52 + role));
    for (int round = 0; round < rounds; ++round) {
      if (pool.submit([round] { return round; }).result() != round) wrong.fetch_add(1);
      wait_a_random_time(random);
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("As many tasks as workers, all of which must run at once: enough workers wake",
          "[parking]") {
  // Each waits for all the others, so that each needs a worker of its own.
  const int workers = GENERATE(2, 4);
  CAPTURE(workers);
  const int rounds = scaled(3000);
  Random random(53);
  ThreadPoolExecutor pool(workers);
  for (int round = 0; round < rounds; ++round) {
    support::Barrier all(workers);
    std::vector<Future<void>> futures;
    for (int i = 0; i < workers; ++i) {
      futures.push_back(pool.submit([&all] { all.arrive_and_wait(); }));
    }
    for (const Future<void>& future : futures) { future.result(); }
    wait_a_random_time(random);
  }
  SUCCEED("all have met in every round");
}

TEST_CASE("Tasks that a task submits and that must run at once wake enough workers", "[parking]") {
  constexpr int kWorkers = 4;
  const int rounds = scaled(3000);
  Random random(54);
  ThreadPoolExecutor pool(kWorkers);
  for (int round = 0; round < rounds; ++round) {
    // The parent is one of the party and blocks at once.
    support::Barrier all(kWorkers);
    support::Counter ended;
    auto parent = pool.submit([&] {
      for (int i = 1; i < kWorkers; ++i) {
        pool.post([&] {
          all.arrive_and_wait();
          ended.add();
        });
      }
      all.arrive_and_wait();
    });
    parent.result();
    ended.reached(kWorkers - 1);
    wait_a_random_time(random);
  }
  SUCCEED("all have met in every round");
}

TEST_CASE("A waiter that goes to sleep just as its task completes wakes", "[parking]") {
  const int rounds = scaled(20000);
  Random random(55);
  ThreadPoolExecutor pool(1);
  for (int round = 0; round < rounds; ++round) {
    const int work = random.below(4000);
    auto future = pool.submit([work] { stress::spin(work); });
    stress::spin(random.below(4000));
    future.result();
  }
  SUCCEED("every waiter has come back");
}

TEST_CASE("A timed wait that ends just as its task completes answers one way or the other",
          "[parking]") {
  const int rounds = scaled(5000);
  Random random(56);
  ThreadPoolExecutor pool(1);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    const int work = random.below(50000);
    auto future = pool.submit([work, round] {
      stress::spin(work);
      return round;
    });
    try {
      if (future.result(std::chrono::microseconds(random.below(100))) != round) ++wrong;
    } catch (const concurrent::TimeoutError&) {
      // Late: it is asked again below.
    }
    if (future.result() != round) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("A thousand tasks wait while all workers are blocked, and all run afterwards",
          "[parking]") {
  const int rounds = scaled(40);
  for (int round = 0; round < rounds; ++round) {
    constexpr int kWorkers = 4;
    std::atomic<int> ran = 0;
    Gate gate;
    support::Counter blocked;
    {
      ThreadPoolExecutor pool(kWorkers);
      const support::OpenAtExit opener(gate);
      for (int i = 0; i < kWorkers; ++i) {
        pool.post([&] {
          blocked.add();
          gate.wait();
        });
      }
      blocked.reached(kWorkers);
      for (int i = 0; i < 1000; ++i) {
        pool.post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
      }
      REQUIRE(ran.load() == 0);
    }
    REQUIRE(ran.load() == 1000);
  }
}

TEST_CASE("Workers that are asleep, waking or about to sleep all notice shutdown()", "[parking]") {
  const int rounds = scaled(1000);
  Random random(57);
  for (int round = 0; round < rounds; ++round) {
    ThreadPoolExecutor pool(4);
    for (int i = random.below(6); i > 0; --i) {
      pool.post([] {});
      wait_a_random_time(random);
    }
  }
  SUCCEED("every destructor has returned");
}
