// SPDX-License-Identifier: MIT
// Waits of a worker that cannot adopt: a spare worker runs other tasks meanwhile.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::Future;
using concurrent::Promise;
using concurrent::ReturnWhen;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

std::thread::id me() { return std::this_thread::get_id(); }

using NamedThread = std::pair<std::thread::id, std::string>;

NamedThread this_thread() { return {me(), support::this_thread_name()}; }

/// Blocks one worker of an executor in a wait for a promise until release().
class BlockedWorker {
 public:
  explicit BlockedWorker(ThreadPoolExecutor& executor)
      : future_(executor.submit([this, awaited = promise_.future()] {
          thread_ = this_thread();
          begun_.open();
          awaited.wait();
        })) {
    begun_.wait();
  }
  BlockedWorker(const BlockedWorker&) = delete;
  BlockedWorker& operator=(const BlockedWorker&) = delete;
  ~BlockedWorker() { release(); }

  void release() {
    if (!promise_.future().done()) promise_.set_result();
    future_.wait();
  }

  const NamedThread& thread() const { return thread_; }

 private:
  Gate begun_;
  NamedThread thread_;
  Promise<void> promise_;
  Future<void> future_;
};

}  // namespace

TEST_CASE("a wait with a time limit lets another thread run the task that it waits for") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    const auto child = executor.submit(me);
    return child.wait_for(1min) == std::future_status::ready && child.result() != me();
  });
  CHECK(task.result());
}

TEST_CASE("result(), get() and exception() with a time limit in a task work with one worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    const int first = executor.submit([] { return 1; }).result(1min);
    const auto second = executor.submit([] { return 2; });
    const auto third = executor.submit([] { throw std::domain_error("test"); });
    return third.exception(1min) != nullptr ? first + second.result(1min) : 0;
  });
  CHECK(task.result() == 3);
}

TEST_CASE("a wait for any of several in a task works with one worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    const Promise<int> never;
    const std::vector futures{never.future(), executor.submit([] { return 2; })};
    const auto result = concurrent::wait(futures, {.return_when = ReturnWhen::first_completed});
    return result.done.size() == 1 ? result.done[0].result() : 0;
  });
  CHECK(task.result() == 2);
}

TEST_CASE("a wait for all with a time limit in a task works with one worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    const std::vector futures{executor.submit([] {}), executor.submit([] {})};
    return concurrent::wait(futures, {.timeout = 1min}).done.size();
  });
  CHECK(task.result() == 2);
}

TEST_CASE("as_completed() in a task works with one worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    std::vector<Future<int>> futures;
    for (int i = 1; i <= 10; ++i) futures.push_back(executor.submit([i] { return i; }));
    int sum = 0;
    for (const auto& future : concurrent::as_completed(futures)) sum += future.result();
    return sum;
  });
  CHECK(task.result() == 55);
}

TEST_CASE("a task may wait for a promise that another task of its one worker keeps") {
  Promise<std::thread::id> promise;
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&] {
    executor.post([&promise] { promise.set_result(me()); });
    return promise.future().result() != me();
  });
  CHECK(task.result());
}

TEST_CASE("executors of one worker each may wait for each other, to and fro") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  std::function<int(int)> bounce = [&](int depth) -> int {
    if (depth == 0) return 0;
    return (depth % 2 == 0 ? first : second).submit(bounce, depth - 1).result() + 1;
  };
  CHECK(bounce(20) == 20);
}

TEST_CASE("a map's wait with a time limit in a task works with one worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    auto squares = executor.map([](int i) { return i * i; }, {1, 2, 3});
    return squares.wait_for(1min) == std::future_status::ready && squares.result().at(2) == 9;
  });
  CHECK(task.result());
}

TEST_CASE("iterating a map with a time limit in a task works with one worker") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    int sum = 0;
    for (const int& square :
         executor.map({.timeout = 1min}, [](int i) { return i * i; }, {1, 2, 3})) {
      sum += square;
    }
    return sum;
  });
  CHECK(task.result() == 14);
}

TEST_CASE("a callback on the only worker may wait for a promise") {
  Promise<int> promise;
  Gate go_on;
  Gate called;
  int seen = 0;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&go_on] { go_on.wait(); });
  future.add_done_callback([&](auto) {
    executor.post([&promise] { promise.set_result(5); });
    seen = promise.future().result();
    called.open();
  });
  go_on.open();
  called.wait();
  CHECK(seen == 5);
}

