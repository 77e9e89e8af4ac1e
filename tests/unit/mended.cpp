// SPDX-License-Identifier: MIT
// Promises that no other test saw broken: the futures and the buffer of a map, what is let go of
// and when, the end of the process, cycles of running tasks, clocks that are set.
#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"

#if defined(__linux__)
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using concurrent::DeadlockError;
using concurrent::Future;
using concurrent::InvalidStateError;
using concurrent::MapOptions;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using support::Counted;
using support::Counts;
using support::Gate;

// A clock that a test may set.
struct SettableClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<SettableClock>;
  [[maybe_unused]] static constexpr bool is_steady = false;

  static inline std::atomic<rep> ahead{0};
  static inline support::Counter* looks = nullptr;

  static time_point now() {
    if (looks != nullptr) looks->add();
    const auto steady = std::chrono::steady_clock::now().time_since_epoch();
    return time_point(std::chrono::duration_cast<duration>(steady) + duration(ahead.load()));
  }
};

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
// What malloc has handed out and mapped, and got neither back.
std::size_t bytes_in_use() {
  const auto state = ::mallinfo2();
  return state.uordblks + state.hblkhd;
}
#endif

// The last owner of an executor, in the hands of one of its workers.
thread_local std::unique_ptr<ThreadPoolExecutor> owner_in_thread;

}  // namespace

TEST_CASE("of two running tasks that wait for each other one is refused") {
  Gate known;
  support::Barrier both(2);
  ThreadPoolExecutor executor(2);
  const support::OpenAtExit opened(known);
  Future<int> a;
  Future<int> b;
  const auto wait_for = [&](const Future<int>& other) {
    both.arrive_and_wait();
    known.wait();
    try {
      return other.result() + 10;
    } catch (const DeadlockError&) { return 1; }
  };
  a = executor.submit([&] { return wait_for(b); });
  b = executor.submit([&] { return wait_for(a); });
  known.open();
  CHECK(a.result() + b.result() == 12);
}

TEST_CASE("as_completed() keeps the order of those that ended since the last look") {
  std::vector<Promise<int>> promises(4);
  std::vector<Future<int>> futures;
  for (const auto& promise : promises) futures.push_back(promise.future());
  auto completed = concurrent::as_completed(futures);
  for (const std::size_t i : {2U, 0U, 3U, 1U}) promises[i].set_result(static_cast<int>(i));
  std::vector<int> seen;
  for (const auto& future : completed) seen.push_back(future.result());
  CHECK(seen == std::vector<int>{2, 0, 3, 1});
}

TEST_CASE("future(i) and futures() of a map give each element to its own handle") {
  ThreadPoolExecutor executor(2);
  std::vector<Future<int>> all;
  {
    auto squares = executor.map(
        [](int i) {
          if (i == 2) throw std::domain_error("two");
          return i * i;
        },
        std::views::iota(0, 5));
    all = squares.futures();
    CHECK(squares.future(1) == all[1]);
    CHECK_THROWS_AS(squares.future(5), std::out_of_range);
    auto it = squares.begin();
    ++it;
    ++it;
    CHECK_THROWS_AS(*it, std::domain_error);
    ++it;
    CHECK(*it == 9);
    ++it;
    CHECK(*it == 16);
  }
  REQUIRE(all.size() == 5);
  CHECK(all[1].result() == 1);
  CHECK_THROWS_AS(all[2].result(), std::domain_error);
  CHECK(all[3].result() == 9);
}

TEST_CASE("future(i) of an element that runs is running and too late to cancel") {
  Gate begun;
  Gate go_on;
  ThreadPoolExecutor executor(1);
  auto mapped = executor.map(
      MapOptions{.chunksize = 2},
      [&](int i) {
        begun.open();
        go_on.wait();
        return i;
      },
      std::views::iota(0, 2));
  const support::OpenAtExit opened(go_on);
  begun.wait();
  const auto first = mapped.future(0);
  const auto second = mapped.future(1);
  CHECK(first.running());
  CHECK_FALSE(first.cancel());
  CHECK_FALSE(second.running());
  go_on.open();
  CHECK(first.result() == 0);
  CHECK(second.result() == 1);
}

TEST_CASE("cancel() of a future(i) cancels that element alone") {
  ThreadPoolExecutor executor(1);
  std::atomic<int> calls{0};
  support::BusyWorker busy(executor);
  auto mapped = executor.map(
      MapOptions{.chunksize = 3},
      [&calls](int i) {
        calls.fetch_add(1);
        return i;
      },
      std::views::iota(0, 3));
  const auto middle = mapped.future(1);
  CHECK(middle.cancel());
  CHECK(middle.cancelled());
  busy.release();
  auto it = mapped.begin();
  CHECK(*it == 0);
  ++it;
  CHECK_THROWS_AS(*it, concurrent::CancelledError);
  ++it;
  CHECK(*it == 2);
  CHECK(calls == 2);
}

