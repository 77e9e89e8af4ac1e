// SPDX-License-Identifier: MIT
//
// Several copies of the header in one process: in this program and in four objects that it loads.
// Where the program exports its symbols they share all state of the library. Where it does not,
// some have state of their own (all of them, if clang has compiled them).

#include "shared_objects/plugin.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "shared_objects/functions.hpp"
#include "stress/process.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

#if defined(__SANITIZE_THREAD__)
#define CONCURRENT_TESTS_THREADS_AFTER_FORK 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONCURRENT_TESTS_THREADS_AFTER_FORK 0
#endif
#endif
#ifndef CONCURRENT_TESTS_THREADS_AFTER_FORK
#define CONCURRENT_TESTS_THREADS_AFTER_FORK 1
#endif

using shared_objects::Functions;
using shared_objects::Future;
using shared_objects::Plugin;
using shared_objects::ThreadPoolExecutor;
using stress::mark;
using stress::run_child;

namespace {

// ThreadSanitizer ends a child of a program with threads that starts one.
constexpr bool kThreadsAfterFork = CONCURRENT_TESTS_THREADS_AFTER_FORK != 0;
constexpr bool kIsShared = CONCURRENT_TESTS_EXPORT != 0;

constexpr const char* kPaths[] = {CONCURRENT_OBJECT_FIRST, CONCURRENT_OBJECT_SECOND,
                                  CONCURRENT_OBJECT_HIDDEN, CONCURRENT_OBJECT_UNLOADABLE};
constexpr const char* kNames[] = {"first", "second", "hidden", "unloadable", "the program"};
constexpr std::size_t kUnloadable = 3;
constexpr std::size_t kProgram = 4;

// All objects and the program itself.
class Everybody {
 public:
  explicit Everybody(int scope) {
    for (const char* const path : kPaths) {
      plugins_.push_back(std::make_unique<Plugin>(path, scope));
    }
  }

  const Functions& operator[](std::size_t index) const {
    return index == kProgram ? shared_objects::kFunctions : *plugins_[index]->operator->();
  }

