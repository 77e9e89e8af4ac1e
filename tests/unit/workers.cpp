// SPDX-License-Identifier: MIT
// The workers: how many there are and when they start. Names, initializers: worker_setup.cpp.
#include <atomic>
#include <climits>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <optional>
#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#endif

namespace {

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

template <class T>
concept made_from_empty_braces = requires { T({}); };

}  // namespace

TEST_CASE("an executor is neither copied nor moved nor made by an implicit conversion") {
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_move_assignable_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<int, ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_convertible_v<ThreadPoolExecutor::Options, ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<ThreadPoolExecutor, double>);
  STATIC_REQUIRE_FALSE(made_from_empty_braces<ThreadPoolExecutor>);
}

TEST_CASE("max_workers outside 1..INT_MAX is an invalid_argument") {
  CHECK_THROWS_AS(ThreadPoolExecutor(0), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor(-1), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor(INT_MIN), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor(LLONG_MAX), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor(LLONG_MIN), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor(ULLONG_MAX), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor(static_cast<unsigned>(-1)), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor({.max_workers = 0}), std::invalid_argument);
  CHECK_THROWS_AS(ThreadPoolExecutor({.max_workers = -3}), std::invalid_argument);
}

TEST_CASE("a constructor that throws leaves no thread, and nothing of its options") {
  const int before = support::count_threads();
  support::Counts counts;
  for (const int max_workers : {0, -1, INT_MIN}) {
    ThreadPoolExecutor::Options options;
    options.max_workers = max_workers;
    options.initializer = [held = support::Counted(counts)] {};
    CHECK_THROWS_AS(ThreadPoolExecutor(std::move(options)), std::invalid_argument);
  }
  CHECK(counts.alive == 0);
  CHECK(support::count_threads() == before);
}

TEST_CASE("max_workers may be of any integral type") {
  CHECK(ThreadPoolExecutor(short{3}).max_workers() == 3);
  CHECK(ThreadPoolExecutor(4U).max_workers() == 4);
  CHECK(ThreadPoolExecutor(std::size_t{5}).max_workers() == 5);
  CHECK(ThreadPoolExecutor(static_cast<unsigned char>(200)).max_workers() == 200);
  CHECK(ThreadPoolExecutor(INT_MAX).max_workers() == INT_MAX);
  CHECK(ThreadPoolExecutor({.max_workers = 6}).max_workers() == 6);
}

TEST_CASE("by default there may be as many workers as there are usable CPUs, at least one") {
  CHECK(concurrent::usable_cpus() >= 1);
  const ThreadPoolExecutor executor;
  CHECK(executor.max_workers() == concurrent::usable_cpus());
  CHECK(ThreadPoolExecutor::Options{}.max_workers == concurrent::usable_cpus());
}

TEST_CASE("a pool of a thousand workers costs no thread before the first submit") {
  const int before = support::count_threads();
  ThreadPoolExecutor executor(1000);
  CHECK(executor.max_workers() == 1000);
  CHECK(executor.worker_count() == 0);
  CHECK(support::count_threads() == before);
  executor.submit([] {}).wait();
  CHECK(executor.worker_count() == 1);
}

TEST_CASE("each submit of a task that finds no idle worker starts one, at once") {
  support::Gate gate;
  ThreadPoolExecutor executor(8);
  const support::OpenAtExit opened(gate);
  for (int i = 1; i <= 5; ++i) {
    executor.submit([&gate] { gate.wait(); });
    CHECK(executor.worker_count() == i);
  }
}

TEST_CASE("there are never more than max_workers threads, however many tasks are blocked") {
  const int before = support::count_threads();
  support::Gate gate;
  ThreadPoolExecutor executor(3);
  const support::OpenAtExit opened(gate);
  for (int i = 0; i < 45; ++i) executor.submit([&gate] { gate.wait(); });
  CHECK(executor.worker_count() == 3);
  if (support::kSeesThreads) CHECK(support::count_threads() == before + 3);
}

TEST_CASE("as many tasks run at once as there are workers, and never more") {
  constexpr int kWorkers = 3;
  support::Barrier all_at_once(kWorkers);
  ThreadPoolExecutor executor(kWorkers);
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::vector<Future<void>> futures;
  for (int i = 0; i < 60; ++i) {
    futures.push_back(executor.submit([&] {
      const int now = running.fetch_add(1) + 1;
      int seen = most.load();
      while (seen < now && !most.compare_exchange_weak(seen, now)) {}
      all_at_once.arrive_and_wait();
      running.fetch_sub(1);
    }));
  }
  for (const auto& future : futures) future.wait();
  CHECK(most == kWorkers);
}

TEST_CASE("a submit that finds an idle worker starts no thread") {
  ThreadPoolExecutor executor(8);
  for (int i = 0; i < 5; ++i) {
    const long worker = executor.submit([] { return support::this_thread_number(); }).result();
    REQUIRE(support::falls_asleep(worker));
    CHECK(executor.worker_count() == 1);
  }
}

