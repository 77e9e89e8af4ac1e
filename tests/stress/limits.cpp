// SPDX-License-Identifier: MIT
//
// Few processors, small stacks, threads that cannot be started, signals that interrupt.

#include <concurrent/executor.hpp>

#if defined(__linux__)

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "stress/process.hpp"
#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::mark;
using stress::run_child;
using support::Gate;
using support::scaled;

namespace {

// Sets a limit of the process for the length of a scope.
class LimitScope {
 public:
  LimitScope(int resource, ::rlim_t soft) : resource_(resource) {
    ::getrlimit(kind(), &former_);
    ::rlimit changed = former_;
    changed.rlim_cur = soft;
    is_set_ = ::setrlimit(kind(), &changed) == 0;
  }
  LimitScope(const LimitScope&) = delete;
  LimitScope& operator=(const LimitScope&) = delete;
  ~LimitScope() { ::setrlimit(kind(), &former_); }

  bool is_set() const { return is_set_; }

 private:
  // An enumeration with glibc, an int elsewhere.
  decltype(RLIMIT_AS) kind() const { return static_cast<decltype(RLIMIT_AS)>(resource_); }

  int resource_;
  ::rlimit former_ = {};
  bool is_set_ = false;
};

::rlim_t address_space_in_use() {
  std::ifstream statm("/proc/self/statm");
  ::rlim_t pages = 0;
  statm >> pages;
  return pages * 4096;
}

int fib(ThreadPoolExecutor& pool, int n) {
  if (n < 2) return n;
  auto left = pool.submit([&pool, n] { return fib(pool, n - 1); });
  return fib(pool, n - 2) + left.result();
}

}  // namespace

TEST_CASE("A thread that may use one processor only gets an executor of one worker that works",
          "[limits]") {
  // In a thread of its own, so that the rest of the process keeps its processors.
  int max_workers = 0;
  int answer = 0;
  bool is_bound = false;
  std::thread([&] {
    ::cpu_set_t all;
    ::sched_getaffinity(0, sizeof all, &all);
    ::cpu_set_t one;
    CPU_ZERO(&one);
    for (std::size_t i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &all)) {
        CPU_SET(i, &one);
        break;
      }
    }
    is_bound = ::sched_setaffinity(0, sizeof one, &one) == 0;
    ThreadPoolExecutor pool;
    max_workers = pool.max_workers();
    answer = pool.submit([&pool] { return fib(pool, 10); }).result();
  }).join();
  REQUIRE(is_bound);
  REQUIRE(max_workers == 1);
  REQUIRE(answer == 55);
}

TEST_CASE("child: small stacks", "[.child]") {
  if (!stress::is_child()) return;
  ThreadPoolExecutor pool(4);
  if (pool.submit([&pool] { return fib(pool, 12); }).result() == 144) mark('f');
  std::vector<Future<int>> futures;
  for (int i = 0; i < 1000; ++i) {
    futures.push_back(pool.submit([i] { return i; }));
  }
  int right = 0;
  for (int i = 0; i < 1000; ++i) {
    if (futures[static_cast<std::size_t>(i)].result() == i) ++right;
  }
  if (right == 1000) mark('r');
  // Maps nested in each other, and waits that need a spare worker.
  int sum = 0;
  for (const int row : pool.map(
           [&pool](int i) {
             const auto cells = pool.map([i](int j) { return i * j; }, {1, 2, 3}).result();
             return cells[0] + cells[1] + cells[2];
           },
           {1, 2, 3})) {
    sum += row;
  }
  if (sum == 36) mark('m');
  ThreadPoolExecutor one(1);
  auto waiting = one.submit([&one] {
    auto child = one.submit([] { return 1; });
    return child.result(std::chrono::minutes(1));
  });
  int seen = 0;
  for (const auto& future : concurrent::as_completed({waiting})) { seen += future.result(); }
  if (seen == 1) mark('s');
}

TEST_CASE("Threads with stacks of 256 kilobytes are large enough", "[limits]") {
  if (support::kSanitized) return;
  const LimitScope limit(RLIMIT_STACK, 256 * 1024);
  REQUIRE(limit.is_set());
  const auto result = run_child("child: small stacks");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "frms");
}

