// SPDX-License-Identifier: MIT
// wait() for several futures.
#include <array>
#include <chrono>
#include <concurrent/executor.hpp>
#include <list>
#include <map>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::Future;
using concurrent::Promise;
using concurrent::ReturnWhen;
using concurrent::ThreadPoolExecutor;
using concurrent::WaitResult;
using support::Gate;
using namespace std::chrono_literals;

using Futures = std::vector<Future<int>>;

/// Promises and their futures.
class Promises {
 public:
  explicit Promises(std::size_t count) : promises_(count) {
    for (const auto& promise : promises_) futures.push_back(promise.future());
  }
  Promise<int>& operator[](std::size_t i) { return promises_[i]; }
  void fail(std::size_t i) {
    promises_[i].set_exception(std::make_exception_ptr(std::domain_error("test")));
  }

  Futures futures;

 private:
  std::vector<Promise<int>> promises_;
};

}  // namespace

TEST_CASE("wait() waits for all, and gives them in the order of the input") {
  Gate go_on;
  ThreadPoolExecutor executor(3);
  const support::OpenAtExit opened(go_on);
  Futures futures;
  for (int i = 0; i < 5; ++i) {
    futures.push_back(executor.submit([&go_on, i] {
      if (i == 0) go_on.wait();
      return i;
    }));
  }
  const support::OpenOnceAsleep opener(go_on);
  const WaitResult<int> result = concurrent::wait(futures);
  CHECK(result.done == futures);
  CHECK(result.not_done.empty());
}

TEST_CASE("wait() with a time limit splits what is done from what is not, in input order") {
  Promises promises(5);
  promises[3].set_result(3);
  promises[1].set_result(1);
  const auto result = concurrent::wait(promises.futures, {.timeout = 20ms});
  CHECK(result.done == Futures{promises.futures[1], promises.futures[3]});
  CHECK(result.not_done == Futures{promises.futures[0], promises.futures[2], promises.futures[4]});
}

TEST_CASE("wait() does not return before its time limit while something is missing") {
  const Promise<int> promise;
  const auto begin = std::chrono::steady_clock::now();
  concurrent::wait({promise.future()}, {.timeout = 30ms});
  CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
}

TEST_CASE("wait() with a limit of zero or less only looks") {
  Promises promises(2);
  promises[1].set_result(1);
  for (const auto limit : {0ms, -5ms}) {
    for (const auto when : {ReturnWhen::all_completed, ReturnWhen::first_exception}) {
      const auto result =
          concurrent::wait(promises.futures, {.timeout = limit, .return_when = when});
      CHECK(result.done == Futures{promises.futures[1]});
      CHECK(result.not_done == Futures{promises.futures[0]});
    }
  }
}

TEST_CASE("wait() counts a future that is given twice once") {
  Promises promises(2);
  promises[0].set_result(0);
  const Future<int> a = promises.futures[0];
  const Future<int> b = promises.futures[1];
  const auto result = concurrent::wait({b, a, b, a, a}, {.timeout = 0s});
  CHECK(result.done == Futures{a});
  CHECK(result.not_done == Futures{b});
}

TEST_CASE("wait() for nothing returns at once") {
  for (const auto when :
       {ReturnWhen::all_completed, ReturnWhen::first_completed, ReturnWhen::first_exception}) {
    const auto result = concurrent::wait(Futures(), {.return_when = when});
    CHECK(result.done.empty());
    CHECK(result.not_done.empty());
  }
}

TEST_CASE("wait() until the first is done returns when one is") {
  Promises promises(3);
  Gate go_on;
  std::thread keeper([&] {
    go_on.wait();
    promises[1].set_result(1);
  });
  {
    const support::OpenOnceAsleep opener(go_on);
    const auto result =
        concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_completed});
    CHECK(result.done == Futures{promises.futures[1]});
    CHECK(result.not_done.size() == 2);
  }
  keeper.join();
}

TEST_CASE("wait() until the first is done returns at once if one is") {
  Promises promises(3);
  promises[2].set_result(2);
  const auto result =
      concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_completed});
  CHECK(result.done == Futures{promises.futures[2]});
}

