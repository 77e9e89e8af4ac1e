// SPDX-License-Identifier: MIT
//
// What Python promises of the exceptions of concurrent.futures.

#include <concurrent/executor.hpp>

#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support/catch.hpp"
#include "support/gate.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

namespace {

template <class Call> std::string text_of_error(Call call) {
  try {
    call();
  } catch (const concurrent::Error& error) { return error.what(); }
  return {};
}

}  // namespace

TEST_CASE("All errors of the library derive from Error, and Error from std::runtime_error",
          "[exceptions]") {
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, concurrent::Error>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::Error, concurrent::CancelledError>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::Error, concurrent::TimeoutError>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::Error, concurrent::InvalidStateError>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::Error, concurrent::ShutdownError>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::Error, concurrent::DeadlockError>);
  STATIC_REQUIRE(std::is_base_of_v<concurrent::Error, concurrent::BrokenExecutor>);
}

TEST_CASE("BrokenThreadPool is a BrokenExecutor and carries its cause", "[exceptions]") {
  STATIC_REQUIRE(std::is_base_of_v<concurrent::BrokenExecutor, concurrent::BrokenThreadPool>);
  STATIC_REQUIRE(std::is_base_of_v<std::nested_exception, concurrent::BrokenThreadPool>);
}

TEST_CASE("Every error says what happened", "[exceptions]") {
  support::Gate gate;
  ThreadPoolExecutor pool(1);
  const support::OpenAtExit opener(gate);
  pool.submit([&gate] { gate.wait(); });
  auto pending = pool.submit([] { return 1; });
  auto cancelled = pool.submit([] { return 2; });
  cancelled.cancel();
  REQUIRE_FALSE(text_of_error([&] { pending.result(std::chrono::seconds(0)); }).empty());
  REQUIRE_FALSE(text_of_error([&] { cancelled.result(); }).empty());
  REQUIRE_FALSE(text_of_error([] { Future<int>().wait(); }).empty());
}

TEST_CASE("The exception of a task keeps its type, though that is not of the standard library",
          "[exceptions]") {
  ThreadPoolExecutor pool(1);
  REQUIRE_THROWS_AS(pool.submit([] { throw 42; }).result(), int);
  REQUIRE_THROWS_AS(pool.submit([] { throw std::string("text"); }).result(), std::string);
}
