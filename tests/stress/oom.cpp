// SPDX-License-Identifier: MIT
//
// Allocations that fail. This file replaces the global operator new for the whole program: it fails
// when a test asks for that, else it is malloc. What throws must have scheduled nothing and lost
// nothing. Sanitizers bring an operator new of their own and are left alone.

#include <concurrent/executor.hpp>

#include "support/scale.hpp"

#if !CONCURRENT_TESTS_SANITIZED

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <ranges>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::BusyWorker;
using support::Counted;
using support::Counts;
using support::Gate;
using support::scaled;

namespace {

// How many allocations of this thread may still succeed; below zero: all.
thread_local long allocations_left = -1;
// True once allocations_left has made one fail.
thread_local bool has_failed = false;
// Of how many allocations of the whole process one fails; zero: none.
std::atomic<unsigned> process_rate = 0;
std::atomic<unsigned> process_count = 0;
// Allocations less deallocations, counted while a test asks for it.
std::atomic<bool> is_counting = false;
std::atomic<long> live_allocations = 0;

// Where the next allocation of this thread that is aligned to pages stops: on the way to it the library
// holds the lock of its node memory.
struct Stop {
  Gate reached;
  Gate goes_on;
};
thread_local Stop* stop = nullptr;

bool is_to_fail() {
  if (allocations_left == 0) {
    has_failed = true;
    return true;
  }
  if (allocations_left > 0) --allocations_left;
  const unsigned rate = process_rate.load(std::memory_order_relaxed);
  return rate != 0 && process_count.fetch_add(1, std::memory_order_relaxed) % rate == rate - 1;
}

void* allocate(std::size_t size, std::size_t alignment) {
  if (is_to_fail()) return nullptr;
  if (alignment >= 4096 && stop != nullptr) {
    Stop& here = *std::exchange(stop, nullptr);
    here.reached.open();
    here.goes_on.wait();
  }
  if (is_counting.load(std::memory_order_relaxed)) live_allocations.fetch_add(1);
  if (size == 0) size = 1;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  void* const memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void deallocate(void* memory) {
  if (memory == nullptr) return;
  if (is_counting.load(std::memory_order_relaxed)) live_allocations.fetch_sub(1);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { deallocate(memory); }
void operator delete[](void* memory) noexcept { deallocate(memory); }
void operator delete(void* memory, std::size_t) noexcept { deallocate(memory); }
void operator delete[](void* memory, std::size_t) noexcept { deallocate(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { deallocate(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { deallocate(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { deallocate(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { deallocate(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { deallocate(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { deallocate(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  deallocate(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  deallocate(memory);
}

namespace {

enum class Outcome { done, threw, not_reached };

// Calls f() with the allocation after the first `successes` of this thread failing, and all behind
// it. not_reached: f() needs no more than that.
template <class F> Outcome call_short_of_memory(long successes, F f) {
  has_failed = false;
  allocations_left = successes;
  Outcome outcome = Outcome::done;
  try {
    f();
  } catch (const std::bad_alloc&) { outcome = Outcome::threw; } catch (const std::system_error&) {
    outcome = Outcome::threw;  // The first worker could not be started.
  }
  allocations_left = -1;
  return outcome == Outcome::done && !has_failed ? Outcome::not_reached : outcome;
}

// Makes one in `rate` allocations of the process fail for the length of a scope.
class ProcessShortOfMemory {
 public:
  explicit ProcessShortOfMemory(unsigned rate) { process_rate.store(rate); }
  ProcessShortOfMemory(const ProcessShortOfMemory&) = delete;
  ProcessShortOfMemory& operator=(const ProcessShortOfMemory&) = delete;
  ~ProcessShortOfMemory() { process_rate.store(0); }
};

// A callable of some size that is also over-aligned.
struct alignas(128) BigCounted {
  explicit BigCounted(Counts& counts) : counted(counts, 1) {}
  int operator()() const { return counted.value(); }
  Counted counted;
  char bulk[1000] = {};
};

}  // namespace

TEST_CASE("A constructor that runs out of memory leaves no thread, and nothing of its options",
          "[oom]") {
  Counts counts;
  const int baseline = support::count_threads();
  int failures = 0;
  for (long successes = 0;; ++successes) {
    REQUIRE(successes < 1000);
    ThreadPoolExecutor::Options options;
    options.max_workers = 2;
    options.thread_name_prefix = std::string(100, 'x');
    options.initializer = [big = BigCounted(counts)] {};
    const Outcome outcome = call_short_of_memory(successes, [&] {
      // In this order, for a parameter may be destroyed as late as behind the call.
      ThreadPoolExecutor::Options passed = std::move(options);
      const ThreadPoolExecutor pool(std::move(passed));
    });
    REQUIRE(counts.alive.load() == 0);
    REQUIRE(support::count_threads() == baseline);
    if (outcome == Outcome::threw) ++failures;
    if (outcome == Outcome::not_reached) break;
  }
  REQUIRE(failures > 0);
}

TEST_CASE("The first submit() of a pool that runs out of memory schedules nothing", "[oom]") {
  Counts counts;
  int failures = 0;
  for (long successes = 0;; ++successes) {
    std::atomic<bool> has_run = false;
    Outcome outcome;
    {
      ThreadPoolExecutor pool(2);
      outcome = call_short_of_memory(successes, [&] {
        pool.submit([&has_run, counted = Counted(counts)] { has_run.store(true); });
      });
      // Whatever has happened, the pool is as good as new.
      REQUIRE(pool.submit([] { return 1; }).result() == 1);
    }
    REQUIRE(has_run.load() == (outcome != Outcome::threw));
    REQUIRE(counts.alive.load() == 0);
    if (outcome == Outcome::threw) ++failures;
    if (outcome == Outcome::not_reached) break;
  }
  REQUIRE(failures > 0);
}

TEST_CASE("submit() and post() that run out of memory schedule nothing", "[oom]") {
  const bool is_big = GENERATE(false, true);
  const bool posts = GENERATE(false, true);
  CAPTURE(is_big, posts);
  Counts counts;
  int accepted = 0;
  int refused = 0;
  std::atomic<int> ran = 0;
  {
    ThreadPoolExecutor pool(1);
    BusyWorker busy(pool);
    for (int round = 0; round < 20000; ++round) {
      // Where memory is recycled most calls need none, so that few of them fail.
      const Outcome outcome = call_short_of_memory(round % 3 == 0 ? 1 : 0, [&] {
        auto small_task = [&ran, counted = Counted(counts)] { ran.fetch_add(1); };
        auto big_task = [&ran, big = BigCounted(counts)] { ran.fetch_add(1); };
        if (is_big && posts) pool.post(std::move(big_task));
        if (is_big && !posts) pool.submit(std::move(big_task));
        if (!is_big && posts) pool.post(std::move(small_task));
        if (!is_big && !posts) pool.submit(std::move(small_task));
      });
      (outcome == Outcome::threw ? refused : accepted) += 1;
      REQUIRE(counts.alive.load() == accepted);
    }
  }
  REQUIRE(ran.load() == accepted);
  REQUIRE(counts.alive.load() == 0);
  REQUIRE(refused > 0);
  REQUIRE(accepted > 0);
}

TEST_CASE("submit() in a task that runs out of memory schedules nothing and loses nothing",
          "[oom]") {
  // The worker's own queue has to grow here, and that may fail as well as the task itself.
  const int workers = GENERATE(1, 2);
  CAPTURE(workers);
  Counts counts;
  std::atomic<int> ran = 0;
  int accepted = 0;
  int refused = 0;
  {
    ThreadPoolExecutor pool(workers);
    pool.submit([&] {
          for (int i = 0; i < 20000; ++i) {
            const Outcome outcome = call_short_of_memory(
                i % 2, [&] { pool.post([&ran, counted = Counted(counts)] { ran.fetch_add(1); }); });
            (outcome == Outcome::threw ? refused : accepted) += 1;
          }
        })
        .result();
  }
  REQUIRE(ran.load() == accepted);
  REQUIRE(accepted + refused == 20000);
  REQUIRE(accepted > 0);
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("map() that runs out of memory runs nothing afterwards", "[oom]") {
  Counts counts;
  ThreadPoolExecutor pool(2);
  pool.submit([] {}).result();
  std::vector<int> numbers(100);
  std::iota(numbers.begin(), numbers.end(), 0);
  int failures = 0;
  for (long successes = 0;; ++successes) {
    REQUIRE(successes < 10000);
    std::atomic<bool> has_ended = false;
    std::atomic<int> late = 0;
    int sum = 0;
    const Outcome outcome = call_short_of_memory(successes, [&] {
      for (const Counted& result : pool.map(
               concurrent::MapOptions{.chunksize = 10},
               [&](int value) {
                 if (has_ended.load()) late.fetch_add(1);
                 return Counted(counts, value);
               },
               numbers)) {
        sum += result.value();
      }
    });
    has_ended.store(true);
    if (outcome != Outcome::threw) REQUIRE(sum == 4950);
    REQUIRE(pool.submit([] { return 1; }).result() == 1);
    REQUIRE(late.load() == 0);
    REQUIRE(counts.alive.load() == 0);
    if (outcome == Outcome::threw) ++failures;
    if (outcome == Outcome::not_reached) break;
  }
  REQUIRE(failures > 0);
}

TEST_CASE("Calls that run out of memory leave none behind", "[oom]") {
  Counts counts;
  ThreadPoolExecutor pool(1);
  pool.submit([] {}).result();
  auto fail_often = [&] {
    for (int i = 0; i < 1000; ++i) {
      call_short_of_memory(i % 4, [&] { pool.submit(BigCounted(counts)).get(); });
      call_short_of_memory(i % 8, [&] {
        pool.map([&counts](int value) { return Counted(counts, value); }, std::views::iota(0, 10))
            .result();
      });
    }
  };
  fail_often();
  is_counting.store(true);
  fail_often();
  is_counting.store(false);
  // What is kept for later use has a bound; a leak would have left a thousand and more.
  const long growth = live_allocations.exchange(0);
  CAPTURE(growth);
  REQUIRE(growth < 100);
  REQUIRE(counts.alive.load() == 0);
}

TEST_CASE("Waiting, cancelling and shutting down need no memory", "[oom]") {
  Counts counts;
  std::vector<Future<int>> futures;
  futures.reserve(100);
  std::vector<Future<int>> copies;
  copies.reserve(100);
  int sum = 0;
  int cancelled = 0;
  ThreadPoolExecutor pool(2);
  for (int i = 0; i < 50; ++i) { futures.push_back(pool.submit(Counted(counts, 1))); }
  const Outcome outcome = call_short_of_memory(0, [&] {
    for (const Future<int>& future : futures) {
      copies.push_back(future);
      sum += future.result();
      future.wait();
      sum += future.exception() == nullptr ? 1 : 0;
    }
  });
  REQUIRE(outcome == Outcome::not_reached);
  REQUIRE(sum == 100);
  futures.clear();
  copies.clear();
  {
    BusyWorker first(pool);
    BusyWorker second(pool);
    for (int i = 0; i < 50; ++i) { futures.push_back(pool.submit(Counted(counts, 1))); }
    const Outcome ending = call_short_of_memory(0, [&] {
      for (int i = 0; i < 25; ++i) {
        cancelled += futures[static_cast<std::size_t>(i)].cancel() ? 1 : 0;
      }
      pool.shutdown({.wait = false, .cancel_futures = true});
    });
    REQUIRE(ending == Outcome::not_reached);
    REQUIRE(cancelled == 25);
    REQUIRE(counts.alive.load() == 0);
  }
  REQUIRE(call_short_of_memory(0, [&] { pool.shutdown(); }) == Outcome::not_reached);
}

TEST_CASE("One in many allocations fails, in any thread: futures carry it, nothing is lost",
          "[oom]") {
  const unsigned rate = GENERATE(7U, 100U, 1000U);
  CAPTURE(rate);
  constexpr int kSubmitters = 3;
  const int count = 20000;
  Counts counts;
  std::atomic<int> accepted = 0;
  std::atomic<int> refused = 0;
  std::atomic<int> succeeded = 0;
  std::atomic<int> failed = 0;
  {
    std::vector<std::vector<Future<std::string>>> all_futures(kSubmitters);
    for (auto& futures : all_futures) { futures.reserve(count); }
    ThreadPoolExecutor pool(3);
    stress::in_parallel(kSubmitters, [&](int submitter) {
      auto& futures = all_futures[static_cast<std::size_t>(submitter)];
      const ProcessShortOfMemory scope(rate);
      for (int i = 0; i < count; ++i) {
        try {
          futures.push_back(pool.submit([&pool, i, counted = Counted(counts)] {
            if (i % 10 == 0) {
              return pool.submit([] { return std::string(100, 'y'); }).get();
            }
            return std::string(100, 'x');
          }));
          accepted.fetch_add(1);
        } catch (const std::bad_alloc&) { refused.fetch_add(1); } catch (const std::system_error&) {
          refused.fetch_add(1);
        }
      }
      for (Future<std::string>& future : futures) {
        try {
          if (future.get().size() == 100) succeeded.fetch_add(1);
        } catch (const std::bad_alloc&) { failed.fetch_add(1); } catch (const std::system_error&) {
          failed.fetch_add(1);
        }
      }
    });
  }
  REQUIRE(accepted.load() + refused.load() == kSubmitters * count);
  REQUIRE(succeeded.load() + failed.load() == accepted.load());
  REQUIRE(counts.alive.load() == 0);
}

#if defined(__linux__)
TEST_CASE("fork() waits until no other thread holds a lock that the child will need", "[oom]") {
  if (!concurrent::detail::kRecycleNodes) return;  // then no lock is held in an allocation
  // Of a size of node that nothing else here uses, so that memory for them is soon asked for.
  struct Rare {
    char bytes[330];
  };
  const auto allocate_some = [] {
    std::vector<concurrent::Promise<Rare>> promises(1000);
    return promises.size();
  };
  Stop here;
  std::thread holder([&] {
    stop = &here;
    allocate_some();
    stop = nullptr;
    here.reached.open();  // should the assumption not hold, this does not hang
  });
  here.reached.wait();
  // A fork that does not wait has happened by then.
  std::thread helper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    here.goes_on.open();
  });
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    ::_exit(allocate_some() == 1000 ? 7 : 8);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {}
  helper.join();
  holder.join();
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 7);
}
#endif

#endif