TEST_CASE("with a buffersize a map draws no more than it hands out") {
  // One worker runs in order of submission: a task behind the map sees all that the map has drawn.
  ThreadPoolExecutor executor(1);
  std::atomic<int> calls{0};
  const auto count = [&calls](int i) {
    calls.fetch_add(1);
    return i;
  };
  const auto ran = [&] { return executor.submit([&calls] { return calls.load(); }).result(); };
  SECTION("of a range in place") {
    auto mapped = executor.map(MapOptions{.buffersize = 4}, count, std::views::iota(0, 1000));
    CHECK(ran() == 4);
    CHECK_THROWS_AS(mapped.size(), InvalidStateError);
    auto it = mapped.begin();
    CHECK(*it == 0);
    ++it;
    CHECK(ran() == 5);
    long sum = 0;
    for (; it != mapped.end(); ++it) sum += *it;
    CHECK(sum == 1000L * 999 / 2);
    CHECK(mapped.size() == 1000);
    CHECK(mapped.done());
  }
  SECTION("of a stream") {
    std::istringstream numbers("1 2 3 4 5 6 7");
    auto mapped =
        executor.map(MapOptions{.buffersize = 2}, count, std::views::istream<int>(numbers));
    CHECK(ran() == 2);
    CHECK(mapped.result() == std::vector<int>{1, 2, 3, 4, 5, 6, 7});
  }
}

TEST_CASE("a callback of a map runs once, when all elements have ended") {
  Gate go_on;
  support::Counter called;
  ThreadPoolExecutor executor(1);
  auto mapped = executor.map([&go_on](int) { go_on.wait(); }, std::views::iota(0, 3));
  const support::OpenAtExit opened(go_on);
  bool all_have_ended = false;
  mapped.add_done_callback([&] {
    all_have_ended = mapped.completed() == 3;
    called.add();
  });
  CHECK(called.value() == 0);
  go_on.open();
  mapped.wait();
  // A waiter may be back before the callback has run.
  REQUIRE(support::eventually([&] { return called.value() != 0; }));
  CHECK(all_have_ended);
  mapped.add_done_callback([&called] { called.add(); });
  CHECK(called.value() == 2);
}

TEST_CASE("a handler of unhandled exceptions may set another") {
  std::atomic<int> second{0};
  auto former = concurrent::set_unhandled_exception_handler([&second](std::exception_ptr) {
    concurrent::set_unhandled_exception_handler([&second](std::exception_ptr) { ++second; });
  });
  {
    ThreadPoolExecutor executor(1);
    executor.post([] { throw 1; });
    executor.post([] { throw 2; });
  }
  concurrent::set_unhandled_exception_handler(std::move(former));
  CHECK(second == 1);
}

TEST_CASE("an idle worker keeps nothing of its last task") {
  Counts counts;
  ThreadPoolExecutor executor(1);
  executor.submit([held = Counted(counts)] {}).wait();
  CHECK(counts.alive == 0);
  executor.submit([held = Counted(counts)] { return held; }).wait();
  // The worker lets go of the task behind the wake-up of who waits for it.
  CHECK(support::eventually([&] { return counts.alive == 0; }));
  try {
    executor.submit([held = std::make_shared<Counted>(counts)] { throw held; }).wait();
  } catch (...) {}
  CHECK(support::eventually([&] { return counts.alive == 0; }));
}

TEST_CASE("a task that owns its own future is released with it") {
  Counts counts;
  SECTION("when it has run") {
    Gate go_on;
    ThreadPoolExecutor executor(1);
    const support::OpenAtExit opened(go_on);
    auto keeper = std::make_shared<Future<Counted>>();
    *keeper = executor.submit([keeper, &go_on, &counts] {
      go_on.wait();
      return Counted(counts);
    });
    const std::weak_ptr<Future<Counted>> seen = keeper;
    keeper.reset();
    go_on.open();
    executor.shutdown();
    CHECK(seen.expired());
  }
  SECTION("when it was cancelled, through that very handle") {
    ThreadPoolExecutor executor(1);
    support::BusyWorker busy(executor);
    auto keeper = std::make_shared<Future<void>>();
    *keeper = executor.submit([keeper, held = Counted(counts)] {});
    const Future<void>& handle = *keeper;
    keeper.reset();
    CHECK(handle.cancel());
  }
  SECTION("when its callback has run") {
    ThreadPoolExecutor executor(1);
    auto future = executor.submit([&counts] { return Counted(counts); });
    future.add_done_callback([own = future](const auto&) { static_cast<void>(own); });
    future = {};
    executor.shutdown();
  }
  CHECK(counts.alive == 0);
}

TEST_CASE("an executor may be destroyed by a thread_local of its own worker") {
  Counts counts;
  Gate known;
  auto owner = std::make_unique<ThreadPoolExecutor>(
      ThreadPoolExecutor::Options{.max_workers = 1, .initializer = [held = Counted(counts)] {}});
  ThreadPoolExecutor& executor = *owner;
  executor.post([&] {
    known.wait();
    owner_in_thread = std::move(owner);
  });
  const auto last = executor.submit([] { return 1; });
  executor.shutdown({.wait = false});
  known.open();
  CHECK(last.result() == 1);
  CHECK(support::eventually([&] { return counts.alive == 0; }));
}

