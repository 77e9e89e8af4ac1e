// SPDX-License-Identifier: MIT
//
// Two hundred thousand tasks at a time, and chains that long.

#include <concurrent/executor.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::BusyWorker;
using support::Counted;
using support::Counts;
using support::Gate;
using support::scaled;

namespace {

const int kQueued = scaled(200000);

}  // namespace

TEST_CASE("Two hundred thousand queued tasks are drained by shutdown()", "[bulk]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  Counts counts;
  std::vector<Future<int>> futures;
  ThreadPoolExecutor pool(workers);
  {
    BusyWorker busy(pool);
    for (int i = 0; i < kQueued; ++i) { futures.push_back(pool.submit(Counted(counts, i))); }
  }
  pool.shutdown();
  REQUIRE(counts.alive.load() == 0);
  int wrong = 0;
  for (int i = 0; i < kQueued; ++i) {
    if (futures[static_cast<std::size_t>(i)].result() != i) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("Two hundred thousand queued tasks without a handle are drained by the destructor",
          "[bulk]") {
  Counts counts;
  std::atomic<int> ran = 0;
  {
    ThreadPoolExecutor pool(1);
    BusyWorker busy(pool);
    for (int i = 0; i < kQueued; ++i) {
      auto task = [&ran, counted = Counted(counts)] {
        ran.fetch_add(1, std::memory_order_relaxed);
      };
      if (i % 2 == 0) {
        pool.post(std::move(task));
      } else {
        pool.submit(std::move(task));
      }
    }
    REQUIRE(ran.load() == 0);
  }
  REQUIRE(ran.load() == kQueued);
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("Two hundred thousand queued tasks are dropped by shutdown() with cancel_futures",
          "[bulk]") {
  Counts counts;
  std::vector<Future<int>> futures;
  ThreadPoolExecutor pool(1);
  BusyWorker busy(pool);
  for (int i = 0; i < kQueued; ++i) {
    if (i % 2 == 0) {
      futures.push_back(pool.submit(Counted(counts, i)));
    } else {
      pool.post(Counted(counts, i));
    }
  }
  pool.shutdown({.wait = false, .cancel_futures = true});
  REQUIRE(counts.alive.load() == 0);
  int wrong = 0;
  for (const Future<int>& future : futures) {
    if (!future.cancelled()) ++wrong;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("Two hundred thousand queued tasks are cancelled one by one, newest first", "[bulk]") {
  Counts counts;
  std::vector<Future<int>> futures;
  {
    ThreadPoolExecutor pool(1);
    BusyWorker busy(pool);
    for (int i = 0; i < kQueued; ++i) { futures.push_back(pool.submit(Counted(counts, i))); }
    int wrong = 0;
    for (auto it = futures.rbegin(); it != futures.rend(); ++it) {
      if (!it->cancel()) ++wrong;
    }
    REQUIRE(wrong == 0);
    REQUIRE(counts.alive.load() == 0);
    futures.clear();
  }
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("Cancelled tasks that still lie in the queue do not keep others from running", "[bulk]") {
  ThreadPoolExecutor pool(1);
  std::vector<Future<int>> kept;
  {
    BusyWorker busy(pool);
    for (int i = 0; i < kQueued; ++i) {
      auto future = pool.submit([i] { return i; });
      if (i % 1000 == 999) {
        kept.push_back(future);
      } else {
        REQUIRE(future.cancel());
      }
    }
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    REQUIRE(kept[i].result() == static_cast<int>(i) * 1000 + 999);
  }
}

TEST_CASE("A task may submit its successor a hundred thousand times", "[bulk]") {
  struct Chain {
    ThreadPoolExecutor& pool;
    int length;
    Gate end;
    int ran = 0;  // written by one task at a time, each of which submits the next
    void link() {
      if (++ran == length) {
        end.open();
        return;
      }
      pool.submit([this] { link(); });
    }
  };
  const int workers = GENERATE(1, 2);
  CAPTURE(workers);
  ThreadPoolExecutor pool(workers);
  Chain chain{.pool = pool, .length = scaled(100000), .end = {}};
  pool.submit([&chain] { chain.link(); });
  chain.end.wait();
  REQUIRE(chain.ran == chain.length);
}

TEST_CASE(
    "A chain of futures, each of which owns the one before, is destroyed without recursion "
    "in the library",
    "[bulk]") {
  // Each task has ended and given up its captures when its successor starts, so that nothing piles
  // up, however long the chain is.
  const int length = scaled(100000);
  ThreadPoolExecutor pool(1);
  auto last = pool.submit([] { return 0; });
  for (int i = 0; i < length; ++i) {
    last = pool.submit([before = std::move(last)] { return before.result() + 1; });
  }
  REQUIRE(last.result() == length);
}

TEST_CASE("Bursts of every size, and nothing in between", "[bulk]") {
  // Sizes around the capacities that queues are likely to have.
  ThreadPoolExecutor pool(2);
  std::atomic<int> ran = 0;
  int submitted = 0;
  for (int base = 1; base <= scaled(16384); base *= 2) {
    for (const int size : {base - 1, base, base + 1}) {
      std::vector<Future<void>> futures;
      for (int i = 0; i < size; ++i) {
        futures.push_back(pool.submit([&ran] { ran.fetch_add(1, std::memory_order_relaxed); }));
      }
      submitted += size;
      for (const Future<void>& future : futures) { future.result(); }
      REQUIRE(ran.load() == submitted);
    }
  }
}

TEST_CASE("Callables of every size up to some kilobytes are carried whole", "[bulk]") {
  ThreadPoolExecutor pool(2);
  auto check = [&pool]<std::size_t kBytes>(std::array<unsigned char, kBytes> bytes) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < scaled(2000); ++i) {
      bytes.fill(static_cast<unsigned char>(i));
      futures.push_back(pool.submit([bytes] {
        for (const unsigned char byte : bytes) {
          if (byte != bytes[0]) return -1;
        }
        return static_cast<int>(bytes[0]);
      }));
    }
    for (int i = 0; i < scaled(2000); ++i) {
      if (futures[static_cast<std::size_t>(i)].result() != i % 256) return false;
    }
    return true;
  };
  REQUIRE(check(std::array<unsigned char, 1>{}));
  REQUIRE(check(std::array<unsigned char, 40>{}));
  REQUIRE(check(std::array<unsigned char, 41>{}));
  REQUIRE(check(std::array<unsigned char, 64>{}));
  REQUIRE(check(std::array<unsigned char, 105>{}));
  REQUIRE(check(std::array<unsigned char, 232>{}));
  REQUIRE(check(std::array<unsigned char, 489>{}));
  REQUIRE(check(std::array<unsigned char, 5000>{}));
}
