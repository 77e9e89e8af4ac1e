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
using concurrent::detail::IdleWorkers;
using concurrent::detail::Parker;
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

// The protocol of parking with nothing around it: tickets stand for the tasks in the queues.
class Tickets {
 public:
  /// Adds some and wakes one taker for each, as long as none searches.
  void add(int count) {
    for (int i = 0; i < count; ++i) {
      left_.fetch_add(1);
      wake_if_nobody_searches();
    }
  }

  void close() {
    is_closed_.store(true);
    while (idle_.wake_one()) {}
  }

  /// Takes tickets until there are no more.
  template <class Use> void take_all(Use use) {
    Parker parker;
    idle_.begin_search();
    while (true) {
      if (try_take()) {
        if (idle_.end_search() && left_.load() > 0) wake_if_nobody_searches();
        use();
        idle_.begin_search();
      } else if (is_closed_.load() && left_.load() == 0) {
        idle_.end_search();
        return;
      } else {
        idle_.begin_sleep(parker);
        const bool stays_awake = left_.load() > 0 || is_closed_.load();
        if (!stays_awake || !idle_.withdraw(parker)) parker.park();
      }
    }
  }

 private:
  bool try_take() {
    int left = left_.load();
    while (left > 0 && !left_.compare_exchange_weak(left, left - 1)) {}
    return left > 0;
  }
  void wake_if_nobody_searches() {
    if (idle_.counts().searching == 0) idle_.wake_one();
  }

  IdleWorkers idle_;
  std::atomic<int> left_ = 0;
  std::atomic<bool> is_closed_ = false;
};

}  // namespace

TEST_CASE("No ticket is left lying while those who could take it sleep, 1 to 31 of them",
          "[parking]") {
  const int takers = GENERATE(1, 2, 3, 8, 31);
  CAPTURE(takers);
  const int rounds = scaled(3000);
  Tickets tickets;
  support::Counter taken;
  in_parallel(takers + 1, [&](int role) {
    if (role != 0) {
      tickets.take_all([&taken] { taken.add(); });
      return;
    }
    Random random(58);
    int added = 0;
    for (int round = 0; round < rounds; ++round) {
      // One, some, or one for each; and then all of them are waited for, or none.
      const int kind = random.below(3);
      const int count = kind == 0 ? 1 : kind == 1 ? 1 + random.below(takers) : takers;
      tickets.add(count);
      added += count;
      if (random.below(2) == 0) taken.reached(added);
      if (random.below(8) == 0) wait_a_random_time(random);
    }
    taken.reached(added);
    tickets.close();
  });
  SUCCEED("all were taken, and all takers have ended");
}

TEST_CASE("Tickets whose takers meet each other: for each of 1 to 31 somebody wakes", "[parking]") {
  const int takers = GENERATE(1, 2, 3, 8, 31);
  CAPTURE(takers);
  const int rounds = scaled(takers > 8 ? 200 : 2000);
  Tickets tickets;
  std::atomic<int> arrived = 0;
  support::Counter met;
  in_parallel(takers + 1, [&](int role) {
    if (role != 0) {
      // Nobody goes on before as many as there are tickets have come, so each needs a taker.
      tickets.take_all([&] {
        const int goal = (arrived.fetch_add(1) / takers + 1) * takers;
        while (arrived.load() < goal) { std::this_thread::yield(); }
        met.add();
      });
      return;
    }
    Random random(59);
    for (int round = 1; round <= rounds; ++round) {
      tickets.add(takers);
      met.reached(round * takers);
      wait_a_random_time(random);
    }
    tickets.close();
  });
  REQUIRE(met.value() == rounds * takers);
}

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
  const int workers = GENERATE(1, 2, 4, 31);
  CAPTURE(workers);
  const int rounds = scaled(workers > 4 ? 300 : 3000);
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
