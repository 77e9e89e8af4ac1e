// SPDX-License-Identifier: MIT
//
// Who has nothing to do burns no processor time.

#include <concurrent/executor.hpp>

#if defined(__linux__)

#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;

namespace {

double processor_seconds() {
  ::rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const ::timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The share of one processor that this process takes during a second in which this thread sleeps.
double share_over_a_second() {
  const double before = processor_seconds();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  return processor_seconds() - before;
}

// Sanitizers have threads of their own.
constexpr double kIdleShare = support::kSanitized ? 0.25 : 0.02;

// How often each of these threads has gone to sleep of its own accord.
std::map<long, long> sleeps_of(const std::vector<long>& threads) {
  std::map<long, long> sleeps;
  for (const long thread : threads) {
    std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
    std::string word;
    while (status >> word) {
      if (word == "voluntary_ctxt_switches:") {
        status >> sleeps[thread];
        break;
      }
    }
  }
  return sleeps;
}

std::vector<long> wake_all_workers(ThreadPoolExecutor& pool) {
  support::Barrier all(pool.max_workers());
  std::vector<Future<long>> futures;
  for (int i = 0; i < pool.max_workers(); ++i) {
    futures.push_back(pool.submit([&all] {
      all.arrive_and_wait();
      return support::this_thread_number();
    }));
  }
  std::vector<long> threads;
  for (const Future<long>& future : futures) { threads.push_back(future.result()); }
  return threads;
}

}  // namespace

TEST_CASE("An idle pool burns no processor time", "[idle]") {
  ThreadPoolExecutor pool(8);
  for (const long worker : wake_all_workers(pool)) { REQUIRE(support::falls_asleep(worker)); }
  REQUIRE(share_over_a_second() < kIdleShare);
}

TEST_CASE("The workers of an idle pool do not wake up at all", "[idle]") {
  ThreadPoolExecutor pool(4);
  const std::vector<long> workers = wake_all_workers(pool);
  for (const long worker : workers) { REQUIRE(support::falls_asleep(worker)); }
  // A worker that woke now and then would do so in every one of these windows.
  REQUIRE(support::eventually([&workers] {
    const auto before = sleeps_of(workers);
    std::this_thread::sleep_for(std::chrono::milliseconds(1000));
    return before.size() == workers.size() && sleeps_of(workers) == before;
  }));
}

TEST_CASE("Threads that are blocked in result() burn no processor time", "[idle]") {
  ThreadPoolExecutor pool(2);
  support::BusyWorker first(pool);
  support::BusyWorker second(pool);
  auto awaited = pool.submit([] { return 1; });
  std::vector<std::thread> waiters;
  support::Counter begun;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&begun, awaited, i] {
      begun.add();
      if (i % 2 == 0) {
        awaited.result();
      } else {
        awaited.result(std::chrono::hours(1));
      }
    });
  }
  begun.reached(4);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const double share = share_over_a_second();
  first.release();
  second.release();
  for (std::thread& waiter : waiters) { waiter.join(); }
  REQUIRE(share < kIdleShare);
}

TEST_CASE("A worker that waits for a task which another one runs burns no processor time",
          "[idle]") {
  Gate started;
  Gate gate;
  ThreadPoolExecutor pool(2);
  const support::OpenAtExit opener(gate);
  auto running = pool.submit([&] {
    started.open();
    gate.wait();
  });
  started.wait();
  auto waiting = pool.submit([running] { running.result(); });
  REQUIRE(support::eventually([&waiting] { return waiting.running(); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  REQUIRE(share_over_a_second() < kIdleShare);
  gate.open();
  waiting.result();
}

TEST_CASE("A pool whose other workers are busy has no worker that spins for work", "[idle]") {
  // The one that blocks has a task in its own queue which nobody may need to look for: it is taken
  // at once by the second worker. The other two find nothing and must sleep.
  Gate gate;
  support::Counter begun;
  ThreadPoolExecutor pool(4);
  const support::OpenAtExit opener(gate);
  wake_all_workers(pool);
  auto blocked = pool.submit([&] {
    pool.post([&] {
      begun.add();
      gate.wait();
    });
    begun.add();
    gate.wait();
  });
  begun.reached(2);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  REQUIRE(share_over_a_second() < kIdleShare);
  gate.open();
  blocked.result();
}

#endif
