// SPDX-License-Identifier: MIT
// A map is a scope: what its destructor waits for and what it cancels.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <future>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::MapFuture;
using concurrent::MapOptions;
using concurrent::ThreadPoolExecutor;

/// A map on one worker of which the first elements run freely and the fourth waits at a gate.
struct GatedMap {
  static constexpr int kGated = 3;
  static constexpr int kElements = 10;

  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor{1};
  std::vector<int> numbers = std::vector<int>(kElements);
  std::atomic<int> calls{0};
  std::optional<support::OpenOnceAsleep> opener;

  GatedMap() { std::iota(numbers.begin(), numbers.end(), 0); }
  ~GatedMap() { gate.open(); }

  /// Call it behind all else that this thread may sleep in.
  void open_once_asleep() { opener.emplace(gate); }

  MapFuture<int> start() {
    return executor.map(
        MapOptions{.chunksize = 1},
        [this](int x) {
          calls.fetch_add(1);
          if (x == kGated) {
            begun.open();
            gate.wait();
          }
          return x;
        },
        numbers);
  }
};

}  // namespace

TEST_CASE("a map that is only a statement runs all elements before the statement ends") {
  std::atomic<int> calls{0};
  ThreadPoolExecutor executor(3);
  const std::vector<int> numbers(1000);
  executor.map([&calls](int) { calls.fetch_add(1); }, numbers);
  CHECK(calls == 1000);
}

TEST_CASE("the destructor of an untouched map waits until all has run") {
  GatedMap gated;
  {
    const support::OpenOnceAsleep opener(gated.gate);
    const auto untouched = gated.start();
  }
  CHECK(gated.calls == GatedMap::kElements);
}

TEST_CASE("looking at size(), completed() and done(), or an untimed wait, is no touch") {
  GatedMap gated;
  {
    auto mapped = gated.start();
    CHECK(mapped.size() == 10);
    CHECK(mapped.completed() <= 10);
    CHECK_FALSE(mapped.done());
    gated.gate.open();
  }
  CHECK(gated.calls == GatedMap::kElements);
}

TEST_CASE("the destructor of a map that was iterated cancels what has not begun") {
  GatedMap gated;
  {
    auto mapped = gated.start();
    for (const int& element : mapped) {
      if (element == 1) break;
    }
    gated.begun.wait();
    gated.open_once_asleep();
  }
  CHECK(gated.calls == GatedMap::kGated + 1);
}

TEST_CASE("the destructor of a map that was waited on with a limit cancels what has not begun") {
  GatedMap gated;
  {
    const auto mapped = gated.start();
    gated.begun.wait();
    CHECK(mapped.wait_for(std::chrono::milliseconds(1)) == std::future_status::timeout);
    gated.open_once_asleep();
  }
  CHECK(gated.calls == GatedMap::kGated + 1);
}

TEST_CASE("a map that an exception leaves during its iteration cancels what has not begun") {
  GatedMap gated;
  const auto iterate = [&gated] {
    auto mapped = gated.start();
    for (const int& element : mapped) {
      if (element != 2) continue;
      gated.begun.wait();
      gated.open_once_asleep();
      throw std::runtime_error("enough");
    }
  };
  CHECK_THROWS_AS(iterate(), std::runtime_error);
  CHECK(gated.calls == GatedMap::kGated + 1);
}

TEST_CASE("assignment over a map waits as its destructor does") {
  GatedMap gated;
  auto mapped = gated.start();
  {
    const support::OpenOnceAsleep opener(gated.gate);
    mapped = gated.executor.map([](int x) { return x; }, {7});
    CHECK(gated.calls == GatedMap::kElements);
  }
  CHECK(mapped.result() == std::vector<int>{7});
}

TEST_CASE("a map may be moved while it runs") {
  GatedMap gated;
  auto first = gated.start();
  gated.begun.wait();
  auto second = std::move(first);
  gated.gate.open();
  CHECK(second.result() == gated.numbers);
}

