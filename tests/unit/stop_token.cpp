// SPDX-License-Identifier: MIT
// Stop tokens: who gets one, and what request_stop() does and returns.
#include <concurrent/executor.hpp>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <version>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

TEST_CASE("request_stop() cancels a pending task") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  auto pending = executor.submit([] { return 1; });
  CHECK(pending.request_stop());
  CHECK(pending.cancelled());
  CHECK_FALSE(pending.request_stop());
}

TEST_CASE("request_stop() does nothing to a running task without a token, nor to a finished one") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto future = executor.submit([&] {
    begun.open();
    gate.wait();
    return 1;
  });
  begun.wait();
  CHECK_FALSE(future.request_stop());
  gate.open();
  CHECK(future.result() == 1);
  CHECK_FALSE(future.request_stop());
}

TEST_CASE("request_stop() on an empty handle is an InvalidStateError") {
  Future<int> empty;
  CHECK_THROWS_AS(empty.request_stop(), concurrent::InvalidStateError);
}

#if defined(__cpp_lib_jthread)
#include <stop_token>

namespace {

template <class... Args>
concept can_submit = requires(ThreadPoolExecutor& executor, Args&&... args) {
  executor.submit(std::forward<Args>(args)...);
};

template <class... Args>
concept can_post = requires(ThreadPoolExecutor& executor, Args&&... args) {
  executor.post(std::forward<Args>(args)...);
};

/// Callable both ways; says which way it was.
struct BothWays {
  std::string operator()(int) const { return "plain"; }
  std::string operator()(std::stop_token, int) const { return "with a token"; }
};

}  // namespace

TEST_CASE("a callable that takes a token first gets one, in front of its arguments") {
  ThreadPoolExecutor executor(1);
  const auto future = executor.submit(
      [](std::stop_token token, int a, const std::string& b) {
        return token.stop_possible() && !token.stop_requested() ? std::to_string(a) + b : "no";
      },
      4, "2");
  CHECK(future.result() == "42");
  CHECK(
      executor.submit([](const std::stop_token& token) { return token.stop_possible(); }).result());
}

TEST_CASE("a callable that works without a token gets none") {
  ThreadPoolExecutor executor(1);
  CHECK(executor.submit(BothWays{}, 1).result() == "plain");
}

TEST_CASE("the token form of a callable that works without one is not even looked at") {
  ThreadPoolExecutor executor(1);
  // With a token in front, the body of this would not compile.
  const auto size = [](auto first, auto... rest) { return (first.size() + ... + rest.size()); };
  CHECK(executor.submit(size, std::string("abc"), std::string("de")).result() == 5);
}

TEST_CASE("member functions that take a token get it only where it fits") {
  STATIC_REQUIRE(can_submit<int (*)(std::stop_token, int), int>);
  STATIC_REQUIRE(can_submit<int (*)(std::stop_token)>);
  STATIC_REQUIRE_FALSE(can_submit<int (*)(std::stop_token, int), std::string>);
  STATIC_REQUIRE_FALSE(can_submit<int (*)(int, std::stop_token), int>);
}

TEST_CASE("only submit gives tokens") {
  STATIC_REQUIRE(can_submit<void (*)(std::stop_token)>);
  STATIC_REQUIRE_FALSE(can_post<void (*)(std::stop_token)>);
  STATIC_REQUIRE(can_post<void (*)(std::stop_token), std::stop_token>);
}

TEST_CASE("the first request_stop() of a running task with a token is true, further ones false") {
  support::Gate begun;
  support::Gate asked;
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([&](std::stop_token token) {
    const std::stop_callback wake(token, [&asked] { asked.open(); });
    begun.open();
    asked.wait();
    return token.stop_requested();
  });
  begun.wait();
  auto copy = future;
  CHECK(copy.request_stop());
  CHECK_FALSE(future.request_stop());
  CHECK(future.result());
  CHECK_FALSE(future.cancelled());
  CHECK_FALSE(future.request_stop());
}

TEST_CASE("request_stop() of a pending task with a token cancels it, for it has not begun") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  bool ran = false;
  auto pending = executor.submit([&ran](std::stop_token) { ran = true; });
  CHECK(pending.request_stop());
  CHECK(pending.cancelled());
  busy.release();
  executor.shutdown();
  CHECK_FALSE(ran);
}

TEST_CASE("cancel and shutdown never request a stop") {
  support::Gate begun;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto future = executor.submit([&](std::stop_token token) {
    begun.open();
    gate.wait();
    return token.stop_requested();
  });
  begun.wait();
  CHECK_FALSE(future.cancel());
  executor.shutdown({.wait = false, .cancel_futures = true});
  gate.open();
  CHECK_FALSE(future.result());
}

TEST_CASE("a token that outlives its task stays usable") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([](std::stop_token token) { return token; });
  const std::stop_token kept = future.get();
  CHECK_FALSE(kept.stop_requested());
}

TEST_CASE("one of many threads that ask at once is the first to ask") {
  constexpr int kThreads = 4;
  support::Gate begun;
  support::Gate gate;
  support::Barrier barrier(kThreads);
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto future = executor.submit([&](std::stop_token token) {
    begun.open();
    gate.wait();
    return token.stop_requested();
  });
  begun.wait();
  std::vector<int> answers(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t, handle = future]() mutable {
      barrier.arrive_and_wait();
      answers[static_cast<std::size_t>(t)] = handle.request_stop();
    });
  }
  for (auto& thread : threads) thread.join();
  int firsts = 0;
  for (const int answer : answers) firsts += answer;
  CHECK(firsts == 1);
  gate.open();
  CHECK(future.result());
}
#endif