TEST_CASE("wait() until the first exception goes on when others have returned") {
  Promises promises(3);
  promises[0].set_result(0);
  Gate go_on;
  std::thread keeper([&] {
    go_on.wait();
    promises[1].set_result(1);
    promises.fail(2);
  });
  {
    const support::OpenOnceAsleep opener(go_on);
    const auto result =
        concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_exception});
    CHECK(result.done == promises.futures);
  }
  keeper.join();
}

TEST_CASE("wait() until the first exception returns at once if one has failed") {
  Promises promises(3);
  promises.fail(1);
  const auto result =
      concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_exception});
  CHECK(result.done == Futures{promises.futures[1]});
  CHECK(result.not_done.size() == 2);
}

TEST_CASE("wait() until the first exception waits for all where none fails") {
  Promises promises(2);
  Gate go_on;
  std::thread keeper([&] {
    go_on.wait();
    promises[1].set_result(1);
    promises[0].set_result(0);
  });
  {
    const support::OpenOnceAsleep opener(go_on);
    const auto result =
        concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_exception});
    CHECK(result.done == promises.futures);
  }
  keeper.join();
}

TEST_CASE("for wait() a cancelled future is done and is no exception") {
  Promises promises(2);
  promises.futures[0].cancel();
  const auto first =
      concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_completed});
  CHECK(first.done == Futures{promises.futures[0]});
  const auto begin = std::chrono::steady_clock::now();
  const auto failed = concurrent::wait(
      promises.futures, {.timeout = 20ms, .return_when = ReturnWhen::first_exception});
  CHECK(std::chrono::steady_clock::now() - begin >= 20ms);
  CHECK(failed.done == Futures{promises.futures[0]});
  CHECK(failed.not_done == Futures{promises.futures[1]});
  promises.futures[1].cancel();
  CHECK(concurrent::wait(promises.futures).done == promises.futures);
}

TEST_CASE("wait() wakes up when what it waits for is cancelled") {
  for (const auto when : {ReturnWhen::all_completed, ReturnWhen::first_completed}) {
    Promises promises(1);
    Gate go_on;
    std::thread canceller([&] {
      go_on.wait();
      promises.futures[0].cancel();
    });
    {
      const support::OpenOnceAsleep opener(go_on);
      const auto result = concurrent::wait(promises.futures, {.return_when = when});
      CHECK(result.done.size() == 1);
    }
    canceller.join();
  }
}

TEST_CASE("wait() takes futures of several executors") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(2);
  const Futures futures{first.submit([] { return 1; }), second.submit([] { return 2; }),
                        first.submit([] { return 3; })};
  CHECK(concurrent::wait(futures).done == futures);
}

TEST_CASE("wait() takes any input range of futures") {
  Promises promises(3);
  for (std::size_t i = 0; i < 3; ++i) promises[i].set_result(static_cast<int>(i));
  const Futures& all = promises.futures;
  CHECK(concurrent::wait(all).done == all);
  CHECK(concurrent::wait(Futures(all)).done == all);
  CHECK(concurrent::wait(std::span(all)).done == all);
  CHECK(concurrent::wait(std::list<Future<int>>(all.begin(), all.end())).done == all);
  CHECK(concurrent::wait(std::array{all[2], all[0]}).done == Futures{all[2], all[0]});
  CHECK(concurrent::wait(std::set<Future<int>>(all.begin(), all.end())).done.size() == 3);
  CHECK(concurrent::wait(std::unordered_set<Future<int>>(all.begin(), all.end())).done.size() == 3);
  CHECK(concurrent::wait({all[1], all[0]}).done == Futures{all[1], all[0]});
  const std::map<std::string, Future<int>> named{{"a", all[1]}, {"b", all[2]}};
  CHECK(concurrent::wait(named | std::views::values).done == Futures{all[1], all[2]});
  const std::unordered_map<Future<int>, std::string> urls{{all[0], "u"}};
  CHECK(concurrent::wait(urls | std::views::keys).done == Futures{all[0]});
  // A range that gives its elements by value, and may be gone through once.
  const auto by_value = std::views::iota(std::size_t{0}, std::size_t{3}) |
                        std::views::transform([&all](std::size_t i) { return all[i]; });
  CHECK(concurrent::wait(by_value).done == all);
}

