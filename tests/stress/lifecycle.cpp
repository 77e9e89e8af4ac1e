// SPDX-License-Identifier: MIT
//
// Pools that are made and destroyed, many times and with any work.

#include <concurrent/executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::Random;
using support::Counted;
using support::Counts;
using support::scaled;

namespace {

// One pool with work of every kind and one of the ways to end it. True if all that was submitted
// has run or was cancelled.
bool use_a_pool(Random& random, Counts& counts) {
  int submitted = 0;
  std::atomic<int> ran = 0;
  std::vector<Future<int>> futures;
  auto run_one = [&ran] { return ran.fetch_add(1, std::memory_order_relaxed); };
  {
    ThreadPoolExecutor pool(1 + random.below(4));
    for (int i = random.below(40); i > 0; --i) {
      switch (random.below(5)) {
        case 0:
          pool.post(run_one);
          submitted += 1;
          break;
        case 1:
          pool.submit([&] { pool.submit(run_one).result(); }).result();
          submitted += 1;
          break;
        case 2:
          pool.map([&run_one](int) { run_one(); }, std::views::iota(0, 5));
          submitted += 5;
          break;
        case 3:
          stress::spin(random.below(3000));
          break;
        default:
          futures.push_back(pool.submit(Counted(counts, 1)));
      }
    }
    for (const Future<int>& future : futures) {
      if (random.below(4) == 0) future.cancel();
    }
    if (random.below(3) == 0) pool.shutdown({.wait = random.below(2) == 0});
  }
  for (const Future<int>& future : futures) {
    if (!future.done()) return false;
    if (!future.cancelled() && future.result() != 1) return false;
  }
  return ran.load(std::memory_order_relaxed) == submitted;
}

#if defined(__linux__)
long resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmRSS:") {
      long kilobytes = 0;
      status >> kilobytes;
      return kilobytes;
    }
  }
  return 0;
}
#endif

}  // namespace

