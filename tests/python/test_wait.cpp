// SPDX-License-Identifier: MIT
//
// What Python promises of concurrent.futures.wait(). A cancelled future is done at once here.

#include <concurrent/executor.hpp>

#include <chrono>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::Promise;
using concurrent::ReturnWhen;
using concurrent::ThreadPoolExecutor;
using support::Gate;
using namespace std::chrono_literals;

namespace {

using Futures = std::vector<Future<int>>;

// A future in every final state.
Future<int> successful() {
  Promise<int> promise;
  promise.set_result(42);
  return promise.future();
}
Future<int> failed() {
  Promise<int> promise;
  promise.set_exception(std::make_exception_ptr(std::runtime_error("failed")));
  return promise.future();
}
Future<int> cancelled() {
  const Promise<int> promise;
  promise.future().cancel();
  return promise.future();
}

}  // namespace

TEST_CASE("wait() counts a future once that is given twice", "[wait]") {
  ThreadPoolExecutor pool(1);
  const auto future = pool.submit([] { return 1; });
  const auto result = concurrent::wait({future, future});
  REQUIRE(result.done == Futures{future});
  REQUIRE(result.not_done.empty());
}

TEST_CASE("FIRST_COMPLETED returns when one future is done", "[wait]") {
  Gate go_on;
  Gate never_early;
  ThreadPoolExecutor pool(2);
  const support::OpenAtExit opened(never_early);
  const auto first = pool.submit([&go_on] {
    go_on.wait();
    return 1;
  });
  const auto second = pool.submit([&never_early] {
    never_early.wait();
    return 2;
  });
  const support::OpenOnceAsleep opener(go_on);
  const auto result =
      concurrent::wait({first, second}, {.return_when = ReturnWhen::first_completed});
  REQUIRE(result.done == Futures{first});
  REQUIRE(result.not_done == Futures{second});
}

TEST_CASE("FIRST_COMPLETED returns at once with all that is done already", "[wait]") {
  const Promise<int> pending;
  const auto one = successful();
  const auto two = cancelled();
  const auto result =
      concurrent::wait({two, one, pending.future()}, {.return_when = ReturnWhen::first_completed});
  REQUIRE(result.done == Futures{two, one});
  REQUIRE(result.not_done == Futures{pending.future()});
}

TEST_CASE("FIRST_EXCEPTION returns when one future has failed", "[wait]") {
  Gate go_on;
  Gate never_early;
  ThreadPoolExecutor pool(2);
  const support::OpenAtExit opened(never_early);
  const auto first = pool.submit([] { return 6; });
  const auto second = pool.submit([&go_on]() -> int {
    go_on.wait();
    throw std::runtime_error("this is an exception");
  });
  first.wait();
  const auto third = pool.submit([&never_early] {
    never_early.wait();
    return 3;
  });
  const support::OpenOnceAsleep opener(go_on);
  const auto result =
      concurrent::wait({first, second, third}, {.return_when = ReturnWhen::first_exception});
  REQUIRE(result.done == Futures{first, second});
  REQUIRE(result.not_done == Futures{third});
}

TEST_CASE("FIRST_EXCEPTION does not end at what returned or was cancelled", "[wait]") {
  const Promise<int> pending;
  const auto begin = std::chrono::steady_clock::now();
  const auto result =
      concurrent::wait({successful(), cancelled(), pending.future()},
                       {.timeout = 10ms, .return_when = ReturnWhen::first_exception});
  REQUIRE(std::chrono::steady_clock::now() - begin >= 10ms);
  REQUIRE(result.done.size() == 2);
  REQUIRE(result.not_done == Futures{pending.future()});
}

TEST_CASE("FIRST_EXCEPTION returns at once if a future has failed already", "[wait]") {
  const Promise<int> pending;
  const auto bad = failed();
  const auto result =
      concurrent::wait({bad, pending.future()}, {.return_when = ReturnWhen::first_exception});
  REQUIRE(result.done == Futures{bad});
  REQUIRE(result.not_done == Futures{pending.future()});
}

TEST_CASE("ALL_COMPLETED waits for futures that end in every way", "[wait]") {
  ThreadPoolExecutor pool(2);
  const Futures futures{cancelled(), failed(), successful(), pool.submit([] { return 1; }),
                        pool.submit([]() -> int { throw std::runtime_error("failed"); })};
  const auto result = concurrent::wait(futures, {.return_when = ReturnWhen::all_completed});
  REQUIRE(result.done == futures);
  REQUIRE(result.not_done.empty());
}

TEST_CASE("wait() with a timeout splits what is done from what is not, and raises nothing",
          "[wait]") {
  Gate go_on;
  ThreadPoolExecutor pool(2);
  const support::OpenAtExit opened(go_on);
  const auto quick = pool.submit([] { return 6 * 7; });
  const auto slow = pool.submit([&go_on] {
    go_on.wait();
    return 1;
  });
  quick.wait();
  const Futures futures{cancelled(), failed(), successful(), quick, slow};
  const auto result = concurrent::wait(futures, {.timeout = 10ms});
  REQUIRE(result.done == Futures(futures.begin(), futures.end() - 1));
  REQUIRE(result.not_done == Futures{slow});
}

TEST_CASE("What a wait with a timeout leaves over can be cancelled, and the rest has values",
          "[wait]") {
  Gate go_on;
  ThreadPoolExecutor pool(1);
  const support::OpenAtExit opened(go_on);
  const auto first = pool.submit([] { return 1; });
  first.wait();
  const auto running = pool.submit([&go_on] {
    go_on.wait();
    return 2;
  });
  const auto queued = pool.submit([] { return 3; });
  const auto result = concurrent::wait({first, running, queued}, {.timeout = 10ms});
  REQUIRE(result.not_done.size() == 2);
  REQUIRE(result.not_done.back().cancel());
  go_on.open();
  REQUIRE(first.result() + running.result() == 3);
  REQUIRE(queued.cancelled());
}
