// SPDX-License-Identifier: MIT
//
// The system's clock is set while the library waits. This file replaces clock_gettime for the whole
// program: the time of day is ahead by what a test asks for, else all clocks are the system's.
// Sanitizers replace it, too, and are left out.

#include <concurrent/executor.hpp>

#include "support/scale.hpp"

#if defined(__GLIBC__) && defined(__LP64__) && !CONCURRENT_TESTS_SANITIZED

#include <dlfcn.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <ranges>
#include <thread>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::MapOptions;
using concurrent::Promise;
using concurrent::ReturnWhen;
using concurrent::ThreadPoolExecutor;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;
using support::Gate;

namespace {

std::atomic<long> hours_ahead = 0;
// How often this thread has asked for the time of day.
thread_local int looks_at_the_day = 0;

// Sets the clock as soon as the thread that made this object is asleep, and back in the end.
class SetOnceAsleep {
 public:
  explicit SetOnceAsleep(hours ahead)
      : thread_([ahead, sleeper = support::this_thread_number()] {
          support::falls_asleep(sleeper);
          hours_ahead.store(ahead.count());
        }) {}
  SetOnceAsleep(const SetOnceAsleep&) = delete;
  SetOnceAsleep& operator=(const SetOnceAsleep&) = delete;
  ~SetOnceAsleep() {
    join();
    hours_ahead.store(0);
  }

  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

// A wait with a limit; true if the limit ended it.
struct TimedWait {
  const char* name;
  std::function<bool(const Future<int>&, milliseconds)> call;
};

template <class Call> bool times_out(Call call) {
  try {
    call();
  } catch (const concurrent::TimeoutError&) { return true; }
  return false;
}

std::vector<TimedWait> timed_waits() {
  return {
      {"result",
       [](const auto& future, auto limit) { return times_out([&] { future.result(limit); }); }},
      {"exception",
       [](const auto& future, auto limit) {
         return times_out([&] { static_cast<void>(future.exception(limit)); });
       }},
      {"wait_for",
       [](const auto& future, auto limit) {
         return future.wait_for(limit) == std::future_status::timeout;
       }},
      {"wait for all",
       [](const auto& future, auto limit) {
         return concurrent::wait({future}, {.timeout = limit}).done.empty();
       }},
      {"wait for the first",
       [](const auto& future, auto limit) {
         return concurrent::wait({future}, {limit, ReturnWhen::first_completed}).done.empty();
       }},
      {"as_completed",
       [](const auto& future, auto limit) {
         return times_out([&] {
           for (const auto& done : concurrent::as_completed({future}, {.timeout = limit})) {
             done.wait();
           }
         });
       }},
  };
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, struct timespec* time) noexcept {
  using GetTime = int (*)(clockid_t, struct timespec*);
  static const auto get_time = reinterpret_cast<GetTime>(::dlsym(RTLD_NEXT, "clock_gettime"));
  const int error = get_time(clock, time);
  if (clock != CLOCK_REALTIME) return error;
  ++looks_at_the_day;
  if (error == 0) time->tv_sec += hours_ahead.load() * 3600;
  return error;
}

TEST_CASE("The clock of these tests can be set", "[clock]") {
  const int looks = looks_at_the_day;
  const auto before = system_clock::now();
  const auto steady_before = steady_clock::now();
  hours_ahead.store(5);
  const auto after = system_clock::now();
  const auto steady_after = steady_clock::now();
  hours_ahead.store(0);
  REQUIRE(looks_at_the_day == looks + 2);
  REQUIRE(after - before > hours(4));
  REQUIRE(steady_after - steady_before < hours(4));
}

TEST_CASE("A limit is as long as it says though the clock is set meanwhile", "[clock]") {
  constexpr milliseconds limit(100);
  const Promise<int> promise;
  for (const hours ahead : {hours(-3), hours(3)}) {
    CAPTURE(ahead.count());
    for (const TimedWait& wait : timed_waits()) {
      CAPTURE(wait.name);
      const auto begin = steady_clock::now();
      const int looks = looks_at_the_day;
      bool has_timed_out = false;
      {
        const SetOnceAsleep setter(ahead);
        has_timed_out = wait.call(promise.future(), limit);
      }
      REQUIRE(looks_at_the_day == looks);
      const auto waited = steady_clock::now() - begin;
      REQUIRE(has_timed_out);
      REQUIRE(waited >= limit);
      REQUIRE(waited < hours(1));
    }
  }
}

TEST_CASE("A limit that has begun to run does not end when the clock is set ahead", "[clock]") {
  Gate gate;
  ThreadPoolExecutor pool(1);
  const support::OpenAtExit opened(gate);
  auto mapped = pool.map(
      MapOptions{.timeout = hours(1)},
      [&gate](int i) {
        gate.wait();
        return i;
      },
      std::views::iota(0, 3));
  const support::OpenAtExit opened_first(gate);  // before the map's destructor, which waits
  const auto future = pool.submit([] { return 7; });
  auto completed = concurrent::as_completed({future}, {.timeout = hours(1)});
  hours_ahead.store(2);
  int sum = 0;
  bool has_timed_out = false;
  {
    const support::OpenOnceAsleep opener(gate);
    has_timed_out = times_out([&] {
      for (const int value : mapped) { sum += value; }
      for (const auto& done : completed) { sum += done.result(); }
    });
  }
  hours_ahead.store(0);
  REQUIRE_FALSE(has_timed_out);
  REQUIRE(sum == 10);
}

TEST_CASE("Workers that sleep in a wait with a limit, and idle ones, do not heed the clock",
          "[clock]") {
  // The wait is a task's, so that its one worker has a spare: which sleeps, and wakes for a task.
  constexpr milliseconds limit(100);
  const Promise<int> promise;
  ThreadPoolExecutor pool(1);
  for (const hours ahead : {hours(-3), hours(3)}) {
    CAPTURE(ahead.count());
    const auto waited = pool.submit([&] {
      const auto begin = steady_clock::now();
      const int looks = looks_at_the_day;
      const SetOnceAsleep setter(ahead);
      const bool has_timed_out = times_out([&] { promise.future().result(limit); });
      return has_timed_out && looks_at_the_day == looks ? steady_clock::now() - begin
                                                        : steady_clock::duration::zero();
    });
    REQUIRE(waited.result() >= limit);
    hours_ahead.store(ahead.count());
    const int seen = pool.submit([] { return 1; }).result();
    hours_ahead.store(0);
    REQUIRE(seen == 1);
  }
}

#endif
