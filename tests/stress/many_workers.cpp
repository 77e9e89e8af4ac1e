// SPDX-License-Identifier: MIT
//
// More workers than processors, and more pools than one.

#include <concurrent/executor.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using support::scaled;

namespace {

// How many tasks run at once, and the most that there ever were.
class HighWater {
 public:
  void enter() {
    const int now = current_.fetch_add(1) + 1;
    int seen = highest_.load();
    while (seen < now && !highest_.compare_exchange_weak(seen, now)) {}
  }
  void leave() { current_.fetch_sub(1); }
  int highest() const { return highest_.load(); }

 private:
  std::atomic<int> current_ = 0;
  std::atomic<int> highest_ = 0;
};

}  // namespace

TEST_CASE("Sixty-four workers share a hundred thousand tasks on few processors", "[workers]") {
  const int count = scaled(100000);
  std::atomic<int> ran = 0;
  HighWater water;
  support::Barrier all(64);  // outlives the workers, which may still be leaving it
  ThreadPoolExecutor pool(64);
  for (int i = 0; i < 64; ++i) {
    pool.post([&all] { all.arrive_and_wait(); });
  }
  std::vector<Future<void>> futures;
  for (int i = 0; i < count; ++i) {
    futures.push_back(pool.submit([&] {
      water.enter();
      ran.fetch_add(1, std::memory_order_relaxed);
      water.leave();
    }));
  }
  for (const Future<void>& future : futures) { future.result(); }
  REQUIRE(ran.load() == count);
  REQUIRE(pool.worker_count() == 64);
  REQUIRE(water.highest() <= 64);
}

TEST_CASE("Never more tasks run at once than there are workers", "[workers]") {
  const int workers = GENERATE(1, 3);
  CAPTURE(workers);
  HighWater water;
  {
    ThreadPoolExecutor pool(workers);
    stress::in_parallel(4, [&](int) {
      for (int i = 0; i < scaled(5000); ++i) {
        pool.post([&water] {
          water.enter();
          stress::spin(20);
          water.leave();
        });
      }
    });
  }
  REQUIRE(water.highest() <= workers);
  REQUIRE(water.highest() >= 1);
}

TEST_CASE("One worker is a lock: its tasks need no other to count together", "[workers]") {
  const int count = scaled(20000);
  long plain = 0;
  {
    ThreadPoolExecutor pool(1);
    stress::in_parallel(4, [&](int) {
      for (int i = 0; i < count; ++i) {
        pool.post([&plain] { ++plain; });
      }
    });
  }
  REQUIRE(plain == 4L * count);
}

TEST_CASE("Eight pools of eight workers share a hundred thousand tasks", "[workers]") {
  const int count = scaled(100000) / 8;
  std::atomic<int> ran = 0;
  {
    std::vector<std::unique_ptr<ThreadPoolExecutor>> pools;
    for (int i = 0; i < 8; ++i) { pools.push_back(std::make_unique<ThreadPoolExecutor>(8)); }
    for (int i = 0; i < count; ++i) {
      for (const auto& pool : pools) {
        pool->post([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
      }
    }
  }
  REQUIRE(ran.load() == 8 * count);
}

TEST_CASE("Two pools send one task to and fro", "[workers]") {
  struct Game {
    ThreadPoolExecutor& here;
    ThreadPoolExecutor& there;
    int left;
    Gate end;
    void hit(bool is_here) {
      if (--left == 0) {
        end.open();
        return;
      }
      (is_here ? there : here).post([this, is_here] { hit(!is_here); });
    }
  };
  const int workers = GENERATE(1, 2);
  CAPTURE(workers);
  ThreadPoolExecutor first(workers);
  ThreadPoolExecutor second(workers);
  Game game{.here = first, .there = second, .left = scaled(20000), .end = {}};
  first.post([&game] { game.hit(true); });
  game.end.wait();
  REQUIRE(game.left == 0);
}

TEST_CASE("Tasks of one pool wait for tasks of another, many at a time", "[workers]") {
  const int rounds = scaled(200);
  ThreadPoolExecutor back(2);
  ThreadPoolExecutor front(4);
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < 20; ++i) {
      futures.push_back(
          front.submit([&back, i] { return back.submit([i] { return i; }).result() + 1; }));
    }
    for (int i = 0; i < 20; ++i) {
      REQUIRE(futures[static_cast<std::size_t>(i)].result() == i + 1);
    }
  }
}

TEST_CASE("Only a pool's own workers run its tasks, whoever waits for them", "[workers]") {
  const int rounds = scaled(2000);
  ThreadPoolExecutor pool(1);
  ThreadPoolExecutor other(1);
  const auto own = pool.submit(std::this_thread::get_id).result();
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    if (pool.submit(std::this_thread::get_id).result() != own) ++wrong;
    auto from_other =
        other.submit([&pool] { return pool.submit(std::this_thread::get_id).result(); });
    if (from_other.result() != own) ++wrong;
    auto nested = pool.submit([&pool] { return pool.submit(std::this_thread::get_id).result(); });
    if (nested.result() != own) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("The same few threads run thousands of tasks, though many of them throw", "[workers]") {
  constexpr int kWorkers = 3;
  const int count = scaled(3000);
  std::mutex mutex;
  std::set<std::thread::id> ids;  // guarded by mutex
  ThreadPoolExecutor pool(kWorkers);
  std::vector<Future<int>> futures;
  for (int i = 0; i < count; ++i) {
    futures.push_back(pool.submit([&, i]() -> int {
      {
        const std::lock_guard lock(mutex);
        ids.insert(std::this_thread::get_id());
      }
      switch (i % 6) {
        case 0:
          throw std::runtime_error("a standard exception");
        case 1:
          throw i;
        case 2:
          throw std::string("a string");
        case 3:
          throw "a literal";
        case 4:
          throw nullptr;
        default:
          return i;
      }
    }));
  }
  int failures = 0;
  for (const Future<int>& future : futures) {
    if (future.exception() != nullptr) ++failures;
  }
  pool.shutdown();
  REQUIRE(failures == count - count / 6);
  REQUIRE(ids.size() <= kWorkers);
}
