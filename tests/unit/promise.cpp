// SPDX-License-Identifier: MIT
// Promise: a future that somebody completes by his own means.
#include <chrono>
#include <concurrent/executor.hpp>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::Future;
using concurrent::InvalidStateError;
using concurrent::Promise;

static_assert(!std::is_copy_constructible_v<Promise<int>>);
static_assert(!std::is_copy_assignable_v<Promise<int>>);
static_assert(std::is_nothrow_move_constructible_v<Promise<int>>);
static_assert(std::is_nothrow_move_assignable_v<Promise<int>>);
static_assert(std::is_default_constructible_v<Promise<void>>);

std::exception_ptr an_error(const char* text = "test") {
  return std::make_exception_ptr(std::domain_error(text));
}

}  // namespace

TEST_CASE("a promise is pending until it is kept, and done then") {
  Promise<int> promise;
  const auto future = promise.future();
  CHECK(future.valid());
  CHECK_FALSE(future.done());
  CHECK_FALSE(future.running());
  CHECK(future.wait_for(std::chrono::seconds(0)) == std::future_status::timeout);
  CHECK_THROWS_AS(future.result(std::chrono::milliseconds(1)), concurrent::TimeoutError);
  promise.set_result(5);
  CHECK(future.done());
  CHECK(future.result() == 5);
  CHECK(future.exception() == nullptr);
}

TEST_CASE("future() of a promise may be repeated and gives handles on one future") {
  Promise<int> promise;
  const auto future = promise.future();
  CHECK(promise.future() == future);
  promise.set_result(5);
  CHECK(promise.future() == future);
  CHECK(promise.future().result() == 5);
}

TEST_CASE("set_running_or_notify_cancel() makes a promise run, and cancel() too late") {
  Promise<int> promise;
  const auto future = promise.future();
  CHECK(promise.set_running_or_notify_cancel());
  CHECK(future.running());
  CHECK_FALSE(future.done());
  CHECK_FALSE(future.cancel());
  CHECK_FALSE(future.request_stop());
  promise.set_result(5);
  CHECK_FALSE(future.running());
  CHECK(future.result() == 5);
}

TEST_CASE("set_running_or_notify_cancel() is false if the future was cancelled") {
  Promise<int> promise;
  const auto future = promise.future();
  CHECK(future.cancel());
  CHECK(future.cancelled());
  CHECK(future.done());
  CHECK_FALSE(promise.set_running_or_notify_cancel());
  CHECK_FALSE(promise.set_running_or_notify_cancel());
  CHECK_THROWS_AS(future.result(), concurrent::CancelledError);
}

TEST_CASE("request_stop() cancels a promise that is pending") {
  Promise<int> promise;
  CHECK(promise.future().request_stop());
  CHECK(promise.future().cancelled());
}

TEST_CASE("a promise that runs, or is final, cannot be set running") {
  Promise<int> running;
  running.set_running_or_notify_cancel();
  CHECK_THROWS_AS(running.set_running_or_notify_cancel(), InvalidStateError);
  Promise<int> kept;
  kept.set_result(1);
  CHECK_THROWS_AS(kept.set_running_or_notify_cancel(), InvalidStateError);
  CHECK(kept.future().result() == 1);
}

TEST_CASE("a second result is refused, and the first one stays") {
  Promise<int> promise;
  promise.set_result(1);
  CHECK_THROWS_AS(promise.set_result(2), InvalidStateError);
  CHECK_THROWS_AS(promise.set_exception(an_error()), InvalidStateError);
  CHECK(promise.future().result() == 1);
  CHECK(promise.future().exception() == nullptr);
}

TEST_CASE("a second exception is refused, and the first one stays") {
  Promise<int> promise;
  promise.set_exception(an_error("first"));
  CHECK_THROWS_AS(promise.set_exception(an_error("second")), InvalidStateError);
  CHECK_THROWS_AS(promise.set_result(2), InvalidStateError);
  CHECK_THROWS_WITH(promise.future().result(), "first");
}

TEST_CASE("a cancelled promise takes no outcome") {
  Promise<int> promise;
  promise.future().cancel();
  CHECK_THROWS_AS(promise.set_result(1), InvalidStateError);
  CHECK_THROWS_AS(promise.set_exception(an_error()), InvalidStateError);
  CHECK(promise.future().cancelled());
}

TEST_CASE("cancel() of a promise that was kept is false and changes nothing") {
  Promise<int> promise;
  promise.set_result(1);
  CHECK_FALSE(promise.future().cancel());
  CHECK(promise.future().result() == 1);
}

TEST_CASE("a promise that is dropped unkept completes with BrokenPromise") {
  auto pending = std::make_unique<Promise<int>>();
  const auto future = pending->future();
  pending.reset();
  CHECK(future.done());
  CHECK_FALSE(future.cancelled());
  CHECK_THROWS_AS(future.result(), concurrent::BrokenPromise);
  auto running = std::make_unique<Promise<void>>();
  running->set_running_or_notify_cancel();
  const auto second = running->future();
  running.reset();
  CHECK_THROWS_AS(second.result(), concurrent::BrokenPromise);
}