TEST_CASE("an idle worker counts once: the second of two tasks for it starts a thread") {
  ThreadPoolExecutor executor(8);
  const long worker = executor.submit([] { return support::this_thread_number(); }).result();
  REQUIRE(support::falls_asleep(worker));
  support::BusyWorker first(executor);
  CHECK(executor.worker_count() == 1);
  support::BusyWorker second(executor);
  CHECK(executor.worker_count() == 2);
}

TEST_CASE("a map starts no more workers than it has elements") {
  support::Gate gate;
  ThreadPoolExecutor executor(8);
  const support::OpenAtExit opened(gate);
  const auto mapped = executor.map(concurrent::MapOptions{.chunksize = 1},
                                   [&gate](int x) {
                                     gate.wait();
                                     return x;
                                   },
                                   {1, 2, 3});
  CHECK(executor.worker_count() <= 3);
  CHECK(executor.worker_count() >= 1);
  gate.open();
}

TEST_CASE("tasks that throw do not cost workers") {
  std::set<std::thread::id> workers;
  ThreadPoolExecutor executor(1);
  for (int i = 0; i < 300; ++i) {
    executor
        .submit([&workers, i] {
          workers.insert(std::this_thread::get_id());
          if (i % 3 == 0) throw std::runtime_error("standard");
          if (i % 3 == 1) throw i;
        })
        .wait();
  }
  CHECK(workers.size() == 1);
  CHECK(executor.worker_count() == 1);
}

TEST_CASE("an idle pool is destroyed without a hang") {
  for (int round = 0; round < 20; ++round) {
    support::Barrier barrier(4);
    ThreadPoolExecutor executor(4);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 4; ++i) {
      futures.push_back(executor.submit([&barrier] { barrier.arrive_and_wait(); }));
    }
    for (const auto& future : futures) future.wait();
    CHECK(executor.worker_count() == 4);
  }
}

#if defined(__linux__)
TEST_CASE("usable_cpus() keeps to the affinity mask of the process") {
  ::cpu_set_t before;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  ::cpu_set_t one;
  CPU_ZERO(&one);
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  const int usable = concurrent::usable_cpus();
  ::sched_setaffinity(0, sizeof before, &before);
  CHECK(usable == 1);
  CHECK(concurrent::usable_cpus() <= CPU_COUNT(&before));
}

namespace {

/// Lets no thread start during its life: a stack is more than the address space that is left.
class NoMoreThreads {
 public:
  NoMoreThreads() {
    ::pthread_attr_init(&default_attributes_);
    ::pthread_getattr_default_np(&default_attributes_);
    ::pthread_attr_t large;
    ::pthread_attr_init(&large);
    ::pthread_attr_setstacksize(&large, kStack);
    ::pthread_setattr_default_np(&large);
    ::pthread_attr_destroy(&large);

    ::getrlimit(RLIMIT_AS, &limit_);
    ::rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    ::rlimit low = limit_;
    low.rlim_cur = pages * static_cast<::rlim_t>(::sysconf(_SC_PAGESIZE)) + kLeft;
    ::setrlimit(RLIMIT_AS, &low);
  }
  NoMoreThreads(const NoMoreThreads&) = delete;
  NoMoreThreads& operator=(const NoMoreThreads&) = delete;
  ~NoMoreThreads() {
    ::setrlimit(RLIMIT_AS, &limit_);
    ::pthread_setattr_default_np(&default_attributes_);
    ::pthread_attr_destroy(&default_attributes_);
  }

 private:
  static constexpr std::size_t kStack = std::size_t{1} << 30;
  static constexpr ::rlim_t kLeft = ::rlim_t{1} << 27;
  ::pthread_attr_t default_attributes_;
  ::rlimit limit_;
};

}  // namespace

TEST_CASE(
    "if the first worker cannot start, system_error leaves submit and the task is withdrawn") {
  if (support::kSanitized) return;  // their address space knows no limit
  support::Counts counts;
  bool ran = false;
  ThreadPoolExecutor executor(2);
  bool refused = false;
  {
    const NoMoreThreads limit;
    try {
      executor.submit([&ran, held = support::Counted(counts)] { ran = true; });
    } catch (const std::system_error&) { refused = true; }
  }
  CHECK(refused);
  CHECK(counts.alive == 0);
  CHECK(executor.worker_count() == 0);
  CHECK(executor.submit([] { return 1; }).result() == 1);
  executor.shutdown();
  CHECK_FALSE(ran);
}

TEST_CASE("if a further worker cannot start, the pool carries on with those it has") {
  if (support::kSanitized) return;  // their address space knows no limit
  ThreadPoolExecutor executor(4);
  std::optional<support::BusyWorker> busy(std::in_place, executor);
  std::optional<Future<int>> future;
  {
    const NoMoreThreads limit;
    future = executor.submit([] { return 5; });
    CHECK(executor.worker_count() == 1);
  }
  busy.reset();
  CHECK(future->result() == 5);
}
#endif
