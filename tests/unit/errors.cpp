// SPDX-License-Identifier: MIT
// The exception classes and the handler for exceptions that nobody else can get.
#include <chrono>
#include <concurrent/executor.hpp>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

#if defined(__linux__)
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#endif

namespace {

using concurrent::ThreadPoolExecutor;

/// Puts a handler in place for the length of a scope.
class ScopedHandler {
 public:
  explicit ScopedHandler(std::function<void(std::exception_ptr)> handler)
      : former_(concurrent::set_unhandled_exception_handler(std::move(handler))) {}
  ScopedHandler(const ScopedHandler&) = delete;
  ScopedHandler& operator=(const ScopedHandler&) = delete;
  ~ScopedHandler() { concurrent::set_unhandled_exception_handler(std::move(former_)); }

 private:
  std::function<void(std::exception_ptr)> former_;
};

template <class Callable> std::string message_of(Callable call) {
  try {
    call();
  } catch (const std::exception& error) { return error.what(); } catch (...) {
    return "not a std::exception";
  }
  return "nothing was thrown";
}

template <class Type>
constexpr bool is_an_error =
    std::is_base_of_v<concurrent::Error, Type> && std::is_convertible_v<Type*, std::exception*>;

}  // namespace

TEST_CASE("every error of the library is a concurrent::Error, and that is a std::runtime_error") {
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, concurrent::Error>);
  STATIC_REQUIRE(is_an_error<concurrent::CancelledError>);
  STATIC_REQUIRE(is_an_error<concurrent::TimeoutError>);
  STATIC_REQUIRE(is_an_error<concurrent::InvalidStateError>);
  STATIC_REQUIRE(is_an_error<concurrent::BrokenPromise>);
  STATIC_REQUIRE(is_an_error<concurrent::ShutdownError>);
  STATIC_REQUIRE(is_an_error<concurrent::DeadlockError>);
  STATIC_REQUIRE(is_an_error<concurrent::BrokenExecutor>);
  STATIC_REQUIRE(is_an_error<concurrent::BrokenThreadPool>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::BrokenExecutor, concurrent::BrokenThreadPool>);
  STATIC_REQUIRE(std::is_base_of_v<std::nested_exception, concurrent::BrokenThreadPool>);
}

TEST_CASE("the error of a submit after shutdown has Python's text") {
  ThreadPoolExecutor executor(1);
  executor.shutdown();
  const std::string message = message_of([&] { executor.submit([] {}); });
  CHECK(message.find("cannot schedule new futures after shutdown") != std::string::npos);
}

TEST_CASE("errors that a user meets say what happened") {
  ThreadPoolExecutor executor(1);
  const concurrent::Future<void> empty;
  CHECK_FALSE(message_of([&] { empty.wait(); }).empty());

  support::BusyWorker busy(executor);
  const auto pending = executor.submit([] {});
  CHECK_FALSE(message_of([&] { pending.result(std::chrono::seconds(0)); }).empty());
  CHECK(pending.cancel());
  CHECK_FALSE(message_of([&] { pending.result(); }).empty());
}

TEST_CASE("setting a handler returns the former one, and an empty one stands for the default") {
  int first_calls = 0;
  const auto original = concurrent::set_unhandled_exception_handler(
      [&first_calls](std::exception_ptr) { ++first_calls; });
  CHECK_FALSE(original);

  const auto first = concurrent::set_unhandled_exception_handler([](std::exception_ptr) {});
  REQUIRE(first);
  first(std::exception_ptr());
  CHECK(first_calls == 1);

  CHECK(concurrent::set_unhandled_exception_handler({}));
  CHECK_FALSE(concurrent::set_unhandled_exception_handler({}));
}

TEST_CASE("a former handler that cannot be copied out stays set") {
  struct Handler {
    Handler(int& in_calls, bool& in_throws) : calls(&in_calls), throws(&in_throws) {}
    Handler(const Handler& other) : calls(other.calls), throws(other.throws) {
      if (*throws) throw std::domain_error("no copy");
    }
    Handler& operator=(const Handler&) = delete;
    void operator()(const std::exception_ptr&) const { ++*calls; }
    int* calls;
    bool* throws;
  };
  int calls = 0;
  bool throws = false;
  concurrent::set_unhandled_exception_handler(Handler(calls, throws));
  throws = true;
  CHECK_THROWS_AS(concurrent::set_unhandled_exception_handler({}), std::domain_error);
  throws = false;
  ThreadPoolExecutor executor(1);
  executor.post([] { throw 1; });
  executor.shutdown();
  CHECK(calls == 1);
  concurrent::set_unhandled_exception_handler({});
}

TEST_CASE("the handler is called in the thread where the exception came out") {
  std::thread::id handled_in;
  std::thread::id thrown_in;
  std::string message;
  {
    const ScopedHandler handler([&](std::exception_ptr error) {
      handled_in = std::this_thread::get_id();
      message = message_of([&] { std::rethrow_exception(error); });
    });
    ThreadPoolExecutor executor(1);
    executor.post([&] {
      thrown_in = std::this_thread::get_id();
      throw std::runtime_error("lost");
    });
    executor.shutdown();
  }
  CHECK(handled_in == thrown_in);
  CHECK(handled_in != std::this_thread::get_id());
  CHECK(message == "lost");
}

