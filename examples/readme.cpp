// SPDX-License-Identifier: MIT
//
// readme: every block of C++ in the README is a region of this file, and a test holds the two texts
// equal. The program runs all of them and ends with status 1 where one does not do what it says.

// region: ten_lines
#include <concurrent/executor.hpp>
#include <iostream>
#include <ranges>

int square(int x) { return x * x; }

void ten_lines() {
  concurrent::ThreadPoolExecutor executor({.max_workers = 3});
  auto answer = executor.submit(std::plus<>{}, 20, 22);
  for (int r : executor.map(square, std::views::iota(0, 5))) std::cout << r << '\n';
  std::cout << answer.result() << '\n';
}  // leaving the scope waits: all has run
// end region

#include <chrono>
#include <exception>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <version>

#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif

namespace {

using namespace std::chrono_literals;

int failures = 0;

void expect(bool is_true, const char* what) {
  if (is_true) return;
  std::cerr << "readme: not so: " << what << '\n';
  ++failures;
}

void check_ten_lines() {
  std::ostringstream output;
  std::streambuf* const former = std::cout.rdbuf(output.rdbuf());
  ten_lines();
  std::cout.rdbuf(former);
  expect(output.str() == "0\n1\n4\n9\n16\n42\n", "ten_lines prints five squares and the answer");
}

void check_futures() {
  bool was_asked = false;
  // region: futures
  concurrent::ThreadPoolExecutor executor({.max_workers = 2, .thread_name_prefix = "reader"});

  concurrent::Future<std::string> text = executor.submit([] { return std::string("text"); });
  concurrent::Future<int> failure = executor.submit([]() -> int { throw std::domain_error("no"); });
  executor.post([&] { was_asked = true; });  // no future for what nobody waits for

  std::size_t length = text.result(5s).size();       // waits, at most so long; may be asked again
  bool has_failed = failure.exception() != nullptr;  // result() would rethrow it
  std::string taken = text.get();                    // moves the value out, for move-only types too

  concurrent::Future<int> late = executor.submit(square, 7);
  bool never_runs = late.cancel();  // if it had not begun; result() then throws CancelledError
  // end region
  expect(length == 4, "result() gives the value and leaves it");
  expect(taken == "text", "get() takes the value");
  expect(has_failed, "a failure is an exception in the future");
  expect(never_runs == late.cancelled(), "cancel() says whether it cancelled");
  executor.shutdown();
  expect(was_asked, "a posted task runs");
}

void check_maps() {
  concurrent::ThreadPoolExecutor executor({.max_workers = 2});
  std::vector<int> heights = {1, 2, 3};
  std::vector<int> widths = {4, 5, 6, 7};
  int sum = 0;
  // region: maps
  std::vector<int> areas = executor.map(std::multiplies<>{}, heights, widths).result();

  concurrent::MapOptions options{.timeout = 10s, .chunksize = 1};
  auto squares = executor.map(options, square, areas);
  for (auto it = squares.begin(); it != squares.end(); ++it) {
    try {
      sum += *it;  // in the order of the input, each as soon as it is there
    } catch (const std::domain_error&) {
      // this one failed; ++ goes on behind it
    }
  }
  // end region
  expect(areas == std::vector{4, 10, 18}, "map ends with the shortest range");
  expect(sum == 16 + 100 + 324, "map yields every result");
}

// region: waiting
int fib(concurrent::ThreadPoolExecutor& executor, int n) {
  if (n < 2) return n;
  auto left = executor.submit(fib, std::ref(executor), n - 1);
  return fib(executor, n - 2) + left.get();  // runs it here if nobody has begun it
}
// end region

void check_waiting() {
  concurrent::ThreadPoolExecutor executor({.max_workers = 1});
  expect(executor.submit(fib, std::ref(executor), 10).result() == 55, "one worker computes fib");
}

void check_stopping() {
#if defined(__cpp_lib_jthread)
  concurrent::ThreadPoolExecutor executor({.max_workers = 1});
  // region: stopping
  auto rounds = executor.submit([](std::stop_token stop) {
    int count = 0;
    for (; !stop.stop_requested(); ++count) std::this_thread::sleep_for(1ms);
    return count;
  });
  rounds.request_stop();  // cancels it if it has not begun, else asks it to come to an end
  // end region
  rounds.wait();
  expect(rounds.done(), "a task that is asked to stop ends");
#endif
}

}  // namespace

int main() {
  check_ten_lines();
  check_futures();
  check_maps();
  check_waiting();
  check_stopping();
  return failures == 0 ? 0 : 1;
}
