// SPDX-License-Identifier: MIT
// What std::thread promises, the pool keeps: the same cases, run against thirty lines that start
// one std::thread per task, and against the library.
#include <concurrent/executor.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"

namespace {

/// One thread per task, the exception carried by hand.
class PlainThreads {
 public:
  template <class Result> struct Task {
    std::conditional_t<std::is_void_v<Result>, std::optional<int>, std::optional<Result>> value;
    std::exception_ptr error;
    std::thread thread;

    Result result() {
      if (thread.joinable()) thread.join();
      if (error) std::rethrow_exception(error);
      if constexpr (!std::is_void_v<Result>) return std::move(*value);
    }
  };

  template <class F, class... Args> auto submit(F&& function, Args&&... args) {
    using Result = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;
    auto task = std::make_shared<Task<Result>>();
    task->thread = std::thread(
        [task = task.get()](auto callable, auto&&... taken) {
          try {
            if constexpr (std::is_void_v<Result>) {
              std::invoke(std::move(callable), std::move(taken)...);
            } else {
              task->value.emplace(std::invoke(std::move(callable), std::move(taken)...));
            }
          } catch (...) { task->error = std::current_exception(); }
        },
        std::forward<F>(function), std::forward<Args>(args)...);
    joins_.push_back([task] {
      if (task->thread.joinable()) task->thread.join();
    });
    return Handle<Result>{task};
  }

  ~PlainThreads() {
    for (const auto& join : joins_) join();
  }

 private:
  template <class Result> struct Handle {
    std::shared_ptr<Task<Result>> task;
    Result result() const { return task->result(); }
  };

  std::vector<std::function<void()>> joins_;
};

using Both = std::tuple<PlainThreads, concurrent::ThreadPoolExecutor>;

}  // namespace

TEMPLATE_LIST_TEST_CASE("std::thread's rules: a task runs in another thread", "", Both) {
  TestType threads;
  CHECK(threads.submit([] { return std::this_thread::get_id(); }).result() !=
        std::this_thread::get_id());
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: arguments are copies, made before submit returns", "",
                        Both) {
  support::Gate gate;
  TestType threads;
  int number = 1;
  std::string text = "before";
  auto task = threads.submit(
      [&gate](int copied, const std::string& word) {
        gate.wait();
        return word + std::to_string(copied);
      },
      number, text);
  number = 2;
  text = "after";
  gate.open();
  CHECK(task.result() == "before1");
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: arrays and functions decay to pointers", "", Both) {
  TestType threads;
  auto task = threads.submit(
      [](auto text, auto function) {
        static_assert(std::is_same_v<decltype(text), const char*>);
        static_assert(std::is_pointer_v<decltype(function)>);
        return std::string(text) + function(7);
      },
      "seven is ", static_cast<std::string (&)(int)>(std::to_string));
  CHECK(task.result() == "seven is 7");
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: std::ref passes the object itself", "", Both) {
  TestType threads;
  int number = 1;
  threads.submit([](int& referred) { referred = 42; }, std::ref(number)).result();
  CHECK(number == 42);
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: arguments arrive as rvalues", "", Both) {
  TestType threads;
  const std::string text = "text";
  CHECK(threads.submit([](std::string&& taken) { return std::move(taken); }, text).result() ==
        "text");
  CHECK(threads.submit([](std::unique_ptr<int> taken) { return *taken; }, std::make_unique<int>(3))
            .result() == 3);
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: pointers to members are called on objects", "",
                        Both) {
  struct Account {
    int balance = 0;
    int add(int amount) { return balance += amount; }
  };
  TestType threads;
  Account account{1};
  CHECK(threads.submit(&Account::add, &account, 2).result() == 3);
  CHECK(threads.submit(&Account::add, std::ref(account), 2).result() == 5);
  CHECK(threads.submit(&Account::add, account, 2).result() == 7);
  CHECK(account.balance == 5);
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: a callable may be move-only and change itself", "",
                        Both) {
  TestType threads;
  auto task = threads.submit([held = std::make_unique<int>(1)]() mutable {
    ++*held;
    return std::move(held);
  });
  CHECK(*std::move(task).result() == 2);
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: the task sees what was written before", "", Both) {
  std::vector<int> numbers(100, 1);
  TestType threads;
  numbers.assign(100, 2);
  CHECK(threads.submit([&numbers] { return numbers; }).result() == std::vector<int>(100, 2));
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: who has waited sees what the task wrote", "", Both) {
  std::vector<int> numbers(100, 1);
  TestType threads;
  threads.submit([&numbers] { numbers.assign(100, 3); }).result();
  CHECK(numbers == std::vector<int>(100, 3));
}

TEMPLATE_LIST_TEST_CASE("beside std::thread: exceptions arrive with their type", "", Both) {
  struct Custom {
    int code;
  };
  TestType threads;
  CHECK_THROWS_AS(threads.submit([]() -> int { throw std::domain_error("typed"); }).result(),
                  std::domain_error);
  CHECK_THROWS_AS(threads.submit([] { throw 5; }).result(), int);
  int code = 0;
  try {
    threads.submit([] { throw Custom{9}; }).result();
  } catch (const Custom& error) { code = error.code; }
  CHECK(code == 9);
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: the end of the scope joins all tasks", "", Both) {
  std::vector<int> written(20);
  {
    TestType threads;
    for (std::size_t i = 0; i < written.size(); ++i) {
      threads.submit([&written, i] { written[i] = 1; });
    }
  }
  CHECK(written == std::vector<int>(20, 1));
}

TEMPLATE_LIST_TEST_CASE("std::thread's rules: callable and arguments are gone after the join", "",
                        Both) {
  support::Counts counts;
  {
    TestType threads;
    auto task = threads.submit(
        [held = support::Counted(counts, 2)](const support::Counted& argument) {
          return held.value() + argument.value();
        },
        support::Counted(counts, 3));
    CHECK(task.result() == 5);
    CHECK(counts.alive == 0);
    CHECK(counts.copies == 0);
  }
}

TEMPLATE_LIST_TEST_CASE("beside std::thread: a task may start further tasks", "", Both) {
  int sum = 0;
  {
    TestType outer;
    outer.submit([&sum] {
      TestType inner;
      auto task = inner.submit([] { return 3; });
      sum = task.result();
    });
  }
  CHECK(sum == 3);
}
