// SPDX-License-Identifier: MIT
// What a worker gets before its first task: its name, its signal mask, the initializer.
#include <algorithm>
#include <atomic>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/threads.hpp"

#if defined(__linux__)
#include <signal.h>
#endif

namespace {

using concurrent::BrokenThreadPool;
using concurrent::Future;
using concurrent::ThreadPoolExecutor;

/// Has all workers run at once and returns what each of them says, sorted.
template <class Question> auto ask_all_workers(ThreadPoolExecutor& executor, Question question) {
  const int workers = executor.max_workers();
  support::Barrier barrier(workers);
  std::vector<Future<decltype(question())>> futures;
  for (int i = 0; i < workers; ++i) {
    futures.push_back(executor.submit([&] {
      barrier.arrive_and_wait();
      return question();
    }));
  }
  std::vector<decltype(question())> answers;
  for (auto& future : futures) answers.push_back(future.get());
  std::sort(answers.begin(), answers.end());
  return answers;
}

/// What the nested exception of a BrokenThreadPool says.
std::string cause_of(const BrokenThreadPool& error) {
  try {
    error.rethrow_nested();
  } catch (const std::exception& cause) { return cause.what(); } catch (int cause) {
    return std::to_string(cause);
  }
}

template <class Call> std::string cause_of_breaking(Call call) {
  try {
    call();
  } catch (const BrokenThreadPool& error) { return cause_of(error); } catch (...) {
    return "another exception";
  }
  return "nothing was thrown";
}

}  // namespace

#if defined(__linux__)
TEST_CASE("workers are named by the prefix and their number") {
  ThreadPoolExecutor executor({.max_workers = 4, .thread_name_prefix = "tester"});
  CHECK(ask_all_workers(executor, support::this_thread_name) ==
        std::vector<std::string>{"tester_0", "tester_1", "tester_2", "tester_3"});
}

TEST_CASE("a long prefix is cut so that the numbers stay") {
  ThreadPoolExecutor executor(
      {.max_workers = 11, .thread_name_prefix = "a prefix that is much too long"});
  const auto names = ask_all_workers(executor, support::this_thread_name);
  CHECK(std::count(names.begin(), names.end(), "a prefix that_0") == 1);
  CHECK(std::count(names.begin(), names.end(), "a prefix that_9") == 1);
  CHECK(std::count(names.begin(), names.end(), "a prefix tha_10") == 1);
}

TEST_CASE("a prefix of the very length that fits is kept whole") {
  ThreadPoolExecutor executor({.max_workers = 1, .thread_name_prefix = "thirteen char"});
  CHECK(executor.submit(support::this_thread_name).result() == "thirteen char_0");
}

TEST_CASE(
    "a long prefix of UTF-8 is cut between two characters, and one of any bytes does no harm") {
  const auto name_with = [](std::string prefix) {
    ThreadPoolExecutor executor({.max_workers = 1, .thread_name_prefix = std::move(prefix)});
    return executor.submit(support::this_thread_name).result();
  };
  // Characters of two, three and four bytes, of which thirteen bytes have room.
  const std::string two = "\xC3\xA4";
  const std::string three = "\xE2\x82\xAC";
  const std::string four = "\xF0\x9F\x90\x8D";
  CHECK(name_with(two + two + two + two + two + two + two) ==
        two + two + two + two + two + two + "_0");
  CHECK(name_with(three + three + three + three + three) == three + three + three + three + "_0");
  CHECK(name_with(four + four + four + four) == four + four + four + "_0");
  CHECK(name_with("a" + four + four + four) == "a" + four + four + four + "_0");
  CHECK(name_with(three) == three + "_0");
  CHECK(name_with(std::string(20, '\x80')).ends_with("_0"));
  CHECK(name_with(std::string("a\0b", 3)).ends_with("_0"));
  CHECK(name_with("").starts_with("Executor-"));
}

TEST_CASE("default names count the executors and are unique") {
  ThreadPoolExecutor first(1);
  ThreadPoolExecutor second(1);
  const std::string one = first.submit(support::this_thread_name).result();
  const std::string two = second.submit(support::this_thread_name).result();
  CHECK(one.starts_with("Executor-"));
  CHECK(one.ends_with("_0"));
  CHECK(two.starts_with("Executor-"));
  CHECK(one != two);
}

TEST_CASE("workers block all signals but the synchronous ones, and the submitter's mask stays") {
  ::sigset_t before;
  ::sigset_t after;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &before);
  ThreadPoolExecutor executor(1);
  const auto blocked =
      executor
          .submit([] {
            ::sigset_t mask;
            ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
            std::vector<int> members;
            for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2,
                                     SIGCHLD, SIGPIPE, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
              if (::sigismember(&mask, signal) == 1) members.push_back(signal);
            }
            return members;
          })
          .result();
  ::pthread_sigmask(SIG_BLOCK, nullptr, &after);
  CHECK(blocked == std::vector<int>{SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2,
                                    SIGCHLD, SIGPIPE});
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGCHLD}) {
    CHECK(::sigismember(&before, signal) == ::sigismember(&after, signal));
  }
}
#endif

