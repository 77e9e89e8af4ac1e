// SPDX-License-Identifier: MIT
//
// Tasks that end their thread, by pthread_exit or pthread_cancel: the stack is unwound, the future
// fails, and another worker takes the place of the one that is gone.

#include <concurrent/executor.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/gate.hpp"

// Others do not unwind a thread that ends so: with libc++ over libgcc even a plain std::thread crashes.
#if defined(__linux__) && defined(__GLIBCXX__)
#include <pthread.h>

using concurrent::BrokenPromise;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;

namespace {

[[noreturn]] void end_this_thread() { ::pthread_exit(nullptr); }

[[noreturn]] void cancel_this_thread() {
  ::pthread_cancel(::pthread_self());
  ::pthread_testcancel();
  std::abort();
}

// Sets a flag when it dies.
struct Flag {
  explicit Flag(std::atomic<bool>& flag) : at(flag) {}
  ~Flag() { at.store(true); }
  std::atomic<bool>& at;
};

}  // namespace

TEST_CASE("A task that calls pthread_exit fails, and the executor goes on", "[thread_exit]") {
  ThreadPoolExecutor executor(1);
  for (int round = 0; round < 20; ++round) {
    const Future<int> lost = executor.submit([]() -> int { end_this_thread(); });
    const Future<int> next = executor.submit([] { return 5; });
    CHECK_THROWS_AS(lost.result(), BrokenPromise);
    CHECK(next.result() == 5);
  }
  executor.shutdown();
  CHECK(executor.worker_count() == 0);
}

TEST_CASE("A task that is cancelled by pthread_cancel fails, and the executor goes on",
          "[thread_exit]") {
  ThreadPoolExecutor executor(2);
  std::vector<Future<void>> lost;
  for (int i = 0; i < 20; ++i) lost.push_back(executor.submit([] { cancel_this_thread(); }));
  for (const Future<void>& future : lost) CHECK_THROWS_AS(future.result(), BrokenPromise);
  CHECK(executor.submit([] { return 5; }).result() == 5);
  CHECK(executor.worker_count() <= 2);
}

TEST_CASE("Forced unwinding runs the destructors of the task and destroys its captures",
          "[thread_exit]") {
  std::atomic<bool> local_is_dead = false;
  const auto captured = std::make_shared<int>(3);
  ThreadPoolExecutor executor(1);
  const Future<void> lost = executor.submit([&local_is_dead, copy = captured] {
    const Flag local(local_is_dead);
    end_this_thread();
  });
  CHECK_THROWS_AS(lost.result(), BrokenPromise);
  CHECK(local_is_dead.load());
  CHECK(captured.use_count() == 1);
}

TEST_CASE("A task that ends its thread takes along those that wait on the same stack",
          "[thread_exit]") {
  ThreadPoolExecutor executor(1);
  const Future<int> outer = executor.submit([&executor] {
    const Future<int> inner = executor.submit([]() -> int { end_this_thread(); });
    return inner.result();
  });
  CHECK_THROWS_AS(outer.result(), BrokenPromise);
  const Future<int> taker = executor.submit(
      [&executor] { return executor.submit([]() -> int { end_this_thread(); }).get(); });
  CHECK_THROWS_AS(taker.result(), BrokenPromise);
}

TEST_CASE("What a task has submitted before it ends its thread still runs", "[thread_exit]") {
  std::atomic<int> ran = 0;
  {
    ThreadPoolExecutor executor(1);
    const Future<void> lost = executor.submit([&] {
      for (int i = 0; i < 100; ++i) executor.post([&] { ran.fetch_add(1); });
      end_this_thread();
    });
    CHECK_THROWS_AS(lost.result(), BrokenPromise);
  }
  CHECK(ran.load() == 100);
}

TEST_CASE("An element of a map that ends its thread fails with the rest of its chunk",
          "[thread_exit]") {
  ThreadPoolExecutor executor(2);
  auto map = executor.map(
      {.chunksize = 4},
      [](int i) {
        if (i == 5) end_this_thread();
        return i;
      },
      std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  std::string seen;
  for (auto at = map.begin(); at != map.end(); ++at) {
    try {
      seen += std::to_string(*at);
    } catch (const BrokenPromise&) { seen += 'x'; }
  }
  CHECK(seen == "01234xxx89");
  CHECK(map.done());
}

TEST_CASE("An initializer that ends its thread breaks the pool", "[thread_exit]") {
  ThreadPoolExecutor executor({.max_workers = 2, .initializer = [] { end_this_thread(); }});
  try {
    executor.submit([] {}).result();
    FAIL("the task has run");
  } catch (const concurrent::BrokenThreadPool&) { SUCCEED(); }
}

TEST_CASE("A new thread runs the initializer and has the name of the one that is gone",
          "[thread_exit]") {
  std::atomic<int> initialized = 0;
  ThreadPoolExecutor executor({.max_workers = 1, .thread_name_prefix = "exits", .initializer = [&] {
                                 initialized.fetch_add(1);
                               }});
  CHECK_THROWS_AS(executor.submit([] { end_this_thread(); }).result(), BrokenPromise);
  const auto name = [] {
    char text[16] = {};
    ::pthread_getname_np(::pthread_self(), text, sizeof(text));
    return std::string(text);
  };
  CHECK(executor.submit(name).result() == "exits_0");
  CHECK(initialized.load() == 2);
}

TEST_CASE("A spare worker whose task ends its thread is replaced as well", "[thread_exit]") {
  Gate gate;
  ThreadPoolExecutor executor(1);
  const Future<void> waits = executor.submit([&] {
    std::vector<Future<void>> lost;
    for (int i = 0; i < 3; ++i) lost.push_back(executor.submit([] { end_this_thread(); }));
    const Future<void> opens = executor.submit([&] { gate.open(); });
    // A wait with a limit does not adopt: a spare runs them.
    if (opens.wait_for(std::chrono::hours(1)) != std::future_status::ready) std::abort();
    for (const Future<void>& future : lost) {
      if (!future.done()) future.wait_for(std::chrono::hours(1));
      if (future.exception() == nullptr) throw std::logic_error("one has not failed");
    }
  });
  gate.wait();
  CHECK_NOTHROW(waits.result());
}

TEST_CASE("child: a callback ends its thread", "[.][child]") {
  std::set_terminate([] { std::_Exit(42); });
  ThreadPoolExecutor executor(1);
  Gate gate;
  const Future<void> future = executor.submit([&] { gate.wait(); });
  future.add_done_callback([](auto) { end_this_thread(); });
  gate.open();
  executor.submit([] {}).wait();
}

TEST_CASE("A callback that ends its thread ends the process by std::terminate", "[thread_exit]") {
  CHECK(support::run_child("child: a callback ends its thread") == 42);
}

#endif