TEST_CASE("a map that was moved in the middle of an iteration goes on from there") {
  ThreadPoolExecutor executor(1);
  auto first = executor.map([](int x) { return x; }, {1, 2, 3});
  auto it = first.begin();
  ++it;
  auto second = std::move(first);
  CHECK(std::vector<int>(second.begin(), second.end()) == std::vector<int>{2, 3});
}

TEST_CASE("a map may outlive its executor") {
  std::optional<MapFuture<std::string>> mapped;
  const std::vector<int> numbers{1, 2, 3};
  {
    ThreadPoolExecutor executor(2);
    mapped = executor.map([](int x) { return std::to_string(x); }, numbers);
  }
  CHECK(mapped->done());
  CHECK(mapped->result() == std::vector<std::string>{"1", "2", "3"});
}

TEST_CASE("an element that drops its own map does not wait for itself") {
  for (const int workers : {1, 2}) {
    support::Gate stored;
    support::Gate dropped;
    ThreadPoolExecutor executor(workers);
    std::optional<MapFuture<int>> mapped;
    std::vector<int> numbers{0, 1, 2, 3};
    std::atomic<int> others{0};
    mapped.emplace(executor.map(
        MapOptions{.chunksize = 1},
        [&](int x) {
          stored.wait();
          if (x == 0) {
            mapped.reset();
            dropped.open();
          } else {
            others.fetch_add(1);
          }
          return x;
        },
        numbers));
    stored.open();
    dropped.wait();
    executor.shutdown();
    CHECK(others == 3);
  }
}

TEST_CASE("results, callable and input end with the scope although the pool is busy") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  // The only worker runs the elements inside this task, so the pool still has their entries queued.
  const auto alive_after = executor.submit([&] {
    {
      std::vector<support::Counted> kept;
      kept.emplace_back(counts, 1);
      kept.emplace_back(counts, 2);
      auto mapped = executor.map(
          [held = support::Counted(counts, 3)](const support::Counted& x) { return x; },
          std::move(kept));
      mapped.wait();
    }
    return counts.alive.load();
  });
  CHECK(alive_after.result() == 0);
}

TEST_CASE("a map of a busy pool is waited for by its destructor although nothing of it has begun") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  std::atomic<int> calls{0};
  const support::OpenAtExit opened(gate);
  executor.post([&gate] { gate.wait(); });
  {
    const support::OpenOnceAsleep opener(gate);
    const std::vector<int> numbers(50);
    const auto mapped = executor.map([&calls](int) { calls.fetch_add(1); }, numbers);
  }
  CHECK(calls == 50);
}

TEST_CASE("maps that are dropped half read leave nothing running") {
  ThreadPoolExecutor executor(2);
  std::atomic<int> running{0};
  int wrong = 0;
  for (int round = 0; round < support::scaled(300); ++round) {
    {
      const std::vector<int> numbers(64, round);
      auto mapped = executor.map(
          [&running](const int& x) {
            running.fetch_add(1);
            const int copy = x;
            running.fetch_sub(1);
            return copy;
          },
          numbers);
      int left = round % 7;
      for (const int& element : mapped) {
        wrong += element != round;
        if (left-- == 0) break;
      }
    }
    wrong += running != 0;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a map whose result() gave up at the time limit cancels the rest when it is left") {
  concurrent::ThreadPoolExecutor pool(1);
  support::Gate gate;
  std::atomic<int> begun = 0;
  {
    auto map = pool.map(
        {.timeout = std::chrono::milliseconds(10), .chunksize = 1},
        [&](int) {
          begun.fetch_add(1);
          gate.wait();
        },
        std::views::iota(0, 40));
    // The second element is the last to be cancelled. Were it not, nobody would open the gate.
    map.future(1).add_done_callback([&](concurrent::Future<void>) { gate.open(); });
    REQUIRE_THROWS_AS(map.result(), concurrent::TimeoutError);
  }
  REQUIRE(begun.load() <= 1);
}
