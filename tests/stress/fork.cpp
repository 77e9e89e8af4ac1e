// SPDX-License-Identifier: MIT
//
// fork(): the child has the memory of the executors and none of their threads.

#include <concurrent/executor.hpp>

#if defined(__linux__)

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "stress/process.hpp"
#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

#if defined(__SANITIZE_THREAD__)
#define CONCURRENT_TESTS_THREADS_AFTER_FORK 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONCURRENT_TESTS_THREADS_AFTER_FORK 0
#endif
#endif
#ifndef CONCURRENT_TESTS_THREADS_AFTER_FORK
#define CONCURRENT_TESTS_THREADS_AFTER_FORK 1
#endif

using concurrent::BrokenExecutor;
using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using stress::mark;
using stress::run_child;
using support::Gate;
using support::scaled;

namespace {

// ThreadSanitizer ends a child of a program with threads that starts one.
constexpr bool kThreadsAfterFork = CONCURRENT_TESTS_THREADS_AFTER_FORK != 0;

// Runs f in a forked child and returns the child's exit status: f's result, or 14 for a hang.
template <class F> int in_fork(F f) {
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    ::_exit(f());
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
}

template <class F> bool is_broken(F f) {
  try {
    f();
  } catch (const BrokenExecutor& error) { return !std::string(error.what()).empty(); }
  return false;
}

}  // namespace

TEST_CASE("In the child of a fork submit(), post() and map() throw BrokenExecutor", "[fork]") {
  ThreadPoolExecutor pool(2);
  pool.submit([] {}).wait();
  const int refused = in_fork([&pool] {
    int count = 0;
    count += is_broken([&] { pool.submit([] {}); });
    count += is_broken([&] { pool.post([] {}); });
    count += is_broken([&] { pool.map([](int) {}, {1, 2, 3}); });
    return count;
  });
  REQUIRE(refused == 3);
  REQUIRE(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("An executor that has started no thread before the fork is refused in the child too",
          "[fork]") {
  ThreadPoolExecutor pool(2);
  REQUIRE(in_fork([&pool] { return is_broken([&] { pool.submit([] {}); }) ? 1 : 0; }) == 1);
  REQUIRE(pool.submit([] { return 1; }).result() == 1);
}

TEST_CASE("The copy of an executor can be shut down and destroyed in the child, in any state",
          "[fork]") {
  for (const bool is_busy : {false, true}) {
    std::optional<ThreadPoolExecutor> pool(std::in_place, 2);
    Gate go_on;
    const support::OpenAtExit opened(go_on);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 10; ++i) {
      futures.push_back(pool->submit([&] {
        if (is_busy) go_on.wait();
      }));
    }
    if (!is_busy) concurrent::wait(futures);
    REQUIRE(in_fork([&pool] {
              pool->shutdown();
              pool->shutdown({.wait = false, .cancel_futures = true});
              pool.reset();
              return 7;
            }) == 7);
    go_on.open();
    for (const auto& future : futures) { future.result(); }
  }
}

TEST_CASE("A new executor works in the child", "[fork]") {
  if (!kThreadsAfterFork) return;
  ThreadPoolExecutor pool(2);
  pool.submit([] {}).wait();
  REQUIRE(in_fork([] {
            ThreadPoolExecutor fresh(2);
            int sum = fresh.submit([] { return 40; }).result();
            for (const int value : fresh.map([](int i) { return i; }, {1, 1}).result()) {
              sum += value;
            }
            return sum;
          }) == 42);
}

TEST_CASE("Futures that were done before the fork can be read in the child", "[fork]") {
  ThreadPoolExecutor pool(1);
  const auto text = pool.submit([] { return std::string("text"); });
  const auto failed = pool.submit([] { throw std::runtime_error("failed"); });
  failed.wait();
  REQUIRE(in_fork([&] {
            int good = 0;
            good += text.result() == "text";
            good += failed.exception() != nullptr;
            text.add_done_callback([&good](auto) { ++good; });
            good += concurrent::wait({text}).done.size() == 1;
            Promise<int> promise;
            promise.set_result(1);
            good += promise.future().result();
            return good;
          }) == 5);
}

TEST_CASE("A task may fork, and the child may make an executor of its own", "[fork]") {
  ThreadPoolExecutor pool(1);
  const auto task = pool.submit([&pool] {
    return in_fork([&pool] {
      if (!is_broken([&] { pool.submit([] {}); })) return 1;
      if (!kThreadsAfterFork) return 7;
      ThreadPoolExecutor fresh(1);
      // It is no worker of the new executor: it only waits.
      const auto me = std::this_thread::get_id();
      const auto other = fresh.submit([] { return std::this_thread::get_id(); });
      return other.result() != me ? 7 : 2;
    });
  });
  REQUIRE(task.result() == 7);
}

TEST_CASE("The child of a fork finds no lock taken, whatever the other threads were doing",
          "[fork]") {
  // Under AddressSanitizer, whose own locks are not held across fork(), the child may hang in them.
  if (support::kSanitized && kThreadsAfterFork) return;
  std::atomic<bool> stops = false;
  ThreadPoolExecutor pool(2);
  std::vector<std::thread> crew;
  for (int i = 0; i < 2; ++i) {
    crew.emplace_back([&] {
      while (!stops.load()) {
        std::vector<Future<int>> futures;
        for (int j = 0; j < 20; ++j) {
          futures.push_back(pool.submit([j] { return j; }));
          futures.back().add_done_callback([](auto) {});
        }
        concurrent::wait(futures);
        concurrent::release_memory();
        concurrent::set_unhandled_exception_handler({});
      }
    });
  }
  int wrong = 0;
  for (int round = 0; round < scaled(60); ++round) {
    wrong += in_fork([&pool] {
               if (!is_broken([&] { pool.submit([] {}); })) return 1;
               concurrent::set_unhandled_exception_handler({});
               for (int i = 0; i < 300; ++i) {
                 Promise<int> promise;
                 promise.future().add_done_callback([](auto) {});
                 promise.set_result(i);
               }
               concurrent::release_memory();
               if (!kThreadsAfterFork) return 7;
               ThreadPoolExecutor fresh(1);
               return fresh.submit([] { return 7; }).result();
             }) != 7;
  }
  stops.store(true);
  for (std::thread& thread : crew) { thread.join(); }
  REQUIRE(wrong == 0);
}

TEST_CASE("child: a static executor and a fork that exits", "[.child]") {
  if (!stress::is_child()) return;
  static ThreadPoolExecutor pool(2);
  pool.submit([] {}).wait();
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    std::exit(7);  // destroys the copy
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 7) mark('c');
  pool.post([] { mark('p'); });
  std::exit(0);
}

TEST_CASE("The child of a fork exits although it has the copy of a static executor", "[fork]") {
  const auto result = run_child("child: a static executor and a fork that exits");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.marks == "cp");
  REQUIRE(result.exit_code == 0);
}

TEST_CASE("A child of the child of a fork may do the same again", "[fork]") {
  if (!kThreadsAfterFork) return;
  ThreadPoolExecutor pool(1);
  pool.submit([] {}).wait();
  REQUIRE(in_fork([&pool] {
            ThreadPoolExecutor second(1);
            second.submit([] {}).wait();
            return in_fork([&] {
              if (!is_broken([&] { pool.submit([] {}); })) return 1;
              if (!is_broken([&] { second.submit([] {}); })) return 2;
              ThreadPoolExecutor third(1);
              return third.submit([] { return 7; }).result();
            });
          }) == 7);
}

#endif
