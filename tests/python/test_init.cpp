// SPDX-License-Identifier: MIT
//
// What Python promises of `initializer` and `thread_name_prefix`.

#include <concurrent/executor.hpp>

#include <atomic>
#include <exception>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

using concurrent::BrokenThreadPool;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Gate;

namespace {

thread_local std::string initializer_status = "uninitialized";

// Names are compared without the number behind the last underscore.
std::string prefix_of(const std::string& name) { return name.substr(0, name.rfind('_')); }

}  // namespace

TEST_CASE("The initializer has run in a worker before its first task", "[init]") {
  ThreadPoolExecutor pool(
      {.max_workers = 3, .initializer = [] { initializer_status = "initialized"; }});
  std::vector<Future<std::string>> futures;
  for (int i = 0; i < 30; ++i) {
    futures.push_back(pool.submit([] { return initializer_status; }));
  }
  for (auto& future : futures) { REQUIRE(future.result() == "initialized"); }
  REQUIRE(initializer_status == "uninitialized");
}

TEST_CASE("The initializer runs once in each worker", "[init]") {
  std::atomic<int> calls = 0;
  Gate gate;
  ThreadPoolExecutor pool({.max_workers = 4, .initializer = [&calls] { calls.fetch_add(1); }});
  const support::OpenAtExit opener(gate);
  support::Counter running;
  for (int i = 0; i < 4; ++i) {
    pool.submit([&] {
      running.add();
      gate.wait();
    });
  }
  running.reached(4);
  gate.open();
  for (int i = 0; i < 50; ++i) {
    pool.submit([] {}).result();
  }
  REQUIRE(calls.load() == 4);
  REQUIRE(pool.worker_count() == 4);
}

TEST_CASE("When the initializer throws, every pending future gets BrokenThreadPool", "[init]") {
  Gate gate;
  ThreadPoolExecutor pool({.max_workers = 2, .initializer = [&gate] {
                             gate.wait();
                             throw std::domain_error("no licence");
                           }});
  const support::OpenAtExit opener(gate);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 20; ++i) {
    futures.push_back(pool.submit([] { return 1; }));
  }
  gate.open();
  for (auto& future : futures) {
    REQUIRE_THROWS_AS(future.result(), BrokenThreadPool);
    REQUIRE_FALSE(future.cancelled());
    REQUIRE(future.done());
  }
}

TEST_CASE("When the initializer has thrown, every submit() throws BrokenThreadPool", "[init]") {
  ThreadPoolExecutor pool(
      {.max_workers = 2, .initializer = [] { throw std::domain_error("no licence"); }});
  auto future = pool.submit([] { return 1; });
  REQUIRE_THROWS_AS(future.result(), BrokenThreadPool);
  REQUIRE_THROWS_AS(pool.submit([] { return 1; }), BrokenThreadPool);
  REQUIRE_THROWS_AS(pool.post([] {}), BrokenThreadPool);
  REQUIRE_THROWS_AS(pool.map([](int value) { return value; }, {1, 2, 3}), BrokenThreadPool);
}

TEST_CASE("BrokenThreadPool carries what the initializer threw", "[init]") {
  ThreadPoolExecutor pool(
      {.max_workers = 1, .initializer = [] { throw std::domain_error("no licence"); }});
  auto future = pool.submit([] { return 1; });
  std::string cause;
  try {
    future.result();
  } catch (const BrokenThreadPool& broken) {
    try {
      broken.rethrow_nested();
    } catch (const std::domain_error& error) { cause = error.what(); }
  }
  REQUIRE(cause == "no licence");
}

TEST_CASE("shutdown() of a broken executor returns", "[init]") {
  ThreadPoolExecutor pool(
      {.max_workers = 3, .initializer = [] { throw std::domain_error("no licence"); }});
  auto future = pool.submit([] {});
  pool.shutdown();
  REQUIRE_THROWS_AS(future.result(), BrokenThreadPool);
}

TEST_CASE("Submitting much while all workers are still in the initializer does not hang",
          "[init]") {
  Gate gate;
  ThreadPoolExecutor pool({.max_workers = 2, .initializer = [&gate] { gate.wait(); }});
  const support::OpenAtExit opener(gate);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 1000; ++i) {
    futures.push_back(pool.submit([i] { return i; }));
  }
  REQUIRE(pool.worker_count() == 2);
  gate.open();
  for (int i = 0; i < 1000; ++i) { REQUIRE(futures[static_cast<std::size_t>(i)].result() == i); }
}

#if defined(__linux__)

TEST_CASE("Worker threads are named thread_name_prefix, underscore, number", "[init]") {
  Gate gate;
  support::Counter running;
  std::vector<Future<std::string>> futures;
  ThreadPoolExecutor pool({.max_workers = 5, .thread_name_prefix = "Prefix"});
  const support::OpenAtExit opener(gate);
  for (int i = 0; i < 5; ++i) {
    futures.push_back(pool.submit([&] {
      running.add();
      gate.wait();
      return support::this_thread_name();
    }));
  }
  running.reached(5);
  gate.open();
  std::set<std::string> names;
  for (auto& future : futures) { names.insert(future.result()); }
  REQUIRE(names ==
          std::set<std::string>{"Prefix_0", "Prefix_1", "Prefix_2", "Prefix_3", "Prefix_4"});
}

TEST_CASE("Without a prefix each executor has a name of its own", "[init]") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  const std::string first_name = first.submit(support::this_thread_name).result();
  const std::string second_name = second.submit(support::this_thread_name).result();
  REQUIRE(first_name.starts_with("Executor-"));
  REQUIRE(first_name.ends_with("_0"));
  REQUIRE(second_name.starts_with("Executor-"));
  REQUIRE(prefix_of(first_name) != prefix_of(second_name));
}

#endif
