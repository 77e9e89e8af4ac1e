// SPDX-License-Identifier: MIT
// submit: the type of the future and what becomes of every kind of result.
#include <any>
#include <concurrent/executor.hpp>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"

namespace {

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

template <class F, class... Args>
using submit_t = decltype(std::declval<ThreadPoolExecutor&>().submit(std::declval<F>(),
                                                                     std::declval<Args>()...));

template <class Result> using function_of = Result (*)();

/// Neither default-constructible nor copyable nor assignable.
class Strict {
 public:
  explicit Strict(int value) : value_(value) {}
  Strict(Strict&&) = default;
  Strict& operator=(Strict&&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

/// Whose author overloaded what generic code likes to use.
struct Hostile {
  explicit Hostile(int start) : value(start) {}
  Hostile* operator&() = delete;
  const Hostile* operator&() const = delete;
  template <class T> void operator,(T&&) const = delete;
  int value;
};

struct ThrowsWhenMoved {
  explicit ThrowsWhenMoved(bool throws) : throws_when_moved(throws) {}
  ThrowsWhenMoved(ThrowsWhenMoved&& other) : throws_when_moved(other.throws_when_moved) {
    if (throws_when_moved) throw std::range_error("moved");
  }
  bool throws_when_moved;
};

int global = 5;

}  // namespace

TEST_CASE("the future's type is the result's without top-level cv, and only T& stays a reference") {
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<int>>, Future<int>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<void>>, Future<void>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<const std::string>>, Future<std::string>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<int&>>, Future<int&>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<const int&>>, Future<const int&>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<int&&>>, Future<int>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<const std::string&&>>, Future<std::string>>);
  STATIC_REQUIRE(std::is_same_v<submit_t<function_of<const char*>>, Future<const char*>>);
  STATIC_REQUIRE(
      std::is_same_v<submit_t<function_of<std::unique_ptr<int>>>, Future<std::unique_ptr<int>>>);
}

TEST_CASE("a const result and a result that is an rvalue reference are stored as values") {
  ThreadPoolExecutor executor(1);
  const std::string text = "a constant that does not fit into the string itself";
  std::string source = text;
  CHECK(executor.submit([&text]() -> const std::string { return text; }).result() == text);
  const auto future = executor.submit([&source]() -> std::string&& { return std::move(source); });
  CHECK(future.result() == text);
  CHECK(&future.result() != &source);
}

TEST_CASE("a reference result is the very object") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([]() -> int& { return global; });
  CHECK(&future.result() == &global);
  CHECK(&future.get() == &global);
  const auto constant = executor.submit([]() -> const int& { return global; });
  CHECK(&constant.result() == &global);
}

TEST_CASE("a result needs neither a default constructor nor a copy nor an assignment") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([] { return Strict(6); });
  CHECK(future.result().value() == 6);
  CHECK(future.get().value() == 6);
}

TEST_CASE("a result that is returned by value is not copied, and taking it does not copy") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([&counts] { return support::Counted(counts, 2); });
  CHECK(future.result().value() == 2);
  CHECK(counts.copies == 0);
  {
    const support::Counted taken = future.get();
    CHECK(taken.value() == 2);
  }
  CHECK(counts.copies == 0);
  CHECK(counts.alive == 0);
}

TEST_CASE("results of a type with hostile operators and of std::any are carried as they are") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit([] { return Hostile(3); }).result().value == 3);
  CHECK(executor.submit([](Hostile hostile) { return hostile.value; }, Hostile(4)).result() == 4);
  CHECK(std::any_cast<int>(executor.submit([] { return std::any(5); }).result()) == 5);
  CHECK(std::any_cast<int>(
            executor.submit([](std::any any) { return std::any_cast<int>(any); }, std::any(6))
                .result()) == 6);
}

TEST_CASE("an exception_ptr or a future that is returned is a result like any other") {
  ThreadPoolExecutor executor(1);
  const auto returned =
      executor.submit([] { return std::make_exception_ptr(std::logic_error("a value")); });
  CHECK(returned.exception() == nullptr);
  CHECK(returned.result() != nullptr);

  const auto outer = executor.submit([&executor] { return executor.submit([] { return 7; }); });
  STATIC_REQUIRE(std::is_same_v<decltype(outer), const Future<Future<int>>>);
  CHECK(outer.result().result() == 7);
}

TEST_CASE("empty, boolean, tuple and large results are carried") {
  struct Empty {};
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit([] { return Empty{}; }).exception() == nullptr);
  CHECK(executor.submit([] { return true; }).result());
  CHECK(executor.submit([] { return std::tuple(1, std::string("two")); }).result() ==
        std::tuple(1, std::string("two")));
  CHECK(executor.submit([] { return std::vector<int>(100'000, 3); }).result().size() == 100'000);
  CHECK(executor.submit([] { return nullptr; }).result() == nullptr);
}

TEST_CASE("an exception thrown while the result is stored goes to the future") {
  ThreadPoolExecutor executor(1);
  ThrowsWhenMoved source(true);
  const auto future =
      executor.submit([&source]() -> ThrowsWhenMoved&& { return std::move(source); });
  CHECK_THROWS_AS(future.result(), std::range_error);
  CHECK(future.exception() != nullptr);
  CHECK(future.done());
}

TEST_CASE("a result whose move throws leaves get() with that exception and an empty handle") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([] { return ThrowsWhenMoved(false); });
  const_cast<ThrowsWhenMoved&>(future.result()).throws_when_moved = true;
  CHECK_THROWS_AS(future.get(), std::range_error);
  CHECK_FALSE(future.valid());
}

TEST_CASE("an exception of any type is carried and is the same each time") {
  ThreadPoolExecutor executor(1);
  const auto number = executor.submit([]() -> int { throw 42; });
  const auto text = executor.submit([] { throw std::string("thrown"); });
  const auto memory = executor.submit([] { throw std::bad_alloc(); });
  struct Private {
    int value;
  };
  const auto local = executor.submit([]() -> std::string { throw Private{3}; });
  for (int i = 0; i < 2; ++i) {
    CHECK_THROWS_AS(number.result(), int);
    CHECK_THROWS_AS(text.result(), std::string);
    CHECK_THROWS_AS(memory.result(), std::bad_alloc);
    CHECK_THROWS_AS(local.result(), Private);
    CHECK(number.exception() == number.exception());
  }
  int caught = 0;
  try {
    number.result();
  } catch (const int& value) { caught = value; }
  CHECK(caught == 42);
}

TEST_CASE("an exception derived from a library error is carried like any other") {
  struct Mine : concurrent::Error {
    using Error::Error;
  };
  ThreadPoolExecutor executor(1);
  const auto future = executor.submit([] { throw Mine("mine"); });
  CHECK_THROWS_AS(future.result(), Mine);
  CHECK_FALSE(future.cancelled());
}

TEST_CASE("an exception that nobody looks at dies with the last handle") {
  struct Watched {
    std::shared_ptr<int> held;
  };
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = held;
  {
    ThreadPoolExecutor executor(1);
    {
      const auto future = executor.submit([held = std::move(held)] { throw Watched{held}; });
      future.wait();
      CHECK_FALSE(watch.expired());
    }
    executor.shutdown();
  }
  CHECK(watch.expired());
}
