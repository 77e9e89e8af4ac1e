// SPDX-License-Identifier: MIT
//
// map() with sizes, chunks, failures and endings at random, nested and from many threads.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"

using concurrent::CancelledError;
using concurrent::MapOptions;
using concurrent::ThreadPoolExecutor;
using stress::Random;
using stress::Tally;
using support::Counted;
using support::Counts;
using support::scaled;

namespace {

std::vector<int> integers(int count) {
  std::vector<int> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

MapOptions random_options(Random& random, int size) {
  MapOptions options;
  if (random.below(2) == 0) {
    options.chunksize = static_cast<std::size_t>(1 + random.below(size + 3));
  }
  return options;
}

}  // namespace

TEST_CASE("map() of random size and chunksize gives every result in its place", "[map]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int rounds = scaled(1500);
  Random random(81);
  ThreadPoolExecutor pool(workers);
  for (int round = 0; round < rounds; ++round) {
    const int size = random.below(300);
    const std::vector<int> numbers = integers(size);
    Tally tally(static_cast<std::size_t>(size));
    auto twice = [&tally](int value) {
      tally.hit(value);
      return 2 * value;
    };
    auto results = pool.map(random_options(random, size), twice, numbers);
    REQUIRE(results.size() == numbers.size());
    int wrong = 0;
    if (random.below(2) == 0) {
      int expected = 0;
      for (const int result : results) {
        if (result != expected) ++wrong;
        expected += 2;
      }
      if (expected != 2 * size) ++wrong;
    } else {
      const std::vector<int> all = results.result();
      for (int i = 0; i < size; ++i) {
        if (all[static_cast<std::size_t>(i)] != 2 * i) ++wrong;
      }
    }
    REQUIRE(wrong == 0);
    REQUIRE(tally.not_once() == 0);
    REQUIRE(results.completed() == numbers.size());
    REQUIRE(results.done());
  }
}

TEST_CASE("map() that is left at random runs no element afterwards, and none twice", "[map]") {
  const int rounds = scaled(3000);
  Random random(82);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    const int size = 1 + random.below(200);
    Counts counts;
    Tally tally(static_cast<std::size_t>(size));
    std::atomic<bool> scope_has_ended = false;
    std::atomic<int> late = 0;
    const int ending = random.below(5);
    {
      auto results = pool.map(
          random_options(random, size),
          [&](int value) {
            if (scope_has_ended.load()) late.fetch_add(1);
            tally.hit(value);
            return Counted(counts, value);
          },
          integers(size));
      if (ending == 1) results.cancel();
      if (ending == 2) {
        auto it = results.begin();
        for (int i = random.below(size); i > 0; --i) { ++it; }
      }
      if (ending == 3) { results.wait_for(std::chrono::microseconds(random.below(50))); }
      if (ending == 4) {
        const std::vector<Counted> taken = results.result();
        REQUIRE(taken.size() == static_cast<std::size_t>(size));
        REQUIRE(taken.back().value() == size - 1);
      }
    }
    scope_has_ended.store(true);
    int twice = 0;
    for (int i = 0; i < size; ++i) {
      const int hits = tally.hits(static_cast<std::size_t>(i));
      if (hits > 1) ++twice;
      // Untouched, or taken whole: all has run.
      if ((ending == 0 || ending == 4) && hits != 1) ++twice;
    }
    REQUIRE(twice == 0);
    REQUIRE(counts.alive.load() == 0);
    // Whatever ran late would do so before this answer, for it was submitted before.
    pool.submit([] {}).result();
    REQUIRE(late.load() == 0);
  }
}

TEST_CASE("map() whose elements fail at random keeps the others, and leaks nothing", "[map]") {
  const int rounds = scaled(1000);
  Random random(83);
  Counts counts;
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    const int size = 1 + random.below(100);
    std::vector<char> fails(static_cast<std::size_t>(size));
    for (char& fail : fails) { fail = random.below(5) == 0; }
    auto results = pool.map(
        random_options(random, size),
        [&](int value) {
          if (fails[static_cast<std::size_t>(value)] != 0) throw value;
          return Counted(counts, value);
        },
        integers(size));
    int wrong = 0;
    int index = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++index) {
      const bool fails_here = fails[static_cast<std::size_t>(index)] != 0;
      try {
        if ((*it).value() != index || fails_here) ++wrong;
      } catch (int thrown) {
        if (thrown != index || !fails_here) ++wrong;
      }
    }
    REQUIRE(index == size);
    REQUIRE(wrong == 0);
  }
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("map() whose elements fail is left through the exception and cancels the rest", "[map]") {
  const int rounds = scaled(1000);
  Random random(84);
  for (int round = 0; round < rounds; ++round) {
    Counts counts;
    const int size = 2 + random.below(100);
    const int failing = random.below(size);
    ThreadPoolExecutor pool(2);
    int seen = 0;
    try {
      for (const Counted& result : pool.map(
               MapOptions{.chunksize = 1},
               [&](int value) {
                 if (value == failing) throw std::runtime_error("failed");
                 return Counted(counts, value);
               },
               integers(size))) {
        if (result.value() == seen) ++seen;
      }
    } catch (const std::runtime_error&) {
      // The loop ends at the element that failed.
    }
    REQUIRE(seen == failing);
    REQUIRE(counts.alive.load() == 0);
  }
}

