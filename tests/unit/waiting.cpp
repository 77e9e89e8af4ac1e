// SPDX-License-Identifier: MIT
// Who runs what, in which order, and waiting inside a task.
#include <algorithm>
#include <chrono>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

long fib(ThreadPoolExecutor& executor, int n) {
  if (n < 2) return n;
  const auto smaller = executor.submit(fib, std::ref(executor), n - 2);
  const long larger = executor.submit(fib, std::ref(executor), n - 1).result();
  return larger + smaller.result();
}

void sort_in_pool(ThreadPoolExecutor& executor, int* first, int* last) {
  if (last - first < 100) {
    std::sort(first, last);
    return;
  }
  const int pivot = first[(last - first) / 2];
  int* const middle = std::partition(first, last, [pivot](int x) { return x < pivot; });
  int* const upper = std::partition(middle, last, [pivot](int x) { return x == pivot; });
  const auto left = executor.submit(sort_in_pool, std::ref(executor), first, middle);
  sort_in_pool(executor, upper, last);
  left.result();
}

}  // namespace

TEST_CASE("one worker computes fib recursively through futures") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit(fib, std::ref(executor), 15).result() == 610);
  CHECK(executor.worker_count() == 1);
}

TEST_CASE("several workers compute fib recursively through futures") {
  ThreadPoolExecutor executor(3);
  for (int i = 0; i < 5; ++i) {
    CHECK(executor.submit(fib, std::ref(executor), 15).result() == 610);
  }
}

TEST_CASE("a quicksort of nested submits and waits sorts, with any number of workers") {
  for (const int workers : {1, 2, 4}) {
    ThreadPoolExecutor executor(workers);
    std::vector<int> numbers(static_cast<std::size_t>(support::scaled(100'000)));
    unsigned seed = 12345;
    for (int& number : numbers) {
      seed = seed * 1664525U + 1013904223U;
      number = static_cast<int>(seed >> 8U);
    }
    executor
        .submit([&] { sort_in_pool(executor, numbers.data(), numbers.data() + numbers.size()); })
        .result();
    CHECK(std::is_sorted(numbers.begin(), numbers.end()));
  }
}

TEST_CASE("every untimed wait for a task that nobody has begun runs it there and then") {
  ThreadPoolExecutor executor(1);
  const auto me = [] { return std::this_thread::get_id(); };
  const auto all_on_one_thread = executor.submit([&] {
    const auto by_result = executor.submit(me);
    const auto by_exception = executor.submit(me);
    const auto by_wait = executor.submit(me);
    auto by_get = executor.submit(me);
    auto by_rvalue = executor.submit(me);
    bool good = by_result.result() == me();
    good &= by_exception.exception() == nullptr && by_exception.result() == me();
    by_wait.wait();
    good &= by_wait.done() && by_wait.result() == me();
    good &= by_get.get() == me();
    good &= std::move(by_rvalue).result() == me();
    return good;
  });
  CHECK(all_on_one_thread.result());
}

TEST_CASE("a wait may run the tasks in any order, whichever is asked for first") {
  ThreadPoolExecutor executor(1);
  std::vector<int> order;
  executor
      .submit([&] {
        std::vector<Future<void>> children;
        for (int i = 0; i < 4; ++i) {
          children.push_back(executor.submit([&order, i] { order.push_back(i); }));
        }
        for (const std::size_t i : {2U, 0U, 3U, 1U}) children[i].wait();
      })
      .result();
  CHECK(order == std::vector<int>{2, 0, 3, 1});
}

TEST_CASE("a wait never runs a stranger: a lock may be held across it") {
  ThreadPoolExecutor executor(1);
  std::mutex mutex;
  std::optional<Future<int>> stranger;
  const auto task = executor.submit([&] {
    const auto child = executor.submit([] { return 1; });
    stranger = executor.submit([&mutex] {
      const std::lock_guard lock(mutex);
      return 2;
    });
    const std::lock_guard lock(mutex);
    return child.result();
  });
  CHECK(task.result() == 1);
  CHECK(stranger->result() == 2);
}

TEST_CASE("a wait does not run the children of the task it waits for either") {
  ThreadPoolExecutor executor(1);
  std::mutex mutex;
  std::optional<Future<int>> grandchild;
  const auto task = executor.submit([&] {
    const std::lock_guard lock(mutex);
    const auto child = executor.submit([&] {
      grandchild = executor.submit([&mutex] {
        const std::lock_guard inner(mutex);
        return 3;
      });
      return 2;
    });
    return child.result();
  });
  CHECK(task.result() == 2);
  CHECK(grandchild->result() == 3);
}

TEST_CASE("a submit inside a task does not run the child inline") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    bool child_ran = false;
    const auto child = executor.submit([&child_ran] { child_ran = true; });
    const bool ran_at_submit = child_ran || child.done();
    child.wait();
    return !ran_at_submit && child_ran;
  });
  CHECK(task.result());
}