TEST_CASE("a promise that is dropped after its outcome leaves it alone") {
  auto kept = std::make_unique<Promise<int>>();
  auto cancelled = std::make_unique<Promise<int>>();
  const auto value = kept->future();
  const auto nothing = cancelled->future();
  kept->set_result(5);
  nothing.cancel();
  kept.reset();
  cancelled.reset();
  CHECK(value.result() == 5);
  CHECK(nothing.cancelled());
}

TEST_CASE("a moved promise keeps its future, and the moved-from one is empty") {
  Promise<int> first;
  const auto future = first.future();
  Promise<int> second(std::move(first));
  CHECK_FALSE(future.done());
  CHECK_THROWS_AS(first.future(), InvalidStateError);
  CHECK_THROWS_AS(first.set_result(1), InvalidStateError);
  CHECK_THROWS_AS(first.set_exception(an_error()), InvalidStateError);
  CHECK_THROWS_AS(first.set_running_or_notify_cancel(), InvalidStateError);
  second.set_result(5);
  CHECK(future.result() == 5);
}

TEST_CASE("assignment over an unkept promise breaks it") {
  Promise<int> promise;
  const auto broken = promise.future();
  Promise<int> other;
  const auto future = other.future();
  promise = std::move(other);
  CHECK_THROWS_AS(broken.result(), concurrent::BrokenPromise);
  CHECK_FALSE(future.done());
  promise.set_result(5);
  CHECK(future.result() == 5);
}

TEST_CASE("promises of nothing, of references and of move-only values are kept") {
  Promise<void> nothing;
  nothing.set_result();
  CHECK_NOTHROW(nothing.future().result());
  int number = 1;
  Promise<int&> reference;
  reference.set_result(number);
  CHECK(&reference.future().result() == &number);
  Promise<std::unique_ptr<int>> owner;
  owner.set_result(std::make_unique<int>(3));
  CHECK(*owner.future().get() == 3);
  CHECK_THROWS_AS(owner.future().result(), InvalidStateError);
}

TEST_CASE("a set_result() whose value cannot be moved leaves the promise unkept") {
  struct Fragile {
    explicit Fragile(int& copies_left) : left(&copies_left) {}
    Fragile(const Fragile& other) : left(other.left) {
      if (--*left == 0) throw std::runtime_error("no move");
    }
    int* left;
  };
  Promise<Fragile> promise;
  bool is_kept = false;
  // Whichever of the moves on its way it is that throws.
  for (int at = 1; at < 10 && !is_kept; ++at) {
    int left = at;
    try {
      promise.set_result(Fragile(left));
      is_kept = true;
    } catch (const std::runtime_error&) { CHECK_FALSE(promise.future().done()); }
  }
  CHECK(is_kept);
  CHECK(promise.future().done());
}

TEST_CASE("the value of a promise lives as long as a handle, and is destroyed once") {
  support::Counts counts;
  Future<support::Counted> future;
  {
    Promise<support::Counted> promise;
    future = promise.future();
    promise.set_result(support::Counted(counts, 7));
  }
  CHECK(counts.alive.load() == 1);
  CHECK(counts.copies.load() == 0);
  CHECK(future.result().value() == 7);
  future = {};
  CHECK(counts.alive.load() == 0);
}

TEST_CASE("set_result() and set_exception() wake who waits") {
  for (const bool fails : {false, true}) {
    Promise<int> promise;
    support::Gate go_on;
    std::thread keeper([&] {
      go_on.wait();
      if (fails) {
        promise.set_exception(an_error());
      } else {
        promise.set_result(5);
      }
    });
    {
      const support::OpenOnceAsleep opener(go_on);
      const auto error = promise.future().exception(std::chrono::minutes(1));
      CHECK((error != nullptr) == fails);
    }
    keeper.join();
  }
}

TEST_CASE("cancel() of a promise wakes who waits") {
  Promise<int> promise;
  support::Gate go_on;
  std::thread canceller([&] {
    go_on.wait();
    promise.future().cancel();
  });
  {
    const support::OpenOnceAsleep opener(go_on);
    CHECK_THROWS_AS(promise.future().result(), concurrent::CancelledError);
  }
  canceller.join();
}

TEST_CASE("the callbacks of a promise run in the thread that keeps it, before that returns") {
  Promise<int> promise;
  std::vector<int> seen;
  std::thread::id caller;
  promise.future().add_done_callback([&](const Future<int>& done) {
    seen.push_back(done.result());
    caller = std::this_thread::get_id();
  });
  promise.future().add_done_callback([&](const Future<int>&) { seen.push_back(2); });
  promise.set_result(1);
  CHECK(seen == std::vector<int>{1, 2});
  CHECK(caller == std::this_thread::get_id());
}

TEST_CASE("a callback may drop the promise that is being kept") {
  auto promise = std::make_unique<Promise<int>>();
  const auto future = promise->future();
  future.add_done_callback([&](auto) { promise.reset(); });
  promise->set_result(5);
  CHECK(promise == nullptr);
  CHECK(future.result() == 5);
}

TEST_CASE("what a thread wrote before it kept a promise is there for who waits for it") {
  std::string text;
  Promise<void> promise;
  std::thread keeper([&] {
    text = "written before";
    promise.set_result();
  });
  promise.future().wait();
  CHECK(text == "written before");
  keeper.join();
}