TEST_CASE("Elements of a map that fails are destroyed once, those that were not got to as well",
          "[map]") {
  // The map keeps them, and the callable takes them out of it.
  const int rounds = scaled(1500);
  Random random(88);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    Counts counts;
    const int size = 1 + random.below(100);
    const int failing = random.below(size);
    std::atomic<int> taken = 0;
    int seen = 0;
    bool has_failed = false;
    {
      std::vector<Counted> items;
      items.reserve(static_cast<std::size_t>(size));
      for (int i = 0; i < size; ++i) { items.emplace_back(counts, i); }
      MapOptions options = random_options(random, size);
      if (random.below(2) == 0) {
        options.buffersize = static_cast<std::size_t>(1 + random.below(size));
      }
      const auto take = [&](Counted&& item) {
        const Counted own = std::move(item);
        taken.fetch_add(1, std::memory_order_relaxed);
        if (own.value() == failing) throw std::runtime_error("failed");
        return own.value();
      };
      try {
        for (const int value : pool.map(options, take, std::move(items))) {
          if (value == seen) ++seen;
        }
      } catch (const std::runtime_error&) { has_failed = true; }
    }
    REQUIRE(has_failed);
    REQUIRE(seen == failing);
    REQUIRE(taken.load() > failing);
    REQUIRE(taken.load() <= size);
    REQUIRE(counts.copies.load() == 0);
    // A worker may still be letting go of the last piece that it ran.
    REQUIRE(support::eventually([&] { return counts.alive.load() == 0; }));
  }
}

TEST_CASE("cancel() of a map from another thread ends its iteration one way or the other",
          "[map]") {
  const int rounds = scaled(1500);
  Random random(85);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    const int size = 1 + random.below(300);
    const int delay = random.below(3000);
    Tally tally(static_cast<std::size_t>(size));
    auto results = pool.map(
        random_options(random, size),
        [&tally](int value) {
          tally.hit(value);
          return value;
        },
        integers(size));
    std::thread canceller([&results, delay] {
      stress::spin(delay);
      results.cancel();
    });
    int wrong = 0;
    int index = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++index) {
      const auto place = static_cast<std::size_t>(index);
      try {
        if (*it != index) ++wrong;
        if (tally.hits(place) != 1) ++wrong;
      } catch (const CancelledError&) {
        if (tally.hits(place) != 0) ++wrong;
      }
    }
    canceller.join();
    REQUIRE(index == size);
    REQUIRE(wrong == 0);
    REQUIRE(results.done());
  }
}

TEST_CASE("Maps inside maps inside tasks, on any number of workers", "[map]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int rounds = scaled(60);
  ThreadPoolExecutor pool(workers);
  for (int round = 0; round < rounds; ++round) {
    auto future = pool.submit([&pool] {
      long sum = 0;
      auto rows = pool.map(
          MapOptions{.chunksize = 1},
          [&pool](int row) {
            long row_sum = 0;
            for (const long cell : pool.map(
                     MapOptions{.chunksize = 3},
                     [row](int column) { return static_cast<long>(row) * column; },
                     std::views::iota(0, 20))) {
              row_sum += cell;
            }
            return row_sum;
          },
          std::views::iota(0, 20));
      for (const long row : rows) { sum += row; }
      return sum;
    });
    REQUIRE(future.result() == 190L * 190L);
  }
}

