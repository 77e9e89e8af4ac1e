// SPDX-License-Identifier: MIT
//
// Threads that cannot start. This file replaces pthread_create for the whole program: it fails when
// a test asks for that, else it is the system's. Sanitizers replace it, too, and are left out.

#include <concurrent/executor.hpp>

#include "support/scale.hpp"

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34) && !CONCURRENT_TESTS_SANITIZED  // from there on dlsym is in libc
#define CONCURRENT_TESTS_HAVE_THREAD_FAILURES
#endif
#endif

#if defined(CONCURRENT_TESTS_HAVE_THREAD_FAILURES)

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"

using concurrent::DeadlockError;
using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using support::Counted;
using support::Counts;
using support::Gate;

namespace {

// How many threads may still start; below zero: all.
std::atomic<int> threads_left = -1;

// Lets only so many threads start for the length of a scope.
class FewThreads {
 public:
  explicit FewThreads(int count) { threads_left.store(count); }
  FewThreads(const FewThreads&) = delete;
  FewThreads& operator=(const FewThreads&) = delete;
  ~FewThreads() { threads_left.store(-1); }
};

}  // namespace

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  int left = threads_left.load();
  while (left > 0 && !threads_left.compare_exchange_weak(left, left - 1)) {}
  return left == 0 ? EAGAIN : create(thread, attributes, start, argument);
}

namespace {

// Whether f() throws what std::thread does when the system has no more threads.
template <class F> bool is_refused(F f) {
  try {
    f();
  } catch (const std::system_error& error) {
    return error.code() == std::errc::resource_unavailable_try_again;
  }
  return false;
}

// Whether f() throws a DeadlockError with such an error nested in it.
template <class F> bool is_deadlock(F f) {
  try {
    f();
  } catch (const DeadlockError& error) {
    return is_refused([&] { std::rethrow_if_nested(error); });
  }
  return false;
}

}  // namespace

TEST_CASE("If the first thread cannot start, submit(), post() and map() schedule nothing",
          "[threads_fail]") {
  Counts counts;
  std::atomic<int> ran = 0;
  std::atomic<int> initialized = 0;
  const auto task = [&](Counted) { ran.fetch_add(1); };
  std::optional<ThreadPoolExecutor> pool(
      std::in_place,
      ThreadPoolExecutor::Options{.max_workers = 3, .initializer = [&] { initialized++; }});
  {
    const FewThreads none(0);
    REQUIRE(is_refused([&] { pool->submit(task, Counted(counts)); }));
    REQUIRE(counts.alive.load() == 0);
    REQUIRE(is_refused([&] { pool->post(task, Counted(counts)); }));
    REQUIRE(counts.alive.load() == 0);
    REQUIRE(is_refused(
        [&] { pool->map([&, held = Counted(counts)](int) { ran.fetch_add(1); }, {1, 2, 3}); }));
    REQUIRE(counts.alive.load() == 0);
    REQUIRE(pool->worker_count() == 0);
  }
  REQUIRE(pool->submit([] { return 1; }).result() == 1);
  REQUIRE(initialized.load() == 1);
  REQUIRE(pool->worker_count() == 1);
  pool.reset();
  REQUIRE(ran.load() == 0);
}

TEST_CASE("An executor whose only submit() could not start a thread is destroyed at once",
          "[threads_fail]") {
  bool initialized = false;
  {
    ThreadPoolExecutor pool({.max_workers = 1, .initializer = [&] { initialized = true; }});
    const FewThreads none(0);
    REQUIRE(is_refused([&] { pool.post([] {}); }));
    pool.shutdown();
    REQUIRE_THROWS_AS(pool.post([] {}), concurrent::ShutdownError);
  }
  REQUIRE_FALSE(initialized);
}

TEST_CASE("If a later thread cannot start, the executor carries on with those that exist",
          "[threads_fail]") {
  const int limit = GENERATE(1, 2, 3);
  CAPTURE(limit);
  std::atomic<int> initialized = 0;
  std::atomic<int> ran = 0;
  Gate go_on;
  ThreadPoolExecutor pool({.max_workers = 4, .initializer = [&] { initialized++; }});
  const support::OpenAtExit opened(go_on);
  {
    const FewThreads few(limit);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 6; ++i) {
      futures.push_back(pool.submit([&] {
        go_on.wait();
        ran.fetch_add(1);
      }));
    }
    for (int i = 0; i < 6; ++i) {
      pool.post([&] { ran.fetch_add(1); });
    }
    auto squares = pool.map([](int i) { return i * i; }, {1, 2, 3});
    REQUIRE(pool.worker_count() == limit);
    go_on.open();
    for (const Future<void>& future : futures) { future.result(); }
    REQUIRE(squares.result() == std::vector<int>{1, 4, 9});
    REQUIRE(pool.submit([&pool] { return pool.submit([] { return 1; }).result(); }).result() == 1);
    REQUIRE(pool.worker_count() == limit);
  }
  // With threads to be had again the executor grows to its full size.
  support::Barrier all(4);
  for (int i = 0; i < 4; ++i) {
    pool.post([&all] { all.arrive_and_wait(); });
  }
  pool.shutdown();
  REQUIRE(initialized.load() == 4);
  REQUIRE(ran.load() == 12);
}

