// SPDX-License-Identifier: MIT
//
// What Python promises of Executor.submit(), and of an executor in general.

#include <concurrent/executor.hpp>

#include <climits>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "support/catch.hpp"
#include "support/gate.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;

namespace {

int power(int base, int exponent) {
  int result = 1;
  for (int i = 0; i < exponent; ++i) { result *= base; }
  return result;
}

struct Account {
  int balance = 0;
  int deposit(int amount) {
    balance += amount;
    return balance;
  }
};

template <class... Args>
concept CanSubmitPower =
    requires(ThreadPoolExecutor& pool, Args... args) { pool.submit(power, args...); };

}  // namespace

TEST_CASE("submit() calls the callable with its arguments and its result reaches result()",
          "[executor]") {
  ThreadPoolExecutor pool(2);
  Future<int> future = pool.submit(power, 2, 8);
  REQUIRE(future.result() == 256);
}

TEST_CASE("submit() runs the callable on a thread of the executor, not in the caller",
          "[executor]") {
  ThreadPoolExecutor pool(1);
  const std::thread::id first = pool.submit(std::this_thread::get_id).result();
  const std::thread::id second = pool.submit(std::this_thread::get_id).result();
  REQUIRE(first != std::this_thread::get_id());
  REQUIRE(first == second);
}

TEST_CASE("submit() takes free functions, lambdas, function objects and member functions",
          "[executor]") {
  ThreadPoolExecutor pool(1);
  Account account{.balance = 10};
  REQUIRE(pool.submit(power, 3, 2).result() == 9);
  REQUIRE(pool.submit([](int a, int b) { return a - b; }, 5, 3).result() == 2);
  REQUIRE(pool.submit(std::plus<>{}, 20, 22).result() == 42);
  REQUIRE(pool.submit(&Account::deposit, &account, 5).result() == 15);
  REQUIRE(account.balance == 15);
}

TEST_CASE("submit() copies its arguments unless std::ref says otherwise", "[executor]") {
  ThreadPoolExecutor pool(1);
  auto increment = [](int& value) { return ++value; };
  int referred = 1;
  REQUIRE(pool.submit(increment, std::ref(referred)).result() == 2);
  REQUIRE(referred == 2);
  int copied = 1;
  REQUIRE(pool.submit([](int&& value) { return ++value; }, copied).result() == 2);
  REQUIRE(copied == 1);
}

TEST_CASE("submit() moves what can only be moved, in and out", "[executor]") {
  ThreadPoolExecutor pool(1);
  auto future =
      pool.submit([](std::unique_ptr<int> value) { return value; }, std::make_unique<int>(7));
  REQUIRE(*future.result() == 7);
  REQUIRE(*future.get() == 7);
}

TEST_CASE("submit() with the wrong number or kind of arguments does not compile", "[executor]") {
  STATIC_REQUIRE(CanSubmitPower<int, int>);
  STATIC_REQUIRE_FALSE(CanSubmitPower<int>);
  STATIC_REQUIRE_FALSE(CanSubmitPower<int, int, int>);
  STATIC_REQUIRE_FALSE(CanSubmitPower<int, std::string>);
}

TEST_CASE("submit() returns at once, before the task has run", "[executor]") {
  Gate gate;
  ThreadPoolExecutor pool(1);
  const support::OpenAtExit opener(gate);
  Future<int> future = pool.submit([&gate] {
    gate.wait();
    return 1;
  });
  REQUIRE_FALSE(future.done());
  gate.open();
  REQUIRE(future.result() == 1);
}

TEST_CASE("An executor runs up to max_workers calls at the same time", "[executor]") {
  // Each task can end only when the other has begun.
  Gate first;
  Gate second;
  ThreadPoolExecutor pool(2);
  auto a = pool.submit([&] {
    first.open();
    second.wait();
    return 1;
  });
  auto b = pool.submit([&] {
    second.open();
    first.wait();
    return 2;
  });
  REQUIRE(a.result() == 1);
  REQUIRE(b.result() == 2);
}

TEST_CASE("An executor of one worker runs its tasks in the order of submission", "[executor]") {
  std::string order;
  {
    Gate gate;
    ThreadPoolExecutor pool(1);
    pool.submit([&gate] { gate.wait(); });
    for (char c = 'a'; c <= 'z'; ++c) {
      pool.submit([&order, c] { order += c; });
    }
    gate.open();
  }
  REQUIRE(order == "abcdefghijklmnopqrstuvwxyz");
}

TEST_CASE("A future may be dropped and its task still runs", "[executor]") {
  bool has_run = false;
  {
    ThreadPoolExecutor pool(1);
    pool.submit([&has_run] { has_run = true; });
  }
  REQUIRE(has_run);
}

TEST_CASE("The exception of a task leaves result(), and the worker lives on", "[executor]") {
  ThreadPoolExecutor pool(1);
  const auto worker = pool.submit(std::this_thread::get_id).result();
  auto failing = pool.submit([]() -> int { throw std::out_of_range("index 7 of 5"); });
  REQUIRE_THROWS_AS(failing.result(), std::out_of_range);
  REQUIRE(pool.submit(std::this_thread::get_id).result() == worker);
  REQUIRE(pool.worker_count() == 1);
}

TEST_CASE("max_workers must be greater than zero", "[executor]") {
  REQUIRE_THROWS_AS(ThreadPoolExecutor(0), std::invalid_argument);
  REQUIRE_THROWS_AS(ThreadPoolExecutor(-1), std::invalid_argument);
  REQUIRE_THROWS_AS(ThreadPoolExecutor(INT_MIN), std::invalid_argument);
  REQUIRE_THROWS_AS(ThreadPoolExecutor(LLONG_MAX), std::invalid_argument);
  REQUIRE_THROWS_AS(ThreadPoolExecutor({.max_workers = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(ThreadPoolExecutor({.max_workers = -5}), std::invalid_argument);
}

TEST_CASE("An executor can be neither copied nor moved", "[executor]") {
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<ThreadPoolExecutor>);
  STATIC_REQUIRE_FALSE(std::is_move_assignable_v<ThreadPoolExecutor>);
}