TEST_CASE("wait() takes futures of references and of nothing") {
  ThreadPoolExecutor executor(1);
  int number = 0;
  const std::vector references{executor.submit([&number]() -> int& { return number; })};
  CHECK(concurrent::wait(references).done == references);
  const std::vector nothing{executor.submit([] {})};
  CHECK(concurrent::wait(nothing).done == nothing);
}

TEST_CASE("wait() of futures of different types waits for all of them and returns nothing") {
  Promise<int> number;
  Promise<std::string> text;
  Promise<void> nothing;
  const auto a = number.future();
  const auto b = text.future();
  const auto c = nothing.future();
  static_assert(std::is_void_v<decltype(concurrent::wait(a, b, c))>);
  Gate go_on;
  std::thread keeper([&] {
    nothing.set_result();
    text.set_exception(std::make_exception_ptr(std::domain_error("test")));
    go_on.wait();
    number.set_result(1);
  });
  {
    const support::OpenOnceAsleep opener(go_on);
    concurrent::wait(a, b, c);
    CHECK((a.done() && b.done() && c.done()));
  }
  keeper.join();
  CHECK_NOTHROW(concurrent::wait(b));
}

TEST_CASE("wait() refuses an empty handle before it waits") {
  const Promise<int> promise;
  const Future<int> empty;
  CHECK_THROWS_AS(concurrent::wait({promise.future(), empty}), concurrent::InvalidStateError);
  CHECK_THROWS_AS(concurrent::wait(Futures{promise.future(), empty},
                                   {.return_when = ReturnWhen::first_completed}),
                  concurrent::InvalidStateError);
  const Promise<void> other;
  CHECK_THROWS_AS(concurrent::wait(other.future(), empty), concurrent::InvalidStateError);
}

TEST_CASE("wait() copies no result and takes none") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  std::vector futures{executor.submit([&counts] { return support::Counted(counts, 3); })};
  const auto result = concurrent::wait(futures);
  CHECK(counts.copies.load() == 0);
  CHECK(result.done[0].result().value() == 3);
  CHECK(futures[0].result().value() == 3);
}

TEST_CASE("wait() that has returned early leaves nothing behind in the others") {
  Promises promises(3);
  promises[0].set_result(0);
  for (int i = 0; i < 100; ++i) {
    concurrent::wait(promises.futures, {.return_when = ReturnWhen::first_completed});
    concurrent::wait({promises.futures[1], promises.futures[2]},
                     {.timeout = 10us, .return_when = ReturnWhen::first_completed});
  }
  promises[2].set_result(2);
  promises[1].set_result(1);
  CHECK(concurrent::wait(promises.futures).done == promises.futures);
}

TEST_CASE("wait() for all in a task runs what nobody has begun there and then") {
  ThreadPoolExecutor executor(1);
  const auto task = executor.submit([&executor] {
    std::vector<Future<std::thread::id>> children;
    for (int i = 0; i < 5; ++i) {
      children.push_back(executor.submit([] { return std::this_thread::get_id(); }));
    }
    bool all_here = concurrent::wait(children).done.size() == 5;
    for (const auto& child : children) {
      all_here = all_here && child.result() == std::this_thread::get_id();
    }
    const auto a = executor.submit([] { return std::this_thread::get_id(); });
    const auto b = executor.submit([] {});
    concurrent::wait(a, b);
    return all_here && b.done() && a.result() == std::this_thread::get_id();
  });
  CHECK(task.result());
}

TEST_CASE("the fields of a WaitResult are moved out like those of any struct") {
  Promises promises(2);
  promises[0].set_result(4);
  auto [done, not_done] = concurrent::wait(promises.futures, {.timeout = 0s});
  REQUIRE(done.size() == 1);
  CHECK(done.front().get() == 4);
  CHECK(not_done.size() == 1);
}
