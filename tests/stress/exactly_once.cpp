// SPDX-License-Identifier: MIT
//
// The queues, seen from outside: each task runs exactly once, whoever takes it, and none is left
// lying behind a task that blocks.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::Random;
using stress::Tally;
using support::Gate;
using support::scaled;

TEST_CASE("Tasks that a task submits run exactly once while other workers steal them", "[queues]") {
  const int workers = GENERATE(1, 2, 3, 8);
  CAPTURE(workers);
  const int count = scaled(60000);
  Tally tally(static_cast<std::size_t>(count));
  {
    ThreadPoolExecutor pool(workers);
    pool.submit([&] {
          for (int i = 0; i < count; ++i) {
            pool.post([&tally, i] { tally.hit(i); });
          }
        })
        .result();
  }
  REQUIRE(tally.not_once() == 0);
}

TEST_CASE("A worker that waits for its own tasks in any order finds each run exactly once",
          "[queues]") {
  enum class Order { newest_first, oldest_first, shuffled };
  const Order order = GENERATE(Order::newest_first, Order::oldest_first, Order::shuffled);
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(static_cast<int>(order), workers);
  const int rounds = scaled(600);
  Random random(11);
  ThreadPoolExecutor pool(workers);
  for (int round = 0; round < rounds; ++round) {
    const int count = 1 + random.below(200);
    const std::uint64_t shuffle_salt = random.next();
    Tally tally(static_cast<std::size_t>(count));
    auto outer = pool.submit([&] {
      std::vector<Future<int>> futures;
      for (int i = 0; i < count; ++i) {
        futures.push_back(pool.submit([&tally, i] {
          tally.hit(i);
          return 1;
        }));
      }
      if (order == Order::newest_first) std::reverse(futures.begin(), futures.end());
      if (order == Order::shuffled) {
        Random shuffle(shuffle_salt);
        for (int i = count - 1; i > 0; --i) {
          std::swap(futures[static_cast<std::size_t>(i)],
                    futures[static_cast<std::size_t>(shuffle.below(i + 1))]);
        }
      }
      int sum = 0;
      for (const Future<int>& future : futures) { sum += future.result(); }
      return sum;
    });
    REQUIRE(outer.result() == count);
    REQUIRE(tally.not_once() == 0);
  }
}

TEST_CASE("A worker's queue grows from nothing to a hundred thousand tasks and loses none",
          "[queues]") {
  const int count = scaled(100000);
  Tally tally(static_cast<std::size_t>(count));
  {
    ThreadPoolExecutor pool(1);
    pool.submit([&] {
          for (int i = 0; i < count; ++i) {
            pool.post([&tally, i] { tally.hit(i); });
          }
        })
        .result();
  }
  REQUIRE(tally.not_once() == 0);
}

TEST_CASE("Tasks that submit two tasks each, to a depth, run exactly once", "[queues]") {
  struct Tree {
    ThreadPoolExecutor& pool;
    Tally& tally;
    void grow(std::size_t node, std::size_t nodes) const {
      tally.hit(node);
      for (const std::size_t child : {2 * node + 1, 2 * node + 2}) {
        if (child < nodes) pool.post([this, child, nodes] { grow(child, nodes); });
      }
    }
  };
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const std::size_t nodes = scaled(60000U);
  Tally tally(nodes);
  {
    // Children submit while their executor lives: the test waits before it shuts down.
    ThreadPoolExecutor pool(workers);
    const Tree tree{pool, tally};
    pool.post([&] { tree.grow(0, nodes); });
    while (tally.not_once() != 0) { std::this_thread::yield(); }
    pool.shutdown();
  }
  REQUIRE(tally.not_once() == 0);
}

TEST_CASE("A task that blocks does not hold up what it has submitted itself", "[queues]") {
  // The child lies in the queue of a worker that will not come back to it: somebody must steal it.
  const int rounds = scaled(20000);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    auto outer = pool.submit([&pool, round] {
      Gate gate;
      pool.post([&gate] { gate.open(); });
      gate.wait();
      return round;
    });
    REQUIRE(outer.result() == round);
  }
}

TEST_CASE("A task that blocks does not hold up what was submitted behind it", "[queues]") {
  const int rounds = scaled(20000);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    Gate gate;
    auto waiting = pool.submit([&gate] { gate.wait(); });
    auto opening = pool.submit([&gate] { gate.open(); });
    waiting.result();
    opening.result();
  }
  SUCCEED("nobody was left behind");
}

TEST_CASE("All but one worker may block and the last one still gets to every task", "[queues]") {
  constexpr int kWorkers = 4;
  const int rounds = scaled(4000);
  Random random(12);
  ThreadPoolExecutor pool(kWorkers);
  for (int round = 0; round < rounds; ++round) {
    // Three wait, one opens the gate; in between lie tasks of no importance. They all come from
    // outside, or all from a task.
    Gate gate;
    const bool from_inside = random.below(2) == 0;
    const int opener = random.below(kWorkers);
    const int fillers = random.below(5);
    std::vector<Future<void>> futures;
    auto submit_all = [&] {
      for (int i = 0; i < kWorkers; ++i) {
        futures.push_back(i == opener ? pool.submit([&gate] { gate.open(); })
                                      : pool.submit([&gate] { gate.wait(); }));
        for (int j = 0; j < fillers; ++j) {
          futures.push_back(pool.submit([] {}));
        }
      }
    };
    if (from_inside) {
      pool.submit(submit_all).result();
    } else {
      submit_all();
    }
    for (const Future<void>& future : futures) { future.result(); }
  }
  SUCCEED("nobody was left behind");
}

TEST_CASE("Grandchildren of a blocked task run, too", "[queues]") {
  const int rounds = scaled(10000);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    auto outer = pool.submit([&pool, round] {
      Gate gate;
      pool.post([&pool, &gate] {
        pool.post([] {});
        pool.post([&gate] { gate.open(); });
        pool.post([] {});
      });
      gate.wait();
      return round;
    });
    REQUIRE(outer.result() == round);
  }
}

TEST_CASE("A task that is submitted inside a task never runs inside that submit()", "[queues]") {
  const int rounds = scaled(2000);
  ThreadPoolExecutor pool(1);
  for (int round = 0; round < rounds; ++round) {
    auto outer = pool.submit([&pool] {
      bool has_run = false;
      auto inner = pool.submit([&has_run] { has_run = true; });
      const bool ran_inline = has_run;
      inner.wait();
      return !ran_inline && has_run;
    });
    REQUIRE(outer.result());
  }
}