TEST_CASE("a wait with a limit of zero only tests and runs nothing") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    const auto child = executor.submit([] {});
    const bool tested = child.wait_for(std::chrono::seconds(0)) == std::future_status::timeout;
    const bool still_pending = !child.done();
    child.wait();
    return tested && still_pending;
  });
  CHECK(task.result());
}

TEST_CASE("a task may wait for one that was submitted from outside") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  Future<int> inner;
  const auto outer = executor.submit([&] {
    gate.wait();
    return inner.result() + 1;
  });
  inner = executor.submit([] { return 1; });
  gate.open();
  CHECK(outer.result() == 2);
}

TEST_CASE("a wait in a task for one that another worker runs sleeps until that is done") {
  support::Gate begun;
  support::Gate gate;
  support::Gate waiting;
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(gate);
  const auto running = executor.submit([&] {
    begun.open();
    gate.wait();
    return 5;
  });
  begun.wait();
  long waiter_number = 0;
  const auto waiter = executor.submit([&] {
    waiter_number = support::this_thread_number();
    waiting.open();
    return running.result();
  });
  waiting.wait();
  support::falls_asleep(waiter_number);
  CHECK_FALSE(waiter.done());
  gate.open();
  CHECK(waiter.result() == 5);
}

TEST_CASE("failures and cancellations reach a waiter inside a task as they reach one outside") {
  ThreadPoolExecutor executor(1);
  const auto failing = executor.submit(
      [&executor] { executor.submit([] { throw std::domain_error("from the child"); }).result(); });
  CHECK_THROWS_AS(failing.result(), std::domain_error);
  const auto cancelling = executor.submit([&executor] {
    auto child = executor.submit([] {});
    child.cancel();
    child.result();
  });
  CHECK_THROWS_AS(cancelling.result(), concurrent::CancelledError);
  CHECK_FALSE(cancelling.cancelled());
}

TEST_CASE("a chain of nested waits is worked off") {
  ThreadPoolExecutor executor(1);
  std::function<int(int)> chain = [&](int depth) -> int {
    return depth == 0 ? 0 : executor.submit(chain, depth - 1).result() + 1;
  };
  const int depth = support::scaled(1000);
  CHECK(executor.submit(chain, depth).result() == depth);
}

TEST_CASE("with one worker, tasks from outside start in the order of their submits") {
  std::vector<int> order;
  std::vector<int> expected;
  {
    ThreadPoolExecutor executor(1);
    support::BusyWorker busy(executor);
    for (int i = 0; i < 2000; ++i) {
      executor.submit([&order, i] { order.push_back(i); });
      expected.push_back(i);
    }
  }
  CHECK(order == expected);
}

TEST_CASE("with one worker, submits of several threads that are in order are run in order") {
  std::vector<int> order;
  {
    ThreadPoolExecutor executor(1);
    support::BusyWorker busy(executor);
    for (int i = 0; i < 20; ++i) {
      std::thread([&, i] { executor.submit([&order, i] { order.push_back(i); }); }).join();
      executor.submit([&order, i] { order.push_back(100 + i); });
    }
  }
  std::vector<int> expected;
  for (int i = 0; i < 20; ++i) {
    expected.push_back(i);
    expected.push_back(100 + i);
  }
  CHECK(order == expected);
}

TEST_CASE("a thread from outside that waits runs no task") {
  ThreadPoolExecutor executor(1);
  const auto main_thread = std::this_thread::get_id();
  int run_by_main = 0;
  for (int i = 0; i < support::scaled(2000); ++i) {
    run_by_main +=
        executor.submit([] { return std::this_thread::get_id(); }).result() == main_thread;
  }
  CHECK(run_by_main == 0);
  executor
      .map([&](int) { run_by_main += std::this_thread::get_id() == main_thread; },
           std::vector<int>(100))
      .result();
  CHECK(run_by_main == 0);
}

TEST_CASE("a worker of another pool that waits runs no task of this one") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  const auto worker = first.submit([&] {
    const auto there = second.submit([] { return std::this_thread::get_id(); }).result();
    return there != std::this_thread::get_id();
  });
  CHECK(worker.result());
}

TEST_CASE("tasks of ten pools of one worker each wait for each other's") {
  std::vector<std::unique_ptr<ThreadPoolExecutor>> pools;
  for (int i = 0; i < 10; ++i) pools.push_back(std::make_unique<ThreadPoolExecutor>(1));
  std::function<int(std::size_t)> descend = [&](std::size_t level) -> int {
    if (level == pools.size()) return 0;
    return pools[level]->submit(descend, level + 1).result() + 1;
  };
  CHECK(descend(0) == 10);
}

TEST_CASE("with one worker no two tasks run at once") {
  ThreadPoolExecutor executor(1);
  int unguarded = 0;
  std::vector<std::thread> submitters;
  for (int t = 0; t < 3; ++t) {
    submitters.emplace_back([&] {
      for (int i = 0; i < support::scaled(2000); ++i) {
        executor.post([&unguarded] { ++unguarded; });
      }
    });
  }
  for (auto& submitter : submitters) submitter.join();
  executor.shutdown();
  CHECK(unguarded == 3 * support::scaled(2000));
}