TEST_CASE("wait_until follows a clock that is set while it waits") {
  support::Counter looks;
  const Promise<int> promise;
  const auto time = SettableClock::now() + std::chrono::hours(1);
  SettableClock::looks = &looks;
  std::future_status status = std::future_status::ready;
  std::thread waiter([&] { status = promise.future().wait_until(time); });
  looks.reached(1);
  SettableClock::ahead = SettableClock::duration(std::chrono::hours(2)).count();
  waiter.join();
  SettableClock::looks = nullptr;
  SettableClock::ahead = 0;
  CHECK(status == std::future_status::timeout);
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
TEST_CASE("release_memory() gives the memory of finished tasks back to the system") {
  if (!concurrent::detail::kRecycleNodes) return;  // no memory is kept that could be released
  constexpr std::size_t count = 100000;
  ThreadPoolExecutor executor(1);
  std::vector<Future<int>> futures(count);
  for (auto& future : futures) future = executor.submit([] { return 1; });
  concurrent::wait(futures);
  for (auto& future : futures) future = {};
  // Together they hold one node at least for every task.
  const std::size_t before = bytes_in_use();
  concurrent::release_memory();
  CHECK(bytes_in_use() + count * 32 < before);
}
#endif

#if CONCURRENT_TESTS_HAVE_CHILD
TEST_CASE("the child of a fork in a task runs nothing of the executor's copy") {
  if (support::kSanitized) return;  // ThreadSanitizer lets no such child start a thread
  std::atomic<bool> has_run{false};
  support::Gate is_queued;
  ThreadPoolExecutor executor(1);
  auto forked = executor.submit([&] {
    is_queued.wait();
    const ::pid_t child = ::fork();
    if (child != 0) return child;
    ::alarm(100);
    {
      // A wait that sleeps: a spare worker of the copy would begin what is queued there.
      ThreadPoolExecutor fresh(1);
      fresh.submit([] { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }).wait();
    }
    ::_exit(has_run ? 1 : 0);
  });
  const auto queued = executor.submit([&has_run] { has_run = true; });
  is_queued.open();
  int status = -1;
  REQUIRE(::waitpid(forked.result(), &status, 0) > 0);
  CHECK(status == 0);
  queued.wait();
}

TEST_CASE("child: a submit in an atexit handler", "[.child]") {
  static ThreadPoolExecutor* executor = nullptr;
  std::atexit([] {
    ThreadPoolExecutor fresh(1);
    const bool runs = executor->submit([] { return 1; }).result() == 1 &&
                      fresh.submit([] { return 2; }).result() == 2;
    std::_Exit(runs ? 42 : 1);
  });
  executor = new ThreadPoolExecutor(2);  // lives as long as the process
  executor->submit([] {}).wait();
}

TEST_CASE("a submit in an atexit handler runs") {
  CHECK(support::run_child("child: a submit in an atexit handler") == 42);
}
#endif

TEST_CASE(
    "cancel() on a handle that is among the captures outlives the queue's entry and the handle",
    "[mended]") {
  // The captures hold the only handle. While they are destroyed, the worker drops the queue's entry:
  // from then on nothing but cancel() itself keeps the task. What is used after its end is seen
  // where nodes are not recycled, by AddressSanitizer.
  ThreadPoolExecutor executor(1);
  Gate gate;
  const support::OpenAtExit opens(gate);
  executor.post([&] { gate.wait(); });

  struct DropsTheEntry {
    DropsTheEntry(ThreadPoolExecutor& at, Gate& before) : executor(at), gate(before) {}
    DropsTheEntry(const DropsTheEntry&) = delete;
    DropsTheEntry& operator=(const DropsTheEntry&) = delete;
    ~DropsTheEntry() {
      const Future<void> behind = executor.submit([] {});
      gate.open();
      behind.wait();
    }
    ThreadPoolExecutor& executor;
    Gate& gate;
  };
  auto self = std::make_shared<Future<void>>();
  auto drops = std::make_shared<DropsTheEntry>(executor, gate);
  Future<void>& handle = *self;
  // Destroyed in either order: both are dead before cancel() goes on.
  *self = executor.submit([self, drops] {});
  self.reset();
  drops.reset();
  CHECK(handle.cancel());
  CHECK(executor.submit([] { return 5; }).result() == 5);
}

TEST_CASE("the clock of as_completed starts at its call, not where the first future is asked for",
          "[mended]") {
  using namespace std::chrono_literals;
  Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opens(gate);
  const std::vector<Future<void>> futures = {executor.submit([&] { gate.wait(); })};
  // Had the first asking started the clock, none of these could end before the limit has passed
  // once more. The second and later ones are for machines that stand still in between.
  constexpr auto limit = 200ms;
  CHECK(support::eventually([&] {
    auto completed = concurrent::as_completed(futures, {.timeout = limit});
    std::this_thread::sleep_for(limit);
    const auto asked = std::chrono::steady_clock::now();
    CHECK_THROWS_AS(*completed.begin(), concurrent::TimeoutError);
    return std::chrono::steady_clock::now() - asked < limit;
  }));
}