TEST_CASE("A thousand pools are made, used at random and destroyed", "[lifecycle]") {
  const int rounds = scaled(1000);
  const int baseline = support::count_threads();
  Random random(61);
  Counts counts;
  for (int round = 0; round < rounds; ++round) {
    REQUIRE(use_a_pool(random, counts));
    REQUIRE(counts.alive.load() == 0);
  }
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("Pools are made and destroyed by several threads at once", "[lifecycle]") {
  const int rounds = scaled(200);
  std::atomic<int> wrong = 0;
  Counts counts;
  stress::in_parallel(4, [&](int role) {
    Random random(static_cast<std::uint64_t>(62 + role));
    for (int round = 0; round < rounds; ++round) {
      if (!use_a_pool(random, counts)) wrong.fetch_add(1);
    }
  });
  REQUIRE(wrong.load() == 0);
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("A pool whose workers all sleep ends", "[lifecycle]") {
  const int workers = GENERATE(1, 22, 64);
  CAPTURE(workers);
  const int baseline = support::count_threads();
  {
    ThreadPoolExecutor pool(workers);
    support::Barrier all(workers);
    std::vector<Future<long>> futures;
    for (int i = 0; i < workers; ++i) {
      futures.push_back(pool.submit([&all] {
        all.arrive_and_wait();
        return support::this_thread_number();
      }));
    }
    for (const Future<long>& future : futures) { REQUIRE(support::falls_asleep(future.result())); }
    REQUIRE(pool.worker_count() == workers);
  }
  REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
}

TEST_CASE("A pool ends while its tasks are in the middle of a recursion", "[lifecycle]") {
  // Each task submits two and waits for neither; what comes after the shutdown is refused.
  struct Recursion {
    ThreadPoolExecutor& pool;
    std::atomic<int>& ran;
    std::atomic<int>& accepted;
    void go(int depth) const {
      ran.fetch_add(1, std::memory_order_relaxed);
      if (depth == 0) return;
      try {
        for (int i = 0; i < 2; ++i) {
          pool.post([this, depth] { go(depth - 1); });
          accepted.fetch_add(1, std::memory_order_relaxed);
        }
      } catch (const concurrent::ShutdownError&) {
        // The pool is being destroyed.
      }
    }
  };
  const int rounds = scaled(100);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> ran = 0;
    std::atomic<int> accepted = 1;
    std::unique_ptr<Recursion> recursion;
    {
      ThreadPoolExecutor pool(round % 2 == 0 ? 22 : 2);
      recursion = std::make_unique<Recursion>(Recursion{pool, ran, accepted});
      pool.post([&recursion] { recursion->go(12); });
      stress::spin(round * 1000);
    }
    REQUIRE(ran.load() == accepted.load());
  }
}

TEST_CASE("Twenty-two workers end behind a recursion in which each task waits for two",
          "[lifecycle]") {
  struct Joins {
    ThreadPoolExecutor& pool;
    int go(int depth) const {
      if (depth == 0) return 1;
      const auto other = pool.submit([this, depth] { return go(depth - 1); });
      return go(depth - 1) + other.result();
    }
  };
  constexpr int kWorkers = 22;
  const int depth = support::kSanitized ? 6 : 11;
  const int baseline = support::count_threads();
  for (int round = 0; round < scaled(60); ++round) {
    support::Barrier all(kWorkers);
    {
      ThreadPoolExecutor pool(kWorkers);
      for (int i = 0; i < kWorkers; ++i) {
        pool.post([&all] { all.arrive_and_wait(); });
      }
      const Joins joins{pool};
      REQUIRE(pool.submit([&joins] { return joins.go(depth); }).result() == 1 << depth);
      REQUIRE(pool.worker_count() == kWorkers);
    }
    REQUIRE(support::eventually([&] { return support::count_threads() <= baseline; }));
  }
}

TEST_CASE("Ten pools of one worker, each called from the one before", "[lifecycle]") {
  struct Nest {
    std::vector<std::unique_ptr<ThreadPoolExecutor>> pools;
    int go(std::size_t level) {
      if (level == pools.size()) return 0;
      return 1 + pools[level]->submit([this, level] { return go(level + 1); }).result();
    }
  };
  const int rounds = scaled(100);
  for (int round = 0; round < rounds; ++round) {
    Nest nest;
    for (int i = 0; i < 10; ++i) { nest.pools.push_back(std::make_unique<ThreadPoolExecutor>(1)); }
    REQUIRE(nest.go(0) == 10);
  }
}

#if defined(__linux__)

TEST_CASE("Memory does not grow with the number of pools that came and went", "[lifecycle]") {
  // Sanitizers keep freed memory for a while, so that there is nothing to see.
  if (support::kSanitized) return;
  auto use_pools = [](int count) {
    for (int i = 0; i < count; ++i) {
      ThreadPoolExecutor pool(2);
      std::vector<Future<int>> futures;
      for (int j = 0; j < 500; ++j) {
        futures.push_back(pool.submit([j] { return j; }));
      }
      for (const Future<int>& future : futures) { future.result(); }
    }
  };
  use_pools(200);
  const long before = resident_kilobytes();
  for (int round = 0; round < 10; ++round) { use_pools(100); }
  const long growth = resident_kilobytes() - before;
  CAPTURE(before, growth);
  REQUIRE(before > 0);
  REQUIRE(growth < 4096);
}

TEST_CASE("Memory does not grow with the number of tasks that came and went", "[lifecycle]") {
  if (support::kSanitized) return;
  ThreadPoolExecutor pool(2);
  auto use_tasks = [&pool] {
    std::vector<Future<int>> futures;
    for (int i = 0; i < 50000; ++i) {
      futures.push_back(pool.submit([i] { return i; }));
    }
    // Half of them are dropped in a thread that did not make them.
    std::thread([half = std::vector<Future<int>>(futures.begin() + 25000, futures.end())] {
      for (const Future<int>& future : half) { future.result(); }
    }).join();
    for (const Future<int>& future : futures) { future.result(); }
  };
  for (int round = 0; round < 5; ++round) { use_tasks(); }
  const long before = resident_kilobytes();
  for (int round = 0; round < 30; ++round) { use_tasks(); }
  const long growth = resident_kilobytes() - before;
  CAPTURE(before, growth);
  REQUIRE(before > 0);
  REQUIRE(growth < 8192);
}

#endif
