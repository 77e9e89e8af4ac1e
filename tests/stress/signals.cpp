// SPDX-License-Identifier: MIT
//
// Signals: workers leave them to the program's own threads, and waits that they interrupt go on.

#include <concurrent/executor.hpp>

#if defined(__linux__)

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::Promise;
using concurrent::ThreadPoolExecutor;
using support::Gate;

namespace {

std::atomic<int> handled = 0;
std::atomic<long> handler_thread = 0;

// Counts a signal for the length of a scope. Without SA_RESTART: system calls are interrupted.
class Handler {
 public:
  explicit Handler(int signal) : signal_(signal) {
    handled.store(0);
    handler_thread.store(0);
    struct ::sigaction action = {};
    action.sa_handler = [](int) {
      handler_thread.store(support::this_thread_number());
      handled.fetch_add(1);
    };
    ::sigaction(signal_, &action, &former_);
  }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  ~Handler() { ::sigaction(signal_, &former_, nullptr); }

 private:
  int signal_;
  struct ::sigaction former_ = {};
};

// The signals that the calling thread blocks, in words. Those that cannot be blocked are left out.
std::string blocked_signals() {
  ::sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  std::string text;
  for (int signal = 1; signal < 32; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    if (::sigismember(&mask, signal) == 1) text += std::to_string(signal) + " ";
  }
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    if (::sigismember(&mask, signal) == 1) text += std::to_string(signal) + " ";
  }
  return text;
}

std::string all_but_synchronous() {
  std::string text;
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    if (signal >= 32 && signal < SIGRTMIN) continue;  // the C library's own
    switch (signal) {
      case SIGKILL:
      case SIGSTOP:
      case SIGSEGV:
      case SIGBUS:
      case SIGFPE:
      case SIGILL:
      case SIGTRAP:
      case SIGSYS:
      case SIGABRT:
        break;
      default:
        text += std::to_string(signal) + " ";
    }
  }
  return text;
}

// Interrupts f(), called in a thread of its own, with one signal after the other: `signals` before
// then() is called, and more until f() has returned.
template <class F, class Then> void bombard(int signals, F f, Then then) {
  std::atomic<bool> has_ended = false;
  Gate begun;
  std::thread target([&] {
    begun.open();
    f();
    has_ended.store(true);
  });
  begun.wait();
  const auto shoot = [&] {
    ::pthread_kill(target.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  };
  for (int i = 0; i < signals; ++i) shoot();
  then();
  while (!has_ended.load()) shoot();
  target.join();
}

}  // namespace

TEST_CASE("Workers and spares block all but the synchronous signals", "[signals]") {
  ThreadPoolExecutor pool(1);
  const std::string before = blocked_signals();
  Promise<void> promise;
  // While this one waits for a promise, a spare runs what comes next.
  const auto waiter = pool.submit([kept = promise.future()] {
    kept.wait();
    return blocked_signals();
  });
  const auto spare = pool.submit([] { return blocked_signals(); });
  REQUIRE(spare.result() == all_but_synchronous());
  promise.set_result();
  REQUIRE(waiter.result() == all_but_synchronous());
  // Starting them has left the caller's mask as it was.
  REQUIRE(blocked_signals() == before);
}

TEST_CASE("A signal sent to the process waits for a thread of the program's own", "[signals]") {
  const int signal = GENERATE(SIGUSR1, SIGALRM);
  CAPTURE(signal);
  const Handler handler(signal);
  Gate go_on;
  ThreadPoolExecutor pool(2);
  const support::OpenAtExit opened(go_on);
  support::Counter begun;
  for (int i = 0; i < 2; ++i) {
    pool.post([&] {
      begun.add();
      go_on.wait();
    });
  }
  begun.reached(2);
  ::sigset_t blocked;
  ::sigset_t former;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, signal);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &former);
  ::kill(::getpid(), signal);
  // No thread may take it now: were a worker's mask open, its handler would run soon.
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const int early = handled.load();
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
  REQUIRE(early == 0);
  REQUIRE(support::eventually([] { return handled.load() == 1; }));
  REQUIRE(handler_thread.load() == support::this_thread_number());
}

TEST_CASE("Waits without limit that signals interrupt go on to their end", "[signals]") {
  const Handler handler(SIGUSR1);
  ThreadPoolExecutor pool(1);
  for (const int way : {0, 1, 2, 3}) {
    CAPTURE(way);
    Gate go_on;
    const support::OpenAtExit opened(go_on);
    const Future<int> future = pool.submit([&go_on] {
      go_on.wait();
      return 5;
    });
    int seen = 0;
    bool was_early = false;
    const int before = handled.load();
    bombard(
        100,
        [&] {
          if (way == 0) seen = future.result();
          if (way == 1) future.wait();
          if (way == 2) concurrent::wait({future});
          if (way == 3) {
            for (const Future<int>& done : concurrent::as_completed({future})) {
              seen = done.result();
            }
          }
          was_early = !go_on.is_open();
          seen = future.done() ? future.result() : -1;
        },
        [&] { go_on.open(); });
    REQUIRE_FALSE(was_early);
    REQUIRE(seen == 5);
    REQUIRE(handled.load() > before);
  }
}

TEST_CASE("Time limits that signals interrupt are neither early nor lost", "[signals]") {
  constexpr std::chrono::milliseconds limit(60);
  const Handler handler(SIGUSR1);
  Promise<int> promise;
  const Future<int> future = promise.future();
  for (const int way : {0, 1, 2, 3}) {
    CAPTURE(way);
    // The signals come much faster than the limit passes, and do not stop before it has. If they come
    // too late all the same, once more.
    REQUIRE(support::eventually([&] {
      bool has_timed_out = false;
      std::chrono::steady_clock::duration waited{};
      const int before = handled.load();
      bombard(
          0,
          [&] {
            const auto start = std::chrono::steady_clock::now();
            try {
              if (way == 0) future.result(limit);
              if (way == 1) has_timed_out = future.wait_for(limit) == std::future_status::timeout;
              if (way == 2) {
                has_timed_out = concurrent::wait({future}, {.timeout = limit}).not_done.size() == 1;
              }
              if (way == 3) {
                for (const Future<int>& done :
                     concurrent::as_completed({future}, {.timeout = limit})) {
                  done.wait();
                }
              }
            } catch (const concurrent::TimeoutError&) { has_timed_out = true; }
            waited = std::chrono::steady_clock::now() - start;
          },
          [] {});
      REQUIRE(has_timed_out);
      REQUIRE(waited >= limit);
      return handled.load() > before;
    }));
  }
}

#endif
