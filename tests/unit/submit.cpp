// SPDX-License-Identifier: MIT
// submit: how callables and arguments travel to the worker. What it returns is in results.cpp.
#include <concurrent/executor.hpp>
#include <cstddef>
#include <functional>
#include <memory>
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

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Counted;
using support::Counts;

template <class... Args>
concept can_submit = requires(ThreadPoolExecutor& executor, Args&&... args) {
  executor.submit(std::forward<Args>(args)...);
};

int free_function(int a, int b) { return a * b; }

struct Account {
  int balance = 0;
  int add(int amount) { return balance += amount; }
  int read() const { return balance; }
};

struct MoveOnlyCallable {
  std::unique_ptr<int> held;
  int operator()() { return *held; }
};

struct RvalueOnly {
  int operator()() && { return 1; }
};

struct LvalueOnly {
  int operator()() & { return 1; }
};

struct Overloaded {
  std::string operator()() & { return "lvalue"; }
  std::string operator()() && { return "rvalue"; }
};

struct ThrowsWhenCopied {
  ThrowsWhenCopied() = default;
  ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::domain_error("copied"); }
  int operator()() const { return 1; }
};

struct CopyOnly {
  explicit CopyOnly(int start) : value(start) {}
  CopyOnly(const CopyOnly& other) : value(other.value) {}
  int operator()() const { return value; }
  int value;
};

}  // namespace

TEST_CASE("submit runs the callable with its arguments on a worker") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit(free_function, 6, 7).result() == 42);
  CHECK(executor.submit(&free_function, 6, 8).result() == 48);
  CHECK(executor.submit(std::plus<>{}, 20, 22).result() == 42);
  CHECK(executor.submit([] { return std::this_thread::get_id(); }).result() !=
        std::this_thread::get_id());
}

TEST_CASE("submit calls member functions and reads data members, as std::invoke does") {
  ThreadPoolExecutor executor(1);
  Account account{10};
  CHECK(executor.submit(&Account::add, &account, 5).result() == 15);
  CHECK(account.balance == 15);
  CHECK(executor.submit(&Account::add, std::ref(account), 5).result() == 20);
  CHECK(account.balance == 20);
  CHECK(executor.submit(&Account::add, account, 5).result() == 25);
  CHECK(account.balance == 20);
  CHECK(executor.submit(&Account::read, std::make_shared<Account>(Account{3})).result() == 3);
  CHECK(executor.submit(&Account::balance, &account).result() == 20);
}

TEST_CASE("arguments are decayed: arrays become pointers, references become copies") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  int number = 1;
  const int constant = 1;
  std::string text = "before";
  const auto seen = executor.submit(
      [](auto literal, auto copied, auto plain, auto unconst) {
        static_assert(std::is_same_v<decltype(literal), const char*>);
        static_assert(std::is_same_v<decltype(copied), std::string>);
        static_assert(std::is_same_v<decltype(plain), int>);
        static_assert(std::is_same_v<decltype(unconst), int>);
        return literal + copied + std::to_string(plain + unconst);
      },
      "a literal, ", text, number, constant);
  text = "after";
  number = 100;
  busy.release();
  CHECK(seen.result() == "a literal, before2");
}

TEST_CASE("arguments reach the callable as rvalues, and std::ref ones as references") {
  ThreadPoolExecutor executor(1);
  int number = 1;
  executor
      .submit([](int&& copied, int& referred) { referred = copied + 41; }, number, std::ref(number))
      .result();
  CHECK(number == 42);

  STATIC_REQUIRE_FALSE(can_submit<void (*)(int&), int&>);
  STATIC_REQUIRE(can_submit<void (*)(int&), std::reference_wrapper<int>>);
  STATIC_REQUIRE(can_submit<void (*)(const int&), int&>);
}

TEST_CASE("move-only callables and arguments are moved") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit(MoveOnlyCallable{std::make_unique<int>(4)}).result() == 4);
  CHECK(executor.submit([](std::unique_ptr<int> held) { return *held; }, std::make_unique<int>(5))
            .result() == 5);
  MoveOnlyCallable named{std::make_unique<int>(6)};
  CHECK(executor.submit(std::move(named)).result() == 6);
  CHECK(named.held == nullptr);
}

TEST_CASE("an lvalue callable or argument is copied once, an rvalue never") {
  Counts counts;
  ThreadPoolExecutor executor(1);
  const Counted callable(counts, 3);
  Counted argument(counts, 4);
  const auto read = [](Counted&& received) { return received.value(); };

  CHECK(executor.submit(callable).result() == 3);
  CHECK(counts.copies == 1);
  CHECK(executor.submit(read, argument).result() == 4);
  CHECK(counts.copies == 2);
  CHECK(executor.submit(read, std::move(argument)).result() == 4);
  CHECK(executor.submit(Counted(counts, 5)).result() == 5);
  CHECK(executor.submit(read, Counted(counts, 6)).result() == 6);
  CHECK(counts.copies == 2);
  CHECK(counts.alive == 2);
}

