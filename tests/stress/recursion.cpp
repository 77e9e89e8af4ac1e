// SPDX-License-Identifier: MIT
//
// Recursion through futures: rules 1 and 2 of waiting inside a task. A pool of one worker computes
// all of these.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::Random;
using support::Gate;
using support::kSanitized;
using support::scaled;

namespace {

int plain_fib(int n) { return n < 2 ? n : plain_fib(n - 1) + plain_fib(n - 2); }

int fib(ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  auto left = pool.submit([&pool, n] { return fib(pool, n - 1); });
  const int right = fib(pool, n - 2);
  return left.result() + right;
}

// Both halves are tasks, and the older one is awaited first.
int fib_by_two_tasks(ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  auto left = pool.submit([&pool, n] { return fib_by_two_tasks(pool, n - 1); });
  auto right = pool.submit([&pool, n] { return fib_by_two_tasks(pool, n - 2); });
  return left.get() + right.get();
}

// Each level has a lock that is held across the wait. What ran a stranger here, one of the same
// level, would lock it twice in one thread.
class FibUnderLocks {
 public:
  explicit FibUnderLocks(ThreadPoolExecutor& pool) : pool_(pool) {}

  int compute(int n) { return compute(n, 0); }

 private:
  int compute(int n, std::size_t depth) {
    const std::lock_guard lock(levels_[depth]);
    if (n < 2) return n;
    auto left = pool_.submit([this, n, depth] { return compute(n - 1, depth + 1); });
    auto right = pool_.submit([this, n, depth] { return compute(n - 2, depth + 1); });
    return left.result() + right.result();
  }

  ThreadPoolExecutor& pool_;
  std::array<std::mutex, 32> levels_;
};

std::int64_t skynet(ThreadPoolExecutor& pool, std::int64_t number, std::int64_t size) {
  if (size == 1) return number;
  std::array<Future<std::int64_t>, 10> children;
  for (std::size_t i = 0; i < children.size(); ++i) {
    const std::int64_t first = number + static_cast<std::int64_t>(i) * (size / 10);
    children[i] = pool.submit([&pool, first, size] { return skynet(pool, first, size / 10); });
  }
  std::int64_t sum = 0;
  for (const auto& child : children) { sum += child.result(); }
  return sum;
}

void quicksort(ThreadPoolExecutor& pool, int* first, int* last) {
  if (last - first < 50) {
    std::sort(first, last);
    return;
  }
  const int pivot = first[(last - first) / 2];
  int* const middle = std::partition(first, last, [pivot](int x) { return x < pivot; });
  int* const above = std::partition(middle, last, [pivot](int x) { return x == pivot; });
  auto left = pool.submit([&pool, first, middle] { quicksort(pool, first, middle); });
  quicksort(pool, above, last);
  left.result();
}

int queens(ThreadPoolExecutor& pool, int size, std::vector<int> placed) {
  const int row = static_cast<int>(placed.size());
  if (row == size) return 1;
  std::vector<Future<int>> branches;
  for (int column = 0; column < size; ++column) {
    bool is_free = true;
    for (int i = 0; i < row; ++i) {
      const int other = placed[static_cast<std::size_t>(i)];
      if (other == column || std::abs(other - column) == row - i) is_free = false;
    }
    if (!is_free) continue;
    auto next = placed;
    next.push_back(column);
    branches.push_back(pool.submit([&pool, size, next = std::move(next)]() mutable {
      return queens(pool, size, std::move(next));
    }));
  }
  int solutions = 0;
  for (const auto& branch : branches) { solutions += branch.result(); }
  return solutions;
}

int count_leaves(ThreadPoolExecutor& pool, int depth) {
  if (depth == 0) return 1;
  auto left = pool.submit(count_leaves, std::ref(pool), depth - 1);
  auto right = pool.submit(count_leaves, std::ref(pool), depth - 1);
  return right.result() + left.result();
}

}  // namespace

TEST_CASE("Fibonacci numbers through futures, with any number of workers", "[recursion]") {
  const int workers = GENERATE(1, 2, 4, 8);
  CAPTURE(workers);
  const int n = kSanitized ? 13 : 20;
  ThreadPoolExecutor pool(workers);
  for (int round = 0; round < scaled(20); ++round) {
    REQUIRE(pool.submit(fib, std::ref(pool), n).result() == plain_fib(n));
    REQUIRE(pool.submit(fib_by_two_tasks, std::ref(pool), n).result() == plain_fib(n));
  }
}

TEST_CASE("Fibonacci numbers while each level holds a lock across its waits", "[recursion]") {
  const int workers = GENERATE(1, 2, 4, 8);
  CAPTURE(workers);
  const int n = kSanitized ? 10 : 15;
  ThreadPoolExecutor pool(workers);
  FibUnderLocks fib_under_locks(pool);
  for (int round = 0; round < scaled(20); ++round) {
    auto future = pool.submit([&] { return fib_under_locks.compute(n); });
    REQUIRE(future.result() == plain_fib(n));
  }
}