TEST_CASE("a task may shut another executor down, or destroy it, whose tasks need its own one") {
  for (const bool destroys : {false, true}) {
    ThreadPoolExecutor executor(1);
    auto other = std::make_unique<ThreadPoolExecutor>(1);
    const auto task = executor.submit([&] {
      other->post([&executor] { executor.submit([] {}).wait(); });
      if (destroys) {
        other.reset();
      } else {
        other->shutdown();
      }
      return 1;
    });
    CHECK(task.result() == 1);
  }
}

TEST_CASE("a future waited for by a task and by a thread from outside at once reaches both") {
  Promise<int> promise;
  const auto future = promise.future();
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([future] { return future.result(); });
  int seen = 0;
  std::thread outside([&] { seen = future.result(); });
  executor.submit([&promise] { promise.set_result(5); });
  outside.join();
  CHECK(task.result() == 5);
  CHECK(seen == 5);
}

TEST_CASE("a limit of zero or less only tests, and starts no spare") {
  ThreadPoolExecutor executor(1);
  const int before = support::count_threads();
  const auto task = executor.submit([&executor] {
    const Promise<void> promise;
    const std::vector pending{promise.future(), executor.submit([] {})};
    bool good = true;
    for (const auto limit : {0s, -1s}) {
      good = good && pending[0].wait_for(limit) == std::future_status::timeout;
      good = good && pending[1].wait_for(limit) == std::future_status::timeout;
      good = good && concurrent::wait(pending, {.timeout = limit}).done.empty();
      good = good && concurrent::wait(pending, {limit, ReturnWhen::first_completed}).done.empty();
      try {
        for (const auto& future : concurrent::as_completed(pending, {.timeout = limit})) {
          good = good && !future.valid();
        }
        good = false;
      } catch (const concurrent::TimeoutError&) {}
    }
    return good;
  });
  CHECK(task.result());
  if (support::kSeesThreads) CHECK(support::count_threads() == before + 1);
}

TEST_CASE("a wait that its limit ends in a task is over, though a spare was there to help") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([] {
    const Promise<void> never;
    const auto begin = std::chrono::steady_clock::now();
    const bool timed_out = never.future().wait_for(20ms) == std::future_status::timeout;
    return timed_out && std::chrono::steady_clock::now() - begin >= 20ms;
  });
  CHECK(task.result());
}

TEST_CASE("spares are named from max_workers on and are not in worker_count()") {
  ThreadPoolExecutor executor({.max_workers = 2, .thread_name_prefix = "spare"});
  // Both workers are there before the first spare, which could take the place of the second.
  support::Barrier both(2);
  const auto meet = [&both] {
    both.arrive_and_wait();
    return this_thread();
  };
  const auto worker = executor.submit(meet);
  const auto other = executor.submit(meet);
  std::set<NamedThread> threads{worker.result(), other.result()};
  CHECK(threads.size() == 2);
  // These three are at the same time, and so one at least is on a spare.
  const BlockedWorker first(executor);
  const BlockedWorker second(executor);
  threads.insert({first.thread(), second.thread(), executor.submit(this_thread).result()});
  CHECK(threads.size() > 2);
  if (support::kSeesThreads) {
    std::set<std::string> names;
    for (const NamedThread& thread : threads) names.insert(thread.second);
    CHECK(names.size() == threads.size());
    for (const char* name : {"spare_0", "spare_1", "spare_2", "spare_3"}) names.erase(name);
    CHECK(names.empty());
  }
  CHECK(executor.worker_count() == 2);
  CHECK(executor.max_workers() == 2);
}

TEST_CASE("a spare does not keep a worker of the pool from being started") {
  ThreadPoolExecutor executor(2);
  const BlockedWorker blocked(executor);
  // One of the two runs on a spare, the other on the second worker, in whatever order they start.
  Gate both_run;
  std::atomic<int> running = 0;
  const auto run = [&] {
    if (running.fetch_add(1) == 1) both_run.open();
    both_run.wait();
  };
  const auto first = executor.submit(run);
  const auto second = executor.submit(run);
  first.wait();
  second.wait();
  CHECK(executor.worker_count() == 2);
}

TEST_CASE("spares run the initializer, each once") {
  std::atomic<int> initialized = 0;
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = [&] { initialized.fetch_add(1); }});
  const BlockedWorker first(executor);
  const BlockedWorker second(executor);  // on a spare, which is blocked then
  CHECK(executor.submit([] { return 1; }).result() == 1);
  CHECK(initialized.load() == 3);
}

TEST_CASE("an initializer that throws in a spare breaks the pool") {
  std::atomic<int> calls = 0;
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = [&] {
                                 if (calls.fetch_add(1) != 0) throw std::domain_error("no spare");
                               }});
  const auto task = executor.submit([&executor] {
    const auto child = executor.submit([] {});
    child.wait_for(1min);
    child.result();
  });
  CHECK_THROWS_AS(task.result(), concurrent::BrokenThreadPool);
  CHECK_THROWS_AS(executor.submit([] {}), concurrent::BrokenThreadPool);
}