TEST_CASE("child: no thread can be started", "[.child]") {
  if (!stress::is_child()) return;
  auto witness = std::make_shared<int>(0);
  ThreadPoolExecutor pool(4);
  {
    const LimitScope limit(RLIMIT_AS, address_space_in_use() + (256UL << 20));
    try {
      pool.submit([witness] {});
      mark('?');
    } catch (const std::system_error& error) {
      if (error.what()[0] != '\0') mark('s');
    }
    if (witness.use_count() == 1) mark('w');
    if (pool.worker_count() == 0) mark('0');
  }
  // With the limit gone the executor works.
  if (pool.submit([] { return 42; }).result() == 42) mark('r');
}

TEST_CASE("When not one thread can be started submit() throws system_error and nothing is queued",
          "[limits]") {
  if (support::kSanitized) return;
  // The new process gives its threads stacks of this size, more than its address space then holds.
  const LimitScope limit(RLIMIT_STACK, 1UL << 30);
  REQUIRE(limit.is_set());
  const auto result = run_child("child: no thread can be started");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "sw0r");
}

TEST_CASE("child: few threads can be started", "[.child]") {
  if (!stress::is_child()) return;
  constexpr int kTasks = 500;
  std::atomic<int> ran = 0;
  {
    Gate gate;
    ThreadPoolExecutor pool(10000);
    std::vector<Future<void>> futures;
    const LimitScope limit(RLIMIT_AS, address_space_in_use() + (1024UL << 20));
    for (int i = 0; i < kTasks; ++i) {
      futures.push_back(pool.submit([&] {
        gate.wait();
        ran.fetch_add(1);
      }));
    }
    if (pool.worker_count() >= 1 && pool.worker_count() < 100) mark('w');
    gate.open();
    for (const Future<void>& future : futures) { future.result(); }
    mark('r');
  }
  if (ran.load() == kTasks) mark('a');
}

TEST_CASE("When only a few threads can be started the executor carries on with these", "[limits]") {
  if (support::kSanitized) return;
  const LimitScope limit(RLIMIT_STACK, 64UL << 20);
  REQUIRE(limit.is_set());
  const auto result = run_child("child: few threads can be started");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "wra");
}

TEST_CASE("A thousand workers start, meet and end", "[limits]") {
  const int workers = support::kSanitized ? 50 : 1000;
  ThreadPoolExecutor pool(workers);
  support::Barrier all(workers);
  for (int i = 0; i < workers; ++i) {
    pool.post([&all] { all.arrive_and_wait(); });
  }
  REQUIRE(pool.worker_count() == workers);
  pool.shutdown();
}

TEST_CASE("Signals that interrupt waiting threads disturb nothing", "[limits]") {
  // A timer fires every half millisecond; without SA_RESTART the calls that wait are interrupted.
  static std::atomic<int> signals;
  signals.store(0);
  struct ::sigaction action = {};
  struct ::sigaction former = {};
  action.sa_handler = [](int) { signals.fetch_add(1, std::memory_order_relaxed); };
  ::sigaction(SIGALRM, &action, &former);
  const ::itimerval every_half_millisecond = {.it_interval = {.tv_sec = 0, .tv_usec = 500},
                                              .it_value = {.tv_sec = 0, .tv_usec = 500}};
  ::setitimer(ITIMER_REAL, &every_half_millisecond, nullptr);
  int wrong = 0;
  int rounds = 0;
  {
    ThreadPoolExecutor pool(2);
    const auto begin = std::chrono::steady_clock::now();
    // A second; more only where the machine stood still in it.
    const auto goes_on = [&] {
      const bool is_enough = rounds > 1 && signals.load() > 10;
      return std::chrono::steady_clock::now() - begin < std::chrono::seconds(is_enough ? 1 : 30);
    };
    for (; goes_on(); ++rounds) {
      auto slow = pool.submit([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        return 1;
      });
      auto nested = pool.submit([&pool] { return pool.submit([] { return 2; }).result(); });
      const auto start = std::chrono::steady_clock::now();
      try {
        slow.result(std::chrono::milliseconds(1));
      } catch (const concurrent::TimeoutError&) {
        if (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1)) ++wrong;
      }
      if (slow.result() != 1 || nested.result() != 2) ++wrong;
    }
  }
  const ::itimerval off = {};
  ::setitimer(ITIMER_REAL, &off, nullptr);
  ::sigaction(SIGALRM, &former, nullptr);
  REQUIRE(wrong == 0);
  REQUIRE(rounds > 1);
  REQUIRE(signals.load() > 10);
}

#endif