TEST_CASE("the callable is called as an rvalue, once") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit(RvalueOnly{}).result() == 1);
  CHECK(executor.submit(Overloaded{}).result() == "rvalue");
  Overloaded named;
  CHECK(executor.submit(named).result() == "rvalue");
  STATIC_REQUIRE_FALSE(can_submit<LvalueOnly>);
}

TEST_CASE("one callable may be submitted a thousand times") {
  ThreadPoolExecutor executor(2);
  const std::function<int(int)> square = [](int x) { return x * x; };
  std::vector<Future<int>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(executor.submit(square, i));
  int wrong = 0;
  for (int i = 0; i < 1000; ++i) wrong += futures[static_cast<std::size_t>(i)].result() != i * i;
  CHECK(wrong == 0);
}

TEST_CASE("a callable that can be copied only is copied") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit(CopyOnly(8)).result() == 8);
  CHECK(executor.submit([](CopyOnly copied) { return copied.value; }, CopyOnly(9)).result() == 9);
}

TEST_CASE("what cannot be called with the decayed arguments is rejected in the signature") {
  STATIC_REQUIRE(can_submit<int (*)(int, int), int, int>);
  STATIC_REQUIRE_FALSE(can_submit<int (*)(int, int), int>);
  STATIC_REQUIRE_FALSE(can_submit<int (*)(int, int), int, int, int>);
  STATIC_REQUIRE_FALSE(can_submit<int (*)(int), std::string>);
  STATIC_REQUIRE_FALSE(can_submit<int>);
  STATIC_REQUIRE_FALSE(can_submit<>);
  STATIC_REQUIRE_FALSE(can_submit<MoveOnlyCallable&>);
  STATIC_REQUIRE(can_submit<MoveOnlyCallable>);
  STATIC_REQUIRE_FALSE(can_submit<void (*)(std::unique_ptr<int>), std::unique_ptr<int>&>);
  STATIC_REQUIRE_FALSE(can_submit<int (Account::*)(int), Account*>);
}

TEST_CASE("callable and arguments are destroyed before the future is done") {
  ThreadPoolExecutor executor(1);
  for (const bool fails : {false, true}) {
    auto captured = std::make_shared<int>(1);
    auto argument = std::make_shared<int>(2);
    const std::weak_ptr<int> watch_captured = captured;
    const std::weak_ptr<int> watch_argument = argument;
    const auto future = executor.submit(
        [fails, held = std::move(captured)](const std::shared_ptr<int>& received) {
          if (fails) throw std::runtime_error("on purpose");
          return *held + *received;
        },
        std::move(argument));
    CHECK((future.exception() != nullptr) == fails);
    CHECK(watch_captured.expired());
    CHECK(watch_argument.expired());
  }
}

TEST_CASE("a submit that throws while copying has scheduled nothing") {
  Counts counts;
  ThreadPoolExecutor executor(2);
  const ThrowsWhenCopied bad;
  bool ran = false;
  CHECK_THROWS_AS(executor.submit(bad), std::domain_error);
  CHECK_THROWS_AS(executor.submit([&ran](const Counted&, const ThrowsWhenCopied&) { ran = true; },
                                  Counted(counts), bad),
                  std::domain_error);
  CHECK(counts.alive == 0);
  CHECK(executor.worker_count() == 0);
  CHECK(executor.submit([] { return 1; }).result() == 1);
  executor.shutdown();
  CHECK_FALSE(ran);
}

TEST_CASE("an exception from a decayed argument's conversion in the task goes to the future") {
  struct Source {};
  struct Target {
    explicit(false) Target(Source) { throw std::domain_error("converted"); }
  };
  ThreadPoolExecutor executor(1);
  const auto future = executor.submit([](Target) {}, Source{});
  CHECK_THROWS_AS(future.result(), std::domain_error);
}

TEST_CASE("an empty std::function fails in the task") {
  ThreadPoolExecutor executor(1);
  CHECK_THROWS_AS(executor.submit(std::function<void()>()).result(), std::bad_function_call);
}

TEST_CASE(
    "what the submitter wrote before is seen by the task, and the task's writes by the waiter") {
  ThreadPoolExecutor executor(2);
  std::vector<int> numbers(1000, 1);
  executor
      .submit([&numbers] {
        for (int& number : numbers) ++number;
      })
      .wait();
  CHECK(numbers == std::vector<int>(1000, 2));
}

TEST_CASE("many threads may submit to one executor at once") {
  constexpr int kThreads = 4;
  static constexpr int kEach = 500;
  support::Barrier barrier(kThreads);
  ThreadPoolExecutor executor(2);
  std::vector<std::vector<Future<int>>> futures(kThreads);
  std::vector<std::thread> submitters;
  for (int t = 0; t < kThreads; ++t) {
    submitters.emplace_back([&, t] {
      barrier.arrive_and_wait();
      for (int i = 0; i < kEach; ++i) {
        futures[static_cast<std::size_t>(t)].push_back(
            executor.submit([t, i] { return t * kEach + i; }));
      }
    });
  }
  for (auto& submitter : submitters) submitter.join();
  int expected = 0;
  int wrong = 0;
  for (const auto& row : futures) {
    for (const auto& future : row) wrong += future.result() != expected++;
  }
  CHECK(wrong == 0);
  CHECK(expected == kThreads * kEach);
}
