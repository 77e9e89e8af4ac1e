// SPDX-License-Identifier: MIT
//
// What Python promises of concurrent.futures.as_completed().

#include <concurrent/executor.hpp>

#include <chrono>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"

using concurrent::as_completed;
using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

namespace {

Future<int> successful() {
  Promise<int> promise;
  promise.set_result(42);
  return promise.future();
}

}  // namespace

TEST_CASE("as_completed() yields every future exactly once", "[as_completed]") {
  ThreadPoolExecutor pool(2);
  const Promise<int> dropped;
  dropped.future().cancel();
  const std::vector futures{successful(), dropped.future(), pool.submit([] { return 6 * 7; }),
                            pool.submit([]() -> int { throw std::runtime_error("failed"); })};
  std::vector<Future<int>> seen;
  for (const auto& future : as_completed(futures)) { seen.push_back(future); }
  REQUIRE(seen.size() == 4);
  REQUIRE(std::set(seen.begin(), seen.end()) == std::set(futures.begin(), futures.end()));
}

TEST_CASE("as_completed() yields what is done already before it times out", "[as_completed]") {
  for (const auto limit : {0ms, 100ms}) {
    const Promise<int> pending;
    const auto done = successful();
    std::vector<Future<int>> seen;
    bool has_timed_out = false;
    try {
      for (const auto& future : as_completed({pending.future(), done}, {.timeout = limit})) {
        seen.push_back(future);
      }
    } catch (const concurrent::TimeoutError&) { has_timed_out = true; }
    REQUIRE(has_timed_out);
    REQUIRE(seen == std::vector{done});
  }
}

TEST_CASE("as_completed() yields a future once that is given twice", "[as_completed]") {
  ThreadPoolExecutor pool(1);
  const auto future = pool.submit([] { return 1; });
  int count = 0;
  for (const auto& same : as_completed({future, future})) { count += same.result(); }
  REQUIRE(count == 1);
}

TEST_CASE("The TimeoutError of as_completed() tells how many of how many are unfinished",
          "[as_completed]") {
  std::vector<Promise<int>> promises(4);
  promises[1].set_result(1);
  promises[2].set_result(2);
  std::vector<Future<int>> futures;
  for (const auto& promise : promises) { futures.push_back(promise.future()); }
  std::string text;
  try {
    for (const auto& future : as_completed(futures, {.timeout = 0s})) { REQUIRE(future.done()); }
  } catch (const concurrent::TimeoutError& error) { text = error.what(); }
  REQUIRE(text == "2 (of 4) futures unfinished");
}

TEST_CASE("The loop of Python's documentation works: futures are the keys of what they load",
          "[as_completed]") {
  ThreadPoolExecutor pool(5);
  std::unordered_map<Future<std::size_t>, std::string> url_of;
  for (const std::string url : {"http://one", "http://three", "bad"}) {
    url_of[pool.submit([url] {
      if (url == "bad") throw std::runtime_error("no such host");
      return url.size();
    })] = url;
  }
  std::size_t bytes = 0;
  std::string broken;
  for (const auto& future : as_completed(url_of | std::views::keys)) {
    try {
      bytes += future.result();
    } catch (const std::runtime_error& error) { broken += url_of[future] + ": " + error.what(); }
  }
  REQUIRE(bytes == 10 + 12);
  REQUIRE(broken == "bad: no such host");
}