TEST_CASE("A wait without limit whose spare worker cannot start throws DeadlockError",
          "[threads_fail]") {
  Promise<int> promise;
  Gate go_on;
  ThreadPoolExecutor others(1);
  ThreadPoolExecutor pool(1);
  const support::OpenAtExit opened(go_on);
  const Future<int> kept = promise.future();
  const Future<int> foreign = others.submit([&go_on] {
    go_on.wait();
    return 2;
  });
  const auto task = pool.submit([&] {
    const FewThreads none(0);
    int refused = 0;
    refused += is_deadlock([&] { kept.result(); });
    refused += is_deadlock([&] { kept.wait(); });
    refused += is_deadlock([&] { static_cast<void>(kept.exception()); });
    refused += is_deadlock([&] { foreign.result(); });
    refused += is_deadlock([&] { concurrent::wait({kept, foreign}); });
    refused += is_deadlock([&] {
      concurrent::wait({kept, foreign}, {.return_when = concurrent::ReturnWhen::first_completed});
    });
    refused += is_deadlock([&] {
      for (const Future<int>& future : concurrent::as_completed({kept, foreign})) future.wait();
    });
    refused += is_deadlock([&] { others.shutdown(); });
    // A taking call that fails so keeps its handle.
    Future<int> taken = kept;
    refused += is_deadlock([&] { taken.get(); });
    refused += taken.valid();
    return refused;
  });
  REQUIRE(task.result() == 10);
  // With a spare to be had the same waits work.
  const auto again = pool.submit([&] { return kept.result() + foreign.result(); });
  pool.submit([&] {
        go_on.open();
        promise.set_result(1);
      })
      .result();
  REQUIRE(again.result() == 3);
  REQUIRE(pool.worker_count() == 1);
}

TEST_CASE("A wait with a limit whose spare worker cannot start sleeps to its end",
          "[threads_fail]") {
  constexpr std::chrono::milliseconds limit(30);
  Promise<int> promise;
  ThreadPoolExecutor pool(1);
  const Future<int> kept = promise.future();
  Gate begun;
  const auto task = pool.submit([&] {
    const FewThreads none(0);
    int good = 0;
    const auto start = std::chrono::steady_clock::now();
    try {
      kept.result(limit);
    } catch (const concurrent::TimeoutError&) { ++good; }
    good += std::chrono::steady_clock::now() - start >= limit;
    good += kept.wait_for(limit) == std::future_status::timeout;
    good += concurrent::wait({kept}, {.timeout = limit}).not_done.size() == 1;
    good += std::chrono::steady_clock::now() - start >= 3 * limit;
    begun.open();
    good += kept.result(std::chrono::hours(1)) == 7;
    return good;
  });
  begun.wait();
  promise.set_result(7);
  REQUIRE(task.result() == 6);
  REQUIRE(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("The destructor of another executor waits in a task, with no spare to be had, too",
          "[threads_fail]") {
  std::atomic<int> ran = 0;
  ThreadPoolExecutor pool(1);
  const auto task = pool.submit([&] {
    std::optional<ThreadPoolExecutor> inner(std::in_place, 1);
    for (int i = 0; i < 100; ++i) {
      inner->post([&] { ran.fetch_add(1); });
    }
    const FewThreads none(0);
    inner.reset();
    return ran.load();
  });
  REQUIRE(task.result() == 100);
}

#if defined(__GLIBCXX__)
TEST_CASE("A worker whose thread a task has ended is replaced later if that cannot be at once",
          "[threads_fail]") {
  Gate gate;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opens(gate);
  executor.post([&] { gate.wait(); });
  executor.submit([] {}).wait();  // by the second worker
  {
    const FewThreads none(0);
    const Future<void> lost = executor.submit([] { ::pthread_exit(nullptr); });
    REQUIRE_THROWS_AS(lost.result(), concurrent::BrokenPromise);
    REQUIRE(support::eventually([&] { return executor.worker_count() == 1; }));
  }
  REQUIRE(executor.submit([] { return 5; }).result() == 5);
  REQUIRE(executor.worker_count() == 2);
}
#endif

#endif
