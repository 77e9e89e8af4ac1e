// SPDX-License-Identifier: MIT
//
// The end of the process: exit() anywhere, static executors, static futures. Each program is a
// hidden test case which a child process runs.

#include <concurrent/executor.hpp>

#if defined(__linux__)

#include <chrono>
#include <cstdlib>

#include <optional>
#include <ranges>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "stress/process.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::mark;
using stress::run_child;
using support::Gate;

namespace {

// Does its work in a static destructor.
template <class F> class AtExit {
 public:
  explicit AtExit(F f) : f_(std::move(f)) {}
  AtExit(const AtExit&) = delete;
  AtExit& operator=(const AtExit&) = delete;
  ~AtExit() { f_(); }

 private:
  F f_;
};

// These outlive every function-local static, the executors among them.
std::optional<Future<int>> static_future;
std::vector<Future<int>> static_futures;

}  // namespace

TEST_CASE("child: a static executor with a queue", "[.child]") {
  if (!stress::is_child()) return;
  static ThreadPoolExecutor pool(2);
  for (int i = 0; i < 50; ++i) {
    pool.post([] {
      std::this_thread::yield();
      mark('t');
    });
  }
  std::exit(3);
}

TEST_CASE("A static executor runs its queue when the process exits", "[exit]") {
  const auto result = run_child("child: a static executor with a queue");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 3);
  REQUIRE(result.marks == std::string(50, 't'));
}

TEST_CASE("child: exit right after a static executor was made", "[.child]") {
  if (!stress::is_child()) return;
  static ThreadPoolExecutor pool(8);
  for (int i = 0; i < 8; ++i) {
    pool.post([] {});
  }
  std::exit(3);
}

TEST_CASE("A process may exit while its static executor is just starting", "[exit]") {
  for (int round = 0; round < support::scaled(20); ++round) {
    const auto result = run_child("child: exit right after a static executor was made");
    REQUIRE_FALSE(result.has_hung);
    REQUIRE(result.exit_code == 3);
  }
}

TEST_CASE("child: exit in a task of a static executor", "[.child]") {
  if (!stress::is_child()) return;
  static ThreadPoolExecutor pool(2);
  for (int i = 0; i < 10; ++i) {
    pool.post([] {});
  }
  pool.post([] { std::exit(4); });
  for (int i = 0; i < 10; ++i) {
    try {
      pool.post([] {});
    } catch (const concurrent::ShutdownError&) { break; }
  }
  while (true) { std::this_thread::sleep_for(std::chrono::hours(1)); }
}

TEST_CASE("exit() in a task of a static executor ends the process", "[exit]") {
  for (int round = 0; round < support::scaled(20); ++round) {
    const auto result = run_child("child: exit in a task of a static executor");
    REQUIRE_FALSE(result.has_hung);
    REQUIRE(result.exit_code == 4);
  }
}

TEST_CASE("child: exit in a task of an automatic executor", "[.child]") {
  if (!stress::is_child()) return;
  ThreadPoolExecutor pool(2);
  pool.submit([] { std::exit(5); }).wait();
}

TEST_CASE("exit() in a task ends the process though another thread waits for that task", "[exit]") {
  for (int round = 0; round < support::scaled(20); ++round) {
    const auto result = run_child("child: exit in a task of an automatic executor");
    REQUIRE_FALSE(result.has_hung);
    REQUIRE(result.exit_code == 5);
  }
}

TEST_CASE("child: exit with an executor that is never destroyed", "[.child]") {
  if (!stress::is_child()) return;
  static auto* const pool = new ThreadPoolExecutor(2);
  for (int i = 0; i < 1000; ++i) {
    pool->post([] { std::this_thread::yield(); });
  }
  std::exit(6);
}

TEST_CASE("A process exits although an executor that nobody destroys is at work", "[exit]") {
  for (int round = 0; round < support::scaled(20); ++round) {
    const auto result = run_child("child: exit with an executor that is never destroyed");
    REQUIRE_FALSE(result.has_hung);
    REQUIRE(result.exit_code == 6);
  }
}

TEST_CASE("child: the last handles die in static destructors", "[.child]") {
  if (!stress::is_child()) return;
  static ThreadPoolExecutor pool(2);
  static_future = pool.submit([] { return 8; });
  for (int i = 0; i < 1000; ++i) {
    static_futures.push_back(pool.submit([i] { return i; }));
  }
  // Runs after the executor's destructor only if it was made before: see the next program.
  static const AtExit reader([] {
    if (static_future->result() == 8) mark('r');
  });
  std::exit(0);
}

TEST_CASE("The last handle of a future may die in a static destructor", "[exit]") {
  const auto result = run_child("child: the last handles die in static destructors");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "r");
}

TEST_CASE("child: futures are read after their executor was destroyed at exit", "[.child]") {
  if (!stress::is_child()) return;
  static const AtExit reader([] {
    if (static_future->done() && static_future->result() == 8) mark('d');
    for (int i = 0; i < 1000; ++i) {
      if (static_futures[static_cast<std::size_t>(i)].result() != i) return;
    }
    mark('a');
  });
  static ThreadPoolExecutor pool(2);
  static_future = pool.submit([] { return 8; });
  for (int i = 0; i < 1000; ++i) {
    static_futures.push_back(pool.submit([i] { return i; }));
  }
  std::exit(0);
}

TEST_CASE("A static executor has drained when the static destructors behind it run", "[exit]") {
  const auto result =
      run_child("child: futures are read after their executor was destroyed at exit");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "da");
}

TEST_CASE("child: a live executor is used by a static destructor", "[.child]") {
  if (!stress::is_child()) return;
  static ThreadPoolExecutor pool(2);
  static const AtExit user([] {
    const int answer = pool.submit([] { return pool.submit([] { return 9; }).result(); }).result();
    if (answer == 9) mark('s');
    if (pool.map([](int value) { return value; }, std::views::iota(0, 100)).result().size() ==
        100) {
      mark('m');
    }
    ThreadPoolExecutor fresh(1);
    if (fresh.submit([] { return 10; }).result() == 10) mark('f');
  });
  std::exit(0);
}

TEST_CASE("Live executors and new ones work in static destructors", "[exit]") {
  const auto result = run_child("child: a live executor is used by a static destructor");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "smf");
}

TEST_CASE("child: threads are at work with the library as the process exits", "[.child]") {
  if (!stress::is_child()) return;
  // They use an executor that is never destroyed, until the process is gone.
  static auto* const pool = new ThreadPoolExecutor(2);
  static Gate& warm = *new Gate;  // never destroyed either
  for (int i = 0; i < 3; ++i) {
    std::thread([] {
      while (true) {
        std::vector<Future<int>> futures;
        for (int j = 0; j < 100; ++j) {
          futures.push_back(pool->submit([j] { return j; }));
        }
        for (const auto& future : futures) { future.wait(); }
        warm.open();
      }
    }).detach();
  }
  warm.wait();
  std::exit(0);
}

TEST_CASE("A process may exit while its threads submit", "[exit]") {
  for (int round = 0; round < support::scaled(20); ++round) {
    const auto result =
        run_child("child: threads are at work with the library as the process exits");
    REQUIRE_FALSE(result.has_hung);
    REQUIRE(result.exit_code == 0);
  }
}

TEST_CASE("child: quick_exit in a task", "[.child]") {
  if (!stress::is_child()) return;
  ThreadPoolExecutor pool(2);
  pool.submit([] { std::quick_exit(7); }).wait();
}

TEST_CASE("quick_exit() in a task ends the process", "[exit]") {
  const auto result = run_child("child: quick_exit in a task");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 7);
}

#endif