 private:
  std::vector<std::unique_ptr<Plugin>> plugins_;
};

// Calls f(one, other, third) for every two of them, and some third.
template <class F> void for_every_two(const Everybody& all, F f) {
  constexpr std::size_t count = kProgram + 1;
  for (std::size_t one = 0; one < count; ++one) {
    for (std::size_t other = 0; other < count; ++other) {
      if (one == other) continue;
      INFO(kNames[one] << " and " << kNames[other]);
      f(all[one], all[other], all[(one + other) % count]);
    }
  }
}

// Runs f in a forked child; true if that returned true.
template <class F> bool in_fork(F f) {
  const ::pid_t child = ::fork();
  if (child == 0) {
    ::alarm(100);
    ::_exit(f() ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {}
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST_CASE("An executor made in one object runs what another submits", "[objects]") {
  const int scope = GENERATE(RTLD_LOCAL, RTLD_GLOBAL);
  CAPTURE(scope);
  for_every_two(Everybody(scope), [](const Functions& one, const Functions& other, auto&) {
    const auto pool = one.make_pool(2);
    CHECK(other.read(other.submit(*pool, 1)) == 1);
    CHECK(one.read(other.submit(*pool, 2)) == 2);
    CHECK(other.read(one.submit(*pool, 3)) == 3);
    const auto others = other.make_pool(1);
    // A worker of one waits for the other's.
    CHECK(pool->submit([&] { return other.read(other.submit(*others, 4)); }).result() == 4);
  });
}

TEST_CASE("A wait in another object adopts a task of the executor that it waits in", "[objects]") {
  if (!kIsShared) return;
  const int scope = GENERATE(RTLD_LOCAL, RTLD_GLOBAL);
  CAPTURE(scope);
  for_every_two(
      Everybody(scope), [](const Functions& one, const Functions& other, const Functions& third) {
        const auto pool = one.make_pool(1);
        const auto adopts = pool->submit(
            [&] { return other.submit_and_wait(*pool) == std::this_thread::get_id() ? 1 : 0; });
        CHECK(adopts.result() == 1);
        const auto reads = pool->submit([&] { return other.read(third.submit(*pool, 2)); });
        CHECK(reads.result() == 2);
        // No spare has come into being.
        CHECK(pool->worker_count() == 1);
      });
}

TEST_CASE("A callable of one object waits in the executor of another as in its own", "[objects]") {
  const int scope = GENERATE(RTLD_LOCAL, RTLD_GLOBAL);
  CAPTURE(scope);
  for_every_two(Everybody(scope), [](const Functions& one, const Functions& other, auto&) {
    const auto pool = one.make_pool(1);
    CHECK(other.submit_and_nest(*pool));
    CHECK(pool->worker_count() == 1);
  });
}

TEST_CASE("Futures of one object are read, called back and collected in another", "[objects]") {
  const int scope = GENERATE(RTLD_LOCAL, RTLD_GLOBAL);
  CAPTURE(scope);
  for_every_two(Everybody(scope), [](const Functions& one, const Functions& other, auto&) {
    const auto pool = one.make_pool(2);
    int wrong = 0;
    for (int round = 0; round < support::scaled(400); ++round) {
      std::vector<Future<int>> futures;
      for (int i = 0; i < 8; ++i) futures.push_back(one.submit(*pool, 1));
      if (other.collect(futures) != 24) ++wrong;
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("Errors that one object throws are caught by their type in another", "[objects]") {
  const int scope = GENERATE(RTLD_LOCAL, RTLD_GLOBAL);
  CAPTURE(scope);
  for_every_two(Everybody(scope), [](const Functions& one, const Functions& other, auto&) {
    for (int error = 0; error < shared_objects::kErrors; ++error) {
      CHECK(one.catch_error(other.throw_error, error) == error);
      const auto pool = one.make_pool(1);
      const auto failed = pool->submit(other.throw_error, error);
      static thread_local const Future<void>* failure = nullptr;
      failure = &failed;
      CHECK(other.catch_error([](int) { failure->result(); }, error) == error);
    }
  });
}

// Once an object with hidden symbols installed the library's handlers for fork() a second time, and
// they locked the same mutexes twice.
TEST_CASE("After a fork an old executor is refused and a new one works, in every object",
          "[objects]") {
  if (!kThreadsAfterFork) return;
  const int scope = GENERATE(RTLD_LOCAL, RTLD_GLOBAL);
  CAPTURE(scope);
  for_every_two(Everybody(scope), [](const Functions& one, const Functions& other, auto&) {
    const auto pool = one.make_pool(1);
    one.submit(*pool, 1).wait();
    CHECK(in_fork([&] {
      try {
        other.submit(*pool, 1);
        return false;
      } catch (const concurrent::BrokenExecutor&) {}
      const auto fresh = one.make_pool(1);
      return other.read(other.submit(*fresh, 7)) == 7;
    }));
  });
}

namespace {

// Uses the object in every way, on a thread that has ended when this returns: what a thread keeps
// of an object for its end keeps the object loaded until then.
bool use_in_thread(const Plugin& plugin, ThreadPoolExecutor* pool) {
  bool is_good = false;
  std::thread([&] {
    is_good = plugin->use_all();
    if (pool == nullptr) return;
    is_good = is_good && plugin->read(plugin->submit(*pool, 7)) == 7;
  }).join();
  return is_good;
}

bool works(ThreadPoolExecutor& pool) {
  std::vector<Future<int>> futures;
  for (int i = 0; i < 8; ++i) futures.push_back(shared_objects::submit(pool, 1));
  return shared_objects::collect(futures) == 24;
}

// Loads an object, uses it, closes it and goes on. It is asked for by its place in the list.
void close_and_go_on(std::size_t index) {
  std::optional<ThreadPoolExecutor> pool(2);
  const Plugin other(kPaths[(index + 1) % kProgram], RTLD_LOCAL);
  auto others = other->make_pool(1);
  const auto future = other->submit(*others, 5);
  support::Gate has_used;
  support::Gate goes_on;
  std::thread user;
  {
    Plugin plugin(kPaths[index], RTLD_LOCAL);
    // The threads of the program's executor are its own only if the program has started them.
    for (int i = 0; i < 2; ++i) works(*pool);
    if (use_in_thread(plugin, &*pool)) mark('u');
    user = std::thread([&] {
      plugin->use_all();
      has_used.open();
      goes_on.wait();
    });
    has_used.wait();
    plugin.close();
  }
  if (works(*pool)) mark('p');
  goes_on.open();
  user.join();
  mark('t');
  if (other->read(future) == 5 && other->read(other->submit(*others, 6)) == 6) mark('o');
  if (other->use_all()) mark('a');
  others.reset();
  if (!kThreadsAfterFork || in_fork([] { return shared_objects::use_all(); })) mark('f');
  pool.reset();
  ThreadPoolExecutor fresh(2);
  if (works(fresh)) mark('n');
}

constexpr const char* kGoesOn = "uptoafn";

}  // namespace

TEST_CASE("child: first closed", "[.child]") {
  if (stress::is_child()) close_and_go_on(0);
}
TEST_CASE("child: hidden closed", "[.child]") {
  if (stress::is_child()) close_and_go_on(2);
}
TEST_CASE("child: unloadable closed", "[.child]") {
  if (stress::is_child()) close_and_go_on(kUnloadable);
}

TEST_CASE("A program goes on when an object that has done its work is closed", "[objects]") {
  const std::string name = GENERATE("first", "hidden", "unloadable");
  CAPTURE(name);
  const auto result = run_child("child: " + name + " closed");
  REQUIRE_FALSE(result.has_hung);
  CHECK(result.signal == 0);
  CHECK(result.exit_code == 0);
  REQUIRE(result.marks == kGoesOn);
}

TEST_CASE("child: the first executor is that of an object", "[.child]") {
  if (!stress::is_child()) return;
  {
    const Plugin plugin(kPaths[kUnloadable], RTLD_LOCAL);
    if (use_in_thread(plugin, nullptr)) mark('u');
  }
  ThreadPoolExecutor pool(1);
  if (works(pool)) mark('p');
  if (in_fork([&] {
        try {
          pool.post([] {});
        } catch (const concurrent::BrokenExecutor&) { return true; }
        return false;
      })) {
    mark('r');
  }
}

// What watches for forks must not go with the object that was the first to make an executor.
TEST_CASE("A fork is seen though the object that made the first executor was closed", "[objects]") {
  const auto result = run_child("child: the first executor is that of an object");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.marks == "upr");
}

TEST_CASE("child: loaded and closed again and again", "[.child]") {
  if (!stress::is_child()) return;
  const char* const path = kPaths[kUnloadable];
  for (int round = 0; round < 20; ++round) {
    {
      const Plugin plugin(path, RTLD_LOCAL);
      if (!use_in_thread(plugin, nullptr)) mark('?');
    }
    if (::dlopen(path, RTLD_NOW | RTLD_NOLOAD) != nullptr) mark('l');
    // The handlers that the object had installed for this have gone with it.
    if (!in_fork([] { return true; })) mark('!');
  }
  mark('e');
}

TEST_CASE("An object whose threads have ended can be unloaded, and loaded again", "[objects]") {
  const auto result = run_child("child: loaded and closed again and again");
  REQUIRE_FALSE(result.has_hung);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.marks == "e");
}