TEST_CASE("one spare serves any number of waits that come one after another") {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  ThreadPoolExecutor executor(1);
  for (int i = 0; i < support::scaled(400); ++i) {
    const auto task = executor.submit([&] {
      const auto child = executor.submit([&] {
        const std::lock_guard lock(mutex);
        threads.insert(me());
      });
      child.wait_for(1min);
    });
    task.wait();
  }
  CHECK(threads.size() <= 2);  // the worker and its spare: they may have changed places
}

TEST_CASE("while workers are blocked, max_workers others may be awake and not more") {
  Gate go_on;
  support::Counter begun;
  ThreadPoolExecutor executor(2);
  const BlockedWorker first(executor);
  const BlockedWorker second(executor);
  const support::OpenAtExit opened(go_on);
  std::vector<Future<void>> tasks;
  std::vector<long> sleepers(6);
  for (long& sleeper : sleepers) {
    tasks.push_back(executor.submit([&] {
      sleeper = support::this_thread_number();
      begun.add();
      go_on.wait();
    }));
  }
  begun.reached(2);
  for (const long sleeper : {sleepers[0], sleepers[1]}) {
    if (sleeper != 0) support::falls_asleep(sleeper);
  }
  CHECK(begun.value() == 2);
  go_on.open();
  for (const auto& task : tasks) task.wait();
  CHECK(begun.value() == 6);
}

TEST_CASE("with one worker, a task that a spare still runs keeps the next one from beginning") {
  // Neither of the two waits, so they must not run at once; in a pool that is shut down neither.
  for (const bool is_shut_down : {false, true}) {
    Gate go_on;
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    Future<void> on_spare;
    executor
        .submit([&] {
          Promise<void> begun;
          const auto has_begun = begun.future();
          on_spare = executor.submit([&go_on, promise = std::move(begun)]() mutable {
            promise.set_result();
            go_on.wait();
          });
          has_begun.wait();
        })
        .wait();
    const auto next = executor.submit([] {});
    if (is_shut_down) executor.shutdown({.wait = false});
    CHECK(next.wait_for(50ms) == std::future_status::timeout);
    CHECK(on_spare.running());
    go_on.open();
    next.wait();
    CHECK(on_spare.done());
  }
}

TEST_CASE("with one worker no two tasks run at once when its waits are over") {
  std::atomic<int> running = 0;
  std::atomic<int> most = 0;
  ThreadPoolExecutor executor(1);
  { const BlockedWorker blocked(executor); }
  executor.submit([] {}).wait();  // behind it the blocked worker's task has ended
  for (int i = 0; i < 200; ++i) {
    executor.post([&] {
      const int now = running.fetch_add(1) + 1;
      if (now > most.load()) most.store(now);
      std::this_thread::yield();
      running.fetch_sub(1);
    });
  }
  executor.shutdown();
  CHECK(most.load() == 1);
}

TEST_CASE("shutdown ends the spares, those that are idle and those that are blocked") {
  const int before = support::count_threads();
  {
    Promise<void> promise;
    ThreadPoolExecutor executor(1);
    {
      const BlockedWorker first(executor);
      const BlockedWorker second(executor);
      const BlockedWorker third(executor);
    }
    executor.post([future = promise.future()] { future.wait(); });
    const auto last = executor.submit([&promise] { promise.set_result(); });
    executor.shutdown();
    CHECK(last.done());
  }
  if (support::kSeesThreads)
    CHECK(support::eventually([&] { return support::count_threads() == before; }));
}

TEST_CASE("a wait in a task of an executor that is shut down still lets the queue run") {
  Gate closed;
  Promise<void> promise;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(closed);
  const auto task = executor.submit([&, future = promise.future()] {
    closed.wait();
    future.result();
  });
  executor.post([&promise] { promise.set_result(); });
  executor.shutdown({.wait = false});
  closed.open();
  CHECK_NOTHROW(task.result());
}

TEST_CASE("a wait for a task that a sibling runs needs no spare") {
  Gate begun;
  Gate go_on;
  std::atomic<int> initialized = 0;
  ThreadPoolExecutor executor({.max_workers = 2, .initializer = [&] { initialized.fetch_add(1); }});
  const support::OpenAtExit opened(go_on);
  const auto running = executor.submit([&] {
    begun.open();
    go_on.wait();
    return 5;
  });
  begun.wait();
  const auto waiter = executor.submit([&] {
    const support::OpenOnceAsleep opener(go_on);
    return running.result();
  });
  CHECK(waiter.result() == 5);
  CHECK(initialized.load() == 2);
}