TEST_CASE("Strangers that need a lock which a waiting task holds are left alone", "[recursion]") {
  // Many tasks of one kind: lock, submit a child, wait for it. While one waits, the others lie all
  // around the child.
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int count = scaled(5000);
  std::mutex mutex;
  int sum = 0;  // guarded by mutex
  ThreadPoolExecutor pool(workers);
  std::vector<Future<void>> futures;
  for (int i = 0; i < count; ++i) {
    futures.push_back(pool.submit([&] {
      const std::lock_guard lock(mutex);
      sum += pool.submit([] { return 1; }).result();
    }));
  }
  for (const Future<void>& future : futures) { future.result(); }
  REQUIRE(sum == count);
}

TEST_CASE("Skynet: a hundred thousand leaves, ten children a node", "[recursion]") {
  const int workers = GENERATE(1, 2, 4, 8);
  CAPTURE(workers);
  const std::int64_t leaves = kSanitized ? 1000 : 100000;
  ThreadPoolExecutor pool(workers);
  auto sum = pool.submit(skynet, std::ref(pool), std::int64_t{0}, leaves);
  REQUIRE(sum.result() == leaves * (leaves - 1) / 2);
}

TEST_CASE("Quicksort of a hundred thousand numbers", "[recursion]") {
  const int workers = GENERATE(1, 2, 4, 8);
  CAPTURE(workers);
  Random random(71);
  std::vector<int> numbers(static_cast<std::size_t>(scaled(100000)));
  for (int& number : numbers) { number = random.below(50000); }
  auto expected = numbers;
  std::sort(expected.begin(), expected.end());
  ThreadPoolExecutor pool(workers);
  pool.submit([&] { quicksort(pool, numbers.data(), numbers.data() + numbers.size()); }).result();
  REQUIRE(numbers == expected);
}

TEST_CASE("The queens' problem, a task for each branch", "[recursion]") {
  const int workers = GENERATE(1, 2, 4, 8);
  CAPTURE(workers);
  const int size = kSanitized ? 6 : 8;
  const int solutions = kSanitized ? 4 : 92;
  ThreadPoolExecutor pool(workers);
  REQUIRE(pool.submit(queens, std::ref(pool), size, std::vector<int>{}).result() == solutions);
}

TEST_CASE("A binary tree of sixteen thousand waits, the newer child awaited first", "[recursion]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  const int depth = kSanitized ? 9 : 14;
  ThreadPoolExecutor pool(workers);
  REQUIRE(pool.submit(count_leaves, std::ref(pool), depth).result() == 1 << depth);
}

TEST_CASE("Outside threads compute recursions on one pool at the same time", "[recursion]") {
  const int workers = GENERATE(1, 2);
  CAPTURE(workers);
  const int n = kSanitized ? 10 : 16;
  std::atomic<int> wrong = 0;
  ThreadPoolExecutor pool(workers);
  stress::in_parallel(4, [&](int) {
    for (int round = 0; round < 5; ++round) {
      // Called from outside, the first level runs in this thread and only waits.
      if (fib(pool, n) != plain_fib(n)) wrong.fetch_add(1);
    }
  });
  REQUIRE(wrong.load() == 0);
}

TEST_CASE("Fifty chains of two hundred tasks, each of which waits for the one before",
          "[recursion]") {
  const int workers = GENERATE(1, 2, 4);
  CAPTURE(workers);
  ThreadPoolExecutor pool(workers);
  std::vector<Future<int>> tracks;
  for (int track = 0; track < 50; ++track) {
    auto last = pool.submit([] { return 1; });
    for (int i = 1; i < 200; ++i) {
      last = pool.submit([before = last] { return before.result() + 1; });
    }
    tracks.push_back(last);
  }
  for (const Future<int>& track : tracks) { REQUIRE(track.result() == 200); }
}

TEST_CASE("A chain of tasks that are submitted last one first is adopted to its end",
          "[recursion]") {
  // The first to run waits for the second, which nobody has begun, and so on: a stack of waits.
  constexpr int kLength = 300;
  const int workers = GENERATE(1, 2);
  CAPTURE(workers);
  std::vector<Future<int>> chain(kLength);
  Gate gate;
  ThreadPoolExecutor pool(workers);
  const support::OpenAtExit opener(gate);
  for (std::size_t i = 0; i < kLength; ++i) {
    chain[i] = pool.submit([&chain, &gate, i] {
      gate.wait();
      return i + 1 == kLength ? 1 : chain[i + 1].result() + 1;
    });
  }
  gate.open();
  REQUIRE(chain[0].result() == kLength);
}
