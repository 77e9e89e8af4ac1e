// SPDX-License-Identifier: MIT
// Future::add_done_callback: when, where, in which order, and what a callback may do.
#include <concurrent/executor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"

namespace {

using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using support::Gate;

/// Collects what reaches the handler of unhandled exceptions while it lives.
class Caught {
 public:
  Caught()
      : former_(concurrent::set_unhandled_exception_handler([this](std::exception_ptr error) {
          try {
            std::rethrow_exception(std::move(error));
          } catch (const std::exception& exception) { texts.push_back(exception.what()); }
        })) {}
  Caught(const Caught&) = delete;
  Caught& operator=(const Caught&) = delete;
  ~Caught() { concurrent::set_unhandled_exception_handler(std::move(former_)); }

  std::vector<std::string> texts;

 private:
  std::function<void(std::exception_ptr)> former_;
};

}  // namespace

TEST_CASE("a callback sees the result of its future") {
  Gate go_on;
  Gate called;
  int seen = 0;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&] {
    go_on.wait();
    return 5;
  });
  future.add_done_callback([&](const Future<int>& done) {
    seen = done.result();
    called.open();
  });
  CHECK_FALSE(called.is_open());
  go_on.open();
  called.wait();
  CHECK(seen == 5);
}

TEST_CASE("a callback sees the exception of its future") {
  Gate go_on;
  Gate called;
  std::string seen;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&] {
    go_on.wait();
    throw std::domain_error("test");
  });
  future.add_done_callback([&](Future<void> done) {
    try {
      done.get();
    } catch (const std::domain_error& error) { seen = error.what(); }
    called.open();
  });
  go_on.open();
  called.wait();
  CHECK(seen == "test");
}

TEST_CASE("a callback runs in the thread that cancels, before cancel() returns") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  const auto future = executor.submit([] {});
  std::thread::id caller;
  bool was_cancelled = false;
  future.add_done_callback([&](const Future<void>& done) {
    caller = std::this_thread::get_id();
    was_cancelled = done.cancelled() && done.done() && !done.running();
  });
  CHECK(future.cancel());
  CHECK(caller == std::this_thread::get_id());
  CHECK(was_cancelled);
}

TEST_CASE("a callback of a future that is done runs at once, in the thread that adds it") {
  ThreadPoolExecutor executor(1);
  const auto returned = executor.submit([] { return 5; });
  const auto failed = executor.submit([]() -> int { throw std::domain_error("test"); });
  returned.wait();
  failed.wait();
  support::BusyWorker busy(executor);
  const auto cancelled = executor.submit([] { return 5; });
  cancelled.cancel();
  for (const auto& future : {returned, failed, cancelled}) {
    std::thread::id caller;
    bool is_same = false;
    future.add_done_callback([&](const Future<int>& done) {
      caller = std::this_thread::get_id();
      is_same = done == future && done.done();
    });
    CHECK(caller == std::this_thread::get_id());
    CHECK(is_same);
  }
}