TEST_CASE("Maps nested to a depth, each element a map of its own, on one worker and more",
          "[map]") {
  struct Tree {
    ThreadPoolExecutor& pool;
    int count(int depth) const {
      if (depth == 0) return 1;
      auto results =
          pool.map([this, depth](int) { return count(depth - 1); }, std::views::iota(0, 3));
      const std::vector<int> counts = results.result();
      return std::accumulate(counts.begin(), counts.end(), 0);
    }
  };
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int depth = support::kSanitized ? 4 : 7;
  int expected = 1;
  for (int i = 0; i < depth; ++i) { expected *= 3; }
  ThreadPoolExecutor pool(workers);
  const Tree tree{pool};
  REQUIRE(pool.submit([&] { return tree.count(depth); }).result() == expected);
  REQUIRE(tree.count(depth) == expected);
}

TEST_CASE("Many threads map over one pool at the same time", "[map]") {
  const int rounds = scaled(300);
  std::atomic<int> wrong = 0;
  const std::vector<int> numbers = integers(100);
  ThreadPoolExecutor pool(2);
  stress::in_parallel(4, [&](int role) {
    Random random(static_cast<std::uint64_t>(86 + role));
    for (int round = 0; round < rounds; ++round) {
      const auto all = pool.map(random_options(random, 100), std::negate<>{}, numbers).result();
      for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i] != -numbers[i]) wrong.fetch_add(1);
      }
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("map() racing shutdown() is refused, or runs whole, or what it scheduled is cancelled",
          "[map]") {
  const bool cancel_futures = GENERATE(false, true);
  CAPTURE(cancel_futures);
  const int rounds = scaled(500);
  Random random(87);
  for (int round = 0; round < rounds; ++round) {
    const int delay = random.below(5000);
    const std::vector<int> numbers = integers(50);
    std::atomic<int> wrong = 0;
    ThreadPoolExecutor pool(2);
    stress::in_parallel(2, [&](int role) {
      if (role == 0) {
        stress::spin(delay);
        pool.shutdown({.cancel_futures = cancel_futures});
        return;
      }
      for (int i = 0; i < 20; ++i) {
        // When map() throws, nothing of it may run any more: `alive` is gone then.
        auto alive = std::make_unique<std::atomic<bool>>(true);
        try {
          auto results = pool.map(
              MapOptions{.chunksize = 2},
              [&alive = *alive, &wrong](int value) {
                if (!alive.load()) wrong.fetch_add(1);
                return value;
              },
              numbers);
          for (auto it = results.begin(); it != results.end(); ++it) {
            try {
              *it;
            } catch (const CancelledError&) {
              if (!cancel_futures) wrong.fetch_add(1);
            }
          }
        } catch (const concurrent::ShutdownError&) {
          // As expected, sooner or later.
        }
        alive->store(false);
      }
    });
    REQUIRE(wrong.load() == 0);
  }
}

TEST_CASE("A map of a million trivial elements gives each its result", "[map]") {
  const int size = scaled(1000000);
  ThreadPoolExecutor pool(2);
  long sum = 0;
  for (const int value : pool.map([](int value) { return value; }, std::views::iota(0, size))) {
    sum += value;
  }
  REQUIRE(sum == static_cast<long>(size) * (size - 1) / 2);
}

TEST_CASE("completed() only grows, up to size(), while others look", "[map]") {
  const int rounds = scaled(300);
  ThreadPoolExecutor pool(2);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> wrong = 0;
    auto results = pool.map([](int value) { return value; }, std::views::iota(0, 500));
    std::thread observer([&] {
      std::size_t before = 0;
      while (true) {
        const bool was_done = results.done();
        const std::size_t now = results.completed();
        if (now < before || now > results.size()) wrong.fetch_add(1);
        if (was_done && now != results.size()) wrong.fetch_add(1);
        if (was_done) break;
        before = now;
        std::this_thread::yield();
      }
    });
    results.wait();
    observer.join();
    REQUIRE(wrong.load() == 0);
  }
}

TEST_CASE("What an element wrote is seen by whoever asks for it, and by the end of the scope",
          "[map]") {
  // Plain memory on purpose: ThreadSanitizer reports an edge that is missing.
  const int rounds = scaled(500);
  ThreadPoolExecutor pool(2);
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<int> plain(64);
    auto write = [&plain, round](int index) {
      plain[static_cast<std::size_t>(index)] = round;
      return index;
    };
    if (round % 2 == 0) {
      pool.map(write, std::views::iota(0, 64));
      for (const int value : plain) {
        if (value != round) ++wrong;
      }
    } else {
      for (const int index : pool.map(write, std::views::iota(0, 64))) {
        if (plain[static_cast<std::size_t>(index)] != round) ++wrong;
      }
    }
  }
  REQUIRE(wrong == 0);
}