TEST_CASE("a handler may be set while others are being called") {
  const int posts = support::scaled(2000);
  support::Counter calls;
  const auto count = [&calls](std::exception_ptr) { calls.add(); };
  const ScopedHandler handler(count);
  {
    ThreadPoolExecutor executor(2);
    for (int i = 0; i < posts; ++i) {
      executor.post([] { throw 1; });
      concurrent::set_unhandled_exception_handler(count);
    }
  }
  CHECK(calls.value() == posts);
}

TEST_CASE("a handler may submit and post to the pool it is called on") {
  support::Counter calls;
  ThreadPoolExecutor executor(1);
  const ScopedHandler handler([&](std::exception_ptr) {
    executor.submit([&calls] { calls.add(); });
    executor.post([&calls] { calls.add(); });
  });
  executor.post([] { throw 1; });
  calls.reached(2);
  executor.shutdown();
  CHECK(calls.value() == 2);
}

#if CONCURRENT_TESTS_HAVE_CHILD
TEST_CASE("the default handler writes one line to stderr, which names the exception") {
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(::fileno(file), STDERR_FILENO);
  {
    ThreadPoolExecutor executor(1);
    executor.post([] { throw std::runtime_error("a sentence to be found"); });
  }
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);

  std::rewind(file);
  std::string written;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) {
    written.push_back(static_cast<char>(c));
  }
  std::fclose(file);
  CHECK(written.find("a sentence to be found") != std::string::npos);
  REQUIRE_FALSE(written.empty());
  CHECK(written.find('\n') == written.size() - 1);
}

TEST_CASE("child: a handler throws", "[.child]") {
  std::set_terminate([] { std::_Exit(42); });
  concurrent::set_unhandled_exception_handler([](std::exception_ptr) { throw 1; });
  ThreadPoolExecutor executor(1);
  executor.post([] { throw 2; });
  executor.shutdown();
}

TEST_CASE("a handler that throws ends the process by std::terminate") {
  CHECK(support::run_child("child: a handler throws") == 42);
}

namespace {

/// Throws out of its destructor, once; what was moved from does not.
struct ThrowsWhenDestroyed {
  ThrowsWhenDestroyed() = default;
  ThrowsWhenDestroyed(ThrowsWhenDestroyed&& other) noexcept
      : throws(std::exchange(other.throws, false)) {}
  ~ThrowsWhenDestroyed() noexcept(false) {
    if (std::exchange(throws, false)) throw 1;
  }
  void operator()() const {}
  bool throws = true;
};

/// Runs it with std::terminate turned into the exit status 42; getting through is 1.
template <class Use> void use_and_exit(Use use) {
  std::set_terminate([] { std::_Exit(42); });
  {
    ThreadPoolExecutor executor(1);
    try {
      use(executor);
    } catch (...) { std::_Exit(2); }
  }
  std::_Exit(1);
}

}  // namespace

TEST_CASE("child: the destructor of a callable throws", "[.child]") {
  use_and_exit(
      [](ThreadPoolExecutor& executor) { executor.submit(ThrowsWhenDestroyed()).exception(); });
}

TEST_CASE("child: the destructor of a posted callable throws", "[.child]") {
  use_and_exit([](ThreadPoolExecutor& executor) { executor.post(ThrowsWhenDestroyed()); });
}

TEST_CASE("child: the destructor of a callable throws behind its exception", "[.child]") {
  use_and_exit([](ThreadPoolExecutor& executor) {
    executor.submit([held = ThrowsWhenDestroyed()] { throw 2; }).exception();
  });
}

TEST_CASE("child: the destructor of a cancelled callable throws", "[.child]") {
  use_and_exit([](ThreadPoolExecutor& executor) {
    const support::BusyWorker busy(executor);
    executor.submit(ThrowsWhenDestroyed()).cancel();
  });
}

TEST_CASE("child: the destructor of an argument throws", "[.child]") {
  use_and_exit([](ThreadPoolExecutor& executor) {
    executor.submit([](const ThrowsWhenDestroyed&) {}, ThrowsWhenDestroyed()).exception();
  });
}

TEST_CASE("child: the destructor of a result throws", "[.child]") {
  use_and_exit([](ThreadPoolExecutor& executor) {
    executor.submit([] { return ThrowsWhenDestroyed(); }).wait();
  });
}

TEST_CASE("child: the destructor of an element's result throws", "[.child]") {
  use_and_exit([](ThreadPoolExecutor& executor) {
    executor.map([](int) { return ThrowsWhenDestroyed(); }, {1, 2, 3});
  });
}

TEST_CASE("a destructor that throws in the library's hands ends the process by std::terminate") {
  CHECK(support::run_child("child: the destructor of a callable throws") == 42);
  CHECK(support::run_child("child: the destructor of a posted callable throws") == 42);
  CHECK(support::run_child("child: the destructor of a callable throws behind its exception") ==
        42);
  CHECK(support::run_child("child: the destructor of a cancelled callable throws") == 42);
  CHECK(support::run_child("child: the destructor of an argument throws") == 42);
  CHECK(support::run_child("child: the destructor of a result throws") == 42);
  CHECK(support::run_child("child: the destructor of an element's result throws") == 42);
}
#endif
