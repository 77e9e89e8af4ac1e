// SPDX-License-Identifier: MIT
//
// One half of a program in two translation units: a pool, a handle, an exception and the
// process-wide handler cross the border. Exits with 0 if they are the same on both sides.

#include "odr.hpp"

#include <atomic>
#include <cstdio>
#include <exception>
#include <thread>

namespace {

int failures = 0;
std::atomic<int> handled{0};

void check(bool good, const char* what) {
  if (!good) {
    std::fprintf(stderr, "not true of two translation units: %s\n", what);
    ++failures;
  }
}

}  // namespace

int main() {
  concurrent::set_unhandled_exception_handler(
      [](const std::exception_ptr&) { handled.fetch_add(1); });
  {
    concurrent::ThreadPoolExecutor executor({.max_workers = 1});
    check(fetch_elsewhere(executor.submit(twice, 21)) == 42, "a handle made here is read there");
    check(submit_elsewhere(executor, 21).get() == 42, "a task submitted there is read here");
    // The wait stands in the other half: it runs the task only if it knows the worker that it is in.
    std::thread::id waiter, runner;
    const auto inner = [&runner] {
      runner = std::this_thread::get_id();
      return 8;
    };
    const auto outer = [&] {
      waiter = std::this_thread::get_id();
      return fetch_elsewhere(executor.submit(inner));
    };
    check(executor.submit(outer).get() == 8, "a worker may wait in the other half");
    check(waiter == runner, "a worker that waits in the other half adopts the task");
    executor.post(fail_elsewhere);
  }
  check(handled.load() == 1, "a task thrown there reaches the handler that was set here");
  try {
    fail_elsewhere();
    check(false, "an error leaves the other half");
  } catch (const concurrent::InvalidStateError&) {
    // The type is the same on both sides.
  }
  return failures == 0 ? 0 : 1;
}