TEST_CASE("callbacks run in the order in which they were added") {
  Gate go_on;
  std::vector<int> order;
  std::vector<int> expected;
  {
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    const auto future = executor.submit([&go_on] { go_on.wait(); });
    for (int i = 0; i < support::scaled(10'000); ++i) {
      future.add_done_callback([&order, i](auto) { order.push_back(i); });
      expected.push_back(i);
    }
  }
  CHECK(order == expected);
}

TEST_CASE("a callback runs in the worker that completes the task, after its captures have gone") {
  Gate go_on;
  support::Counts counts;
  std::thread::id worker;
  std::thread::id caller;
  int alive = -1;
  {
    ThreadPoolExecutor executor(2);
    const support::OpenAtExit opened(go_on);
    const auto future = executor.submit([&, counted = support::Counted(counts)] {
      worker = std::this_thread::get_id();
      go_on.wait();
    });
    future.add_done_callback([&](auto) {
      caller = std::this_thread::get_id();
      alive = counts.alive.load();
    });
  }
  CHECK(caller == worker);
  CHECK(alive == 0);
}

TEST_CASE("a waiter may return before the callbacks have run") {
  Gate go_on;
  Gate in_callback;
  Gate callback_goes_on;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(callback_goes_on);
  const auto future = executor.submit([&] {
    go_on.wait();
    return 5;
  });
  future.add_done_callback([&](auto) {
    in_callback.open();
    callback_goes_on.wait();
  });
  go_on.open();
  in_callback.wait();
  CHECK(future.done());
  CHECK_FALSE(future.running());
  CHECK(future.result() == 5);
}

TEST_CASE("what a callback throws goes to the handler, and the next one still runs") {
  Caught caught;
  Gate go_on;
  int calls = 0;
  {
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    const auto future = executor.submit([&go_on] { go_on.wait(); });
    future.add_done_callback([&](auto) {
      ++calls;
      throw std::runtime_error("first");
    });
    future.add_done_callback([&](auto) { ++calls; });
  }
  CHECK(calls == 2);
  CHECK(caught.texts == std::vector<std::string>{"first"});
}

TEST_CASE("what a callback throws that runs at once does not reach the thread that adds it") {
  Caught caught;
  ThreadPoolExecutor executor(1);
  const auto future = executor.submit([] {});
  future.wait();
  CHECK_NOTHROW(future.add_done_callback([](auto) { throw std::runtime_error("late"); }));
  CHECK(caught.texts == std::vector<std::string>{"late"});
}

TEST_CASE("a callback may submit, cancel and add callbacks: it runs under no lock") {
  Gate go_on;
  Gate called;
  std::vector<int> order;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&go_on] { go_on.wait(); });
  const auto victim = executor.submit([] {});
  victim.add_done_callback([&order](auto) { order.push_back(2); });
  std::optional<Future<int>> submitted;
  future.add_done_callback([&](const Future<void>& done) {
    order.push_back(1);
    victim.cancel();
    done.add_done_callback([&order](auto) { order.push_back(3); });
    submitted = executor.submit([] { return 7; });
    order.push_back(4);
    called.open();
  });
  go_on.open();
  called.wait();
  CHECK(order == std::vector<int>{1, 2, 3, 4});
  CHECK(victim.cancelled());
  CHECK(submitted->result() == 7);
}

TEST_CASE("a callback on a worker may wait for a task that it submits") {
  Gate go_on;
  Gate called;
  int seen = 0;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&go_on] { go_on.wait(); });
  future.add_done_callback([&](auto) {
    seen = executor.submit([] { return 7; }).result();
    called.open();
  });
  go_on.open();
  called.wait();
  CHECK(seen == 7);
}

TEST_CASE("shutdown() in a callback on a worker begins it and throws DeadlockError") {
  Gate go_on;
  Gate called;
  bool has_thrown = false;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&go_on] { go_on.wait(); });
  future.add_done_callback([&](auto) {
    try {
      executor.shutdown();
    } catch (const concurrent::DeadlockError&) { has_thrown = true; }
    called.open();
  });
  go_on.open();
  called.wait();
  CHECK(has_thrown);
  CHECK_THROWS_AS(executor.submit([] {}), concurrent::ShutdownError);
}

TEST_CASE("shutdown without a wait is fine in a callback on a worker") {
  Gate go_on;
  Gate called;
  bool has_thrown = false;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor.submit([&go_on] { go_on.wait(); });
  future.add_done_callback([&](auto) {
    try {
      executor.shutdown({.wait = false});
    } catch (...) { has_thrown = true; }
    called.open();
  });
  go_on.open();
  called.wait();
  CHECK_FALSE(has_thrown);
  CHECK_THROWS_AS(executor.submit([] {}), concurrent::ShutdownError);
}

TEST_CASE("a callback on a worker may destroy the executor, whose queue is still run") {
  Gate go_on;
  auto executor = std::make_unique<ThreadPoolExecutor>(1);
  const auto future = executor->submit([&go_on] { go_on.wait(); });
  const auto queued = executor->submit([] { return 7; });
  future.add_done_callback([&](auto) { executor.reset(); });
  go_on.open();
  CHECK(queued.result() == 7);
  CHECK(executor == nullptr);
}

