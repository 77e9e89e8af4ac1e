// SPDX-License-Identifier: MIT
// post: tasks without a future.
#include <concurrent/executor.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"

namespace {

using concurrent::ThreadPoolExecutor;

template <class... Args>
concept can_post = requires(ThreadPoolExecutor& executor, Args&&... args) {
  executor.post(std::forward<Args>(args)...);
};

/// Collects the exceptions that reach the handler during its life.
class Caught {
 public:
  Caught()
      : former_(concurrent::set_unhandled_exception_handler([this](std::exception_ptr error) {
          const std::lock_guard lock(mutex_);
          errors_.push_back(std::move(error));
        })) {}
  Caught(const Caught&) = delete;
  Caught& operator=(const Caught&) = delete;
  ~Caught() { concurrent::set_unhandled_exception_handler(std::move(former_)); }

  std::vector<std::exception_ptr> errors() const {
    const std::lock_guard lock(mutex_);
    return errors_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::exception_ptr> errors_;  // guarded by mutex_
  std::function<void(std::exception_ptr)> former_;
};

}  // namespace

TEST_CASE("post runs the callable with its decayed arguments and returns nothing") {
  std::string seen;
  {
    ThreadPoolExecutor executor(1);
    std::string text = "text";
    support::BusyWorker busy(executor);
    executor.post([&seen](const std::string& copied,
                          std::unique_ptr<int> number) { seen = copied + std::to_string(*number); },
                  text, std::make_unique<int>(3));
    text = "changed";
    STATIC_REQUIRE(std::is_void_v<decltype(executor.post([] { return 1; }))>);
  }
  CHECK(seen == "text3");
}

TEST_CASE("post rejects in its signature what it cannot call") {
  STATIC_REQUIRE(can_post<void (*)(int), int>);
  STATIC_REQUIRE_FALSE(can_post<void (*)(int)>);
  STATIC_REQUIRE_FALSE(can_post<void (*)(int&), int>);
  STATIC_REQUIRE_FALSE(can_post<int>);
  STATIC_REQUIRE_FALSE(can_post<>);
}

TEST_CASE("what a posted task throws goes to the handler, and its worker lives on") {
  const Caught caught;
  std::vector<std::thread::id> workers;
  {
    ThreadPoolExecutor executor(1);
    executor.post([&] {
      workers.push_back(std::this_thread::get_id());
      throw std::runtime_error("first");
    });
    executor.post([&] {
      workers.push_back(std::this_thread::get_id());
      throw 2;
    });
    executor.post([&] { workers.push_back(std::this_thread::get_id()); });
    executor.shutdown();
    CHECK(executor.worker_count() <= 1);
  }
  CHECK(workers == std::vector<std::thread::id>(3, workers.front()));
  const auto errors = caught.errors();
  REQUIRE(errors.size() == 2);
  CHECK_THROWS_AS(std::rethrow_exception(errors[0]), std::runtime_error);
  CHECK_THROWS_AS(std::rethrow_exception(errors[1]), int);
}

TEST_CASE("what a submitted task throws does not reach the handler") {
  const Caught caught;
  {
    ThreadPoolExecutor executor(1);
    executor.submit([] { throw std::runtime_error("in the future"); });
  }
  CHECK(caught.errors().empty());
}

TEST_CASE("cancel_futures drops posted tasks silently") {
  const Caught caught;
  support::Counts counts;
  bool ran = false;
  {
    ThreadPoolExecutor executor(1);
    support::BusyWorker busy(executor);
    for (int i = 0; i < 10; ++i) {
      executor.post([&ran, held = support::Counted(counts)] {
        ran = true;
        throw 1;
      });
    }
    CHECK(counts.alive == 10);
    executor.shutdown({.wait = false, .cancel_futures = true});
  }
  CHECK_FALSE(ran);
  CHECK(counts.alive == 0);
  CHECK(caught.errors().empty());
}

TEST_CASE("a posted callable is copied as often as a submitted one, and destroyed after its run") {
  support::Counts counts;
  {
    ThreadPoolExecutor executor(1);
    const support::Counted callable(counts);
    executor.post(callable);
    CHECK(counts.copies == 1);
    executor.post(support::Counted(counts));
    executor.shutdown();
    CHECK(counts.copies == 1);
    CHECK(counts.alive == 1);
  }
}

TEST_CASE("a post that throws while copying has scheduled nothing") {
  struct ThrowsWhenCopied {
    ThrowsWhenCopied() = default;
    ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::domain_error("copied"); }
    void operator()() const {}
  };
  ThreadPoolExecutor executor(1);
  const ThrowsWhenCopied bad;
  CHECK_THROWS_AS(executor.post(bad), std::domain_error);
  CHECK(executor.worker_count() == 0);
}

TEST_CASE("a task may post") {
  support::Counter leaves;
  ThreadPoolExecutor executor(2);
  for (int i = 0; i < 100; ++i) {
    executor.post([&] { executor.post([&] { executor.post([&leaves] { leaves.add(); }); }); });
  }
  leaves.reached(100);
  executor.shutdown();
  CHECK(leaves.value() == 100);
}

TEST_CASE("a post after shutdown is a ShutdownError") {
  ThreadPoolExecutor executor(1);
  executor.shutdown();
  CHECK_THROWS_AS(executor.post([] {}), concurrent::ShutdownError);
}

TEST_CASE("posted tasks of one worker run in the order they were posted in, with submitted ones") {
  std::vector<int> order;
  {
    ThreadPoolExecutor executor(1);
    for (int i = 0; i < 500; i += 2) {
      executor.post([&order, i] { order.push_back(i); });
      executor.submit([&order, i] { order.push_back(i + 1); });
    }
  }
  std::vector<int> expected;
  for (int i = 0; i < 500; ++i) expected.push_back(i);
  CHECK(order == expected);
}