TEST_CASE("the initializer runs once in each worker, before its first task") {
  static thread_local int initialized;
  std::atomic<int> calls{0};
  ThreadPoolExecutor executor({.max_workers = 3, .initializer = [&calls] {
                                 ++initialized;
                                 calls.fetch_add(1);
                               }});
  CHECK(calls == 0);
  for (int round = 0; round < 3; ++round) {
    CHECK(ask_all_workers(executor, [] { return initialized; }) == std::vector<int>{1, 1, 1});
  }
  CHECK(calls == 3);
  CHECK(initialized == 0);
}

TEST_CASE("what an initializer submits is run by its worker although no other task comes") {
  support::Gate gate;
  std::atomic<int> started{0};
  std::atomic<bool> submitted_ran{false};
  ThreadPoolExecutor* used = nullptr;
  ThreadPoolExecutor executor({.max_workers = 2, .initializer = [&] {
                                 if (started.fetch_add(1) != 0) return;
                                 gate.wait();
                                 used->post([&submitted_ran] { submitted_ran = true; });
                               }});
  const support::OpenAtExit opened(gate);
  used = &executor;
  // The first worker is held in its initializer while the second takes all there is.
  const auto first = executor.submit([] {});
  const support::BusyWorker busy(executor);
  first.wait();
  gate.open();
  CHECK(support::eventually([&] { return submitted_ran.load(); }));
}

TEST_CASE("an initializer may be a std::function, and an empty one is none") {
  int calls = 0;
  const std::function<void()> count = [&calls] { ++calls; };
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = count});
  executor.submit([] {}).result();
  CHECK(calls == 1);
  ThreadPoolExecutor without({.max_workers = 1, .initializer = {}});
  CHECK(without.submit([] { return 1; }).result() == 1);
}

TEST_CASE("an initializer that throws breaks the pool: pending futures and later submits fail") {
  support::Gate gate;
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = [&gate] {
                                 gate.wait();
                                 throw std::runtime_error("no licence");
                               }});
  const support::OpenAtExit opened(gate);
  bool ran = false;
  std::vector<Future<void>> pending;
  for (int i = 0; i < 5; ++i) pending.push_back(executor.submit([&ran] { ran = true; }));
  gate.open();
  for (const auto& future : pending) {
    CHECK(cause_of_breaking([&] { future.result(); }) == "no licence");
    CHECK(future.exception() != nullptr);
    CHECK(future.done());
    CHECK_FALSE(future.cancelled());
  }
  CHECK(cause_of_breaking([&] { executor.submit([] {}); }) == "no licence");
  CHECK(cause_of_breaking([&] { executor.post([] {}); }) == "no licence");
  CHECK(cause_of_breaking([&] { executor.map([](int x) { return x; }, {1}); }) == "no licence");
  executor.shutdown();
  CHECK_FALSE(ran);
}

TEST_CASE("the cause of a broken pool may be of any type") {
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = [] { throw 42; }});
  Future<void> future;
  try {
    future = executor.submit([] {});
  } catch (const BrokenThreadPool& error) { CHECK(cause_of(error) == "42"); }
  if (future.valid()) CHECK(cause_of_breaking([&] { future.result(); }) == "42");
}

TEST_CASE("a pool that breaks lets running tasks finish and fails the pending ones") {
  support::Gate begun;
  support::Gate gate;
  std::atomic<int> started{0};
  ThreadPoolExecutor executor({.max_workers = 2, .initializer = [&started] {
                                 if (started.fetch_add(1) == 1) throw std::runtime_error("second");
                               }});
  const support::OpenAtExit opened(gate);
  const auto running = executor.submit([&] {
    begun.open();
    gate.wait();
    return 1;
  });
  begun.wait();
  const auto pending = executor.submit([] { return 2; });
  CHECK(cause_of_breaking([&] { pending.result(); }) == "second");
  CHECK_FALSE(running.done());
  gate.open();
  CHECK(running.result() == 1);
  CHECK(cause_of_breaking([&] { executor.submit([] {}); }) == "second");
}

TEST_CASE("a flood of submits while the only worker is held in its initializer is served") {
  support::Gate gate;
  ThreadPoolExecutor executor({.max_workers = 1, .initializer = [&gate] { gate.wait(); }});
  const support::OpenAtExit opened(gate);
  std::vector<Future<int>> futures;
  for (int i = 0; i < 100; ++i) futures.push_back(executor.submit([i] { return i; }));
  CHECK(executor.worker_count() == 1);
  gate.open();
  for (int i = 0; i < 100; ++i) CHECK(futures[static_cast<std::size_t>(i)].result() == i);
}

TEST_CASE("the initializer is destroyed with the executor") {
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = held;
  {
    ThreadPoolExecutor executor({.max_workers = 1, .initializer = [held = std::move(held)] {}});
    executor.submit([] {}).wait();
    CHECK_FALSE(watch.expired());
  }
  CHECK(watch.expired());
}