TEST_CASE("a callback may be move-only, and is destroyed when it has run") {
  Gate go_on;
  support::Counts counts;
  std::optional<ThreadPoolExecutor> executor(std::in_place, 1);
  const support::OpenAtExit opened(go_on);
  const auto future = executor->submit([&go_on] { go_on.wait(); });
  int seen = 0;
  future.add_done_callback([&seen, counted = support::Counted(counts),
                            number = std::make_unique<int>(4)](auto) { seen = *number; });
  CHECK(counts.alive.load() == 1);
  CHECK(counts.copies.load() == 0);
  go_on.open();
  executor.reset();
  CHECK(seen == 4);
  CHECK(counts.alive.load() == 0);
}

TEST_CASE("a callback may hold the last other handle on its own future") {
  Gate go_on;
  support::Counts counts;
  {
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    auto future = executor.submit([&] {
      go_on.wait();
      return support::Counted(counts);
    });
    future.add_done_callback([own = future](auto) { static_cast<void>(own); });
    future = {};
  }
  CHECK(counts.alive.load() == 0);
}

TEST_CASE("callbacks keep a future's result alive though nobody else holds a handle") {
  Gate go_on;
  std::string seen;
  {
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    executor
        .submit([&go_on] {
          go_on.wait();
          return std::string("a text that needs memory of its own, for certain");
        })
        .add_done_callback([&seen](const Future<std::string>& done) { seen = done.result(); });
  }
  CHECK(seen == "a text that needs memory of its own, for certain");
}

TEST_CASE("a callback whose copying throws is not added") {
  struct ThrowsWhenCopied {
    ThrowsWhenCopied() = default;
    ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("copy"); }
    void operator()(const Future<void>&) const {}
  };
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  const auto future = executor.submit([] {});
  const ThrowsWhenCopied callback;
  CHECK_THROWS_AS(future.add_done_callback(callback), std::runtime_error);
  CHECK(future.cancel());
}

TEST_CASE("an empty future takes no callback") {
  const Future<int> empty;
  bool was_called = false;
  CHECK_THROWS_AS(empty.add_done_callback([&](auto) { was_called = true; }),
                  concurrent::InvalidStateError);
  CHECK_FALSE(was_called);
}

TEST_CASE("cancel_futures runs the callbacks of what it cancels") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  int calls = 0;
  for (int i = 0; i < 20; ++i) {
    executor.submit([] {}).add_done_callback(
        [&calls](const Future<void>& done) { calls += done.cancelled() ? 1 : 0; });
  }
  executor.shutdown({.wait = false, .cancel_futures = true});
  CHECK(calls == 20);
}

TEST_CASE("a pool that breaks runs the callbacks of what it fails") {
  Gate go_on;
  support::Counter failures;
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = [&go_on] {
                                 go_on.wait();
                                 throw std::runtime_error("no");
                               }});
  const support::OpenAtExit opened(go_on);
  for (int i = 0; i < 5; ++i) {
    executor.submit([] {}).add_done_callback([&failures](const Future<void>& done) {
      if (done.exception() != nullptr) failures.add();
    });
  }
  go_on.open();
  failures.reached(5);
  CHECK(failures.value() == 5);
}

TEST_CASE("futures of references and of nothing call back too") {
  Gate go_on;
  int number = 3;
  int* seen = nullptr;
  bool was_called = false;
  {
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    executor
        .submit([&]() -> int& {
          go_on.wait();
          return number;
        })
        .add_done_callback([&seen](const Future<int&>& done) { seen = &done.result(); });
    executor.submit([] {}).add_done_callback([&](Future<void>) { was_called = true; });
  }
  CHECK(seen == &number);
  CHECK(was_called);
}

TEST_CASE("a callback may take the result away from all handles") {
  Promise<std::string> promise;
  const auto future = promise.future();
  std::string taken;
  future.add_done_callback([&taken](Future<std::string> done) { taken = done.get(); });
  promise.set_result("once");
  CHECK(taken == "once");
  CHECK(future.done());
  CHECK_THROWS_AS(future.result(), concurrent::InvalidStateError);
}

TEST_CASE("a callable that does not take the future is no callback") {
  const auto takes = []<class F>(F) {
    return requires(const Future<int>& future, F f) { future.add_done_callback(f); };
  };
  CHECK(takes([](const Future<int>&) {}));
  CHECK(takes([](Future<int>) mutable {}));
  CHECK_FALSE(takes([] {}));
  CHECK_FALSE(takes([](const Future<std::string>&) {}));
}
