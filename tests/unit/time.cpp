// SPDX-License-Identifier: MIT
// Timeout: what converts to it, what counts as no limit, and that limits are kept.
#include <chrono>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <cstdint>
#include <future>
#include <limits>
#include <ratio>
#include <stdexcept>
#include <type_traits>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using concurrent::Timeout;
using std::chrono::duration;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

/// True if the main thread, which must wait here for a task to end, is let wait for it: a limit
/// that overflowed would give up at once.
bool is_let_wait_with(Timeout limit) {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto future = executor.submit([&gate] {
    gate.wait();
    return 7;
  });
  const support::OpenOnceAsleep opener(gate);
  try {
    return future.result(limit) == 7;
  } catch (const concurrent::TimeoutError&) { return false; }
}

/// True if the limit is over at once for a pending future and does no harm to a finished one.
bool only_tests_with(Timeout limit) {
  ThreadPoolExecutor executor(1);
  const auto finished = executor.submit([] { return 7; });
  finished.wait();
  support::BusyWorker busy(executor);
  const auto pending = executor.submit([] { return 8; });
  bool gave_up = false;
  try {
    pending.result(limit);
  } catch (const concurrent::TimeoutError&) { gave_up = true; }
  return gave_up && finished.result(limit) == 7 && finished.exception(limit) == nullptr;
}

template <class Duration> constexpr bool converts = std::is_convertible_v<Duration, Timeout>;

}  // namespace

TEST_CASE("any std::chrono::duration converts to a Timeout") {
  STATIC_REQUIRE(converts<nanoseconds>);
  STATIC_REQUIRE(converts<milliseconds>);
  STATIC_REQUIRE(converts<hours>);
  STATIC_REQUIRE(converts<duration<double>>);
  STATIC_REQUIRE(converts<duration<float, std::ratio<60>>>);
  STATIC_REQUIRE(converts<duration<std::uint8_t>>);
  STATIC_REQUIRE(converts<duration<long long, std::pico>>);
  STATIC_REQUIRE(converts<const milliseconds&>);
}

TEST_CASE("plain numbers and time points do not convert to a Timeout") {
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Timeout, int>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Timeout, double>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Timeout, long long>);
  STATIC_REQUIRE_FALSE(converts<steady_clock::time_point>);
  STATIC_REQUIRE_FALSE(converts<std::nullptr_t>);
}

TEST_CASE("a Timeout without a value, and one too long for the clock, mean no limit") {
  CHECK(is_let_wait_with(Timeout{}));
  CHECK(is_let_wait_with({}));
  CHECK(is_let_wait_with(hours::max()));
  CHECK(is_let_wait_with(seconds::max()));
  CHECK(is_let_wait_with(nanoseconds::max()));
  CHECK(is_let_wait_with(nanoseconds::max() - nanoseconds(1)));
  CHECK(is_let_wait_with(duration<std::uint64_t>::max()));
  CHECK(is_let_wait_with(duration<double>(1e300)));
  CHECK(is_let_wait_with(duration<double>(std::numeric_limits<double>::infinity())));
  CHECK(is_let_wait_with(duration<float, std::ratio<3600>>::max()));
}

TEST_CASE("wait_for takes what is too long for the clock as no limit too") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto future = executor.submit([&gate] { gate.wait(); });
  const support::OpenOnceAsleep opener(gate);
  CHECK(future.wait_for(hours::max()) == std::future_status::ready);
}

TEST_CASE("wait_until takes the last time point of a clock as no limit") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto future = executor.submit([&gate] { gate.wait(); });
  const support::OpenOnceAsleep opener(gate);
  SECTION("steady") {
    CHECK(future.wait_until(steady_clock::time_point::max()) == std::future_status::ready);
  }
  SECTION("system") {
    CHECK(future.wait_until(std::chrono::system_clock::time_point::max()) ==
          std::future_status::ready);
  }
}

TEST_CASE("a limit of zero or less only tests") {
  CHECK(only_tests_with(seconds(0)));
  CHECK(only_tests_with(nanoseconds(-1)));
  CHECK(only_tests_with(hours(-1)));
  CHECK(only_tests_with(hours::min()));
  CHECK(only_tests_with(nanoseconds::min()));
  CHECK(only_tests_with(duration<double>(-0.5)));
  CHECK(only_tests_with(duration<double>(-1e300)));
  CHECK(only_tests_with(duration<double>(-std::numeric_limits<double>::infinity())));
}

TEST_CASE("not a number is no Timeout") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(Timeout(duration<double>(kNan)), std::invalid_argument);
  CHECK_THROWS_AS(Timeout(duration<float, std::milli>(static_cast<float>(kNan))),
                  std::invalid_argument);
}

TEST_CASE("a limit is not over before its time") {
  ThreadPoolExecutor executor(1);
  support::BusyWorker busy(executor);
  const auto pending = executor.submit([] { return 1; });

  const auto begin = steady_clock::now();
  CHECK_THROWS_AS(pending.result(milliseconds(30)), concurrent::TimeoutError);
  CHECK(steady_clock::now() - begin >= milliseconds(30));

  const auto second_begin = steady_clock::now();
  CHECK_THROWS_AS(pending.exception(duration<double>(0.03)), concurrent::TimeoutError);
  CHECK(steady_clock::now() - second_begin >= milliseconds(30));

  const auto third_begin = steady_clock::now();
  CHECK(pending.wait_for(duration<float, std::milli>(30.0F)) == std::future_status::timeout);
  CHECK(steady_clock::now() - third_begin >= milliseconds(30));
}

TEST_CASE("a future that completes within the limit is waited for") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto future = executor.submit([&gate] {
    gate.wait();
    return 5;
  });
  const support::OpenOnceAsleep opener(gate);
  CHECK(future.result(seconds(50)) == 5);
}

TEST_CASE("a limit in units finer than any clock's is as long as it says") {
  // The ticks of an event timer, whose product with the numerator of nanoseconds overflows.
  using Ticks = duration<std::int64_t, std::ratio<1, 14'318'180>>;
  CHECK(is_let_wait_with(std::chrono::duration_cast<Ticks>(hours(5))));
  CHECK(is_let_wait_with(duration<std::int64_t, std::pico>(hours(1))));
}

TEST_CASE(
    "a point in time beyond the range of the clock's unit is no limit, or is over long since") {
  using std::chrono::system_clock;
  using std::chrono::time_point;
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  const auto future = executor.submit([&gate] { gate.wait(); });
  SECTION("past") {
    CHECK(future.wait_until(time_point<system_clock, hours>::min()) == std::future_status::timeout);
    CHECK(future.wait_until(time_point<steady_clock, hours>::min()) == std::future_status::timeout);
    CHECK(future.wait_until(system_clock::time_point::min()) == std::future_status::timeout);
  }
  SECTION("the year 9999") {
    const support::OpenOnceAsleep opener(gate);
    const std::chrono::sys_days far = std::chrono::year(9999) / 1 / 1;
    CHECK(future.wait_until(far) == std::future_status::ready);
  }
  SECTION("seconds of the system clock") {
    const support::OpenOnceAsleep opener(gate);
    CHECK(future.wait_until(time_point<system_clock, seconds>::max()) == std::future_status::ready);
  }
  SECTION("hours of the steady clock") {
    const support::OpenOnceAsleep opener(gate);
    CHECK(future.wait_until(time_point<steady_clock, hours>::max()) == std::future_status::ready);
  }
}
