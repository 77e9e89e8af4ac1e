// SPDX-License-Identifier: MIT
//
// Uses the whole surface once, for compilers with all their warnings on. What can be promised of a
// type or of an expression is asserted here; nothing of it runs.

#include <concurrent/executor.hpp>

#include <array>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <exception>
#include <forward_list>
#include <functional>
#include <future>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif

namespace {

using concurrent::Future;
using concurrent::MapFuture;
using concurrent::ThreadPoolExecutor;
using concurrent::Timeout;
using namespace std::chrono_literals;

struct MoveOnly {
  MoveOnly() = default;
  explicit MoveOnly(int v) : value(v) {}
  MoveOnly(MoveOnly&&) = default;
  MoveOnly& operator=(MoveOnly&&) = default;
  int value = 0;
};

struct NoDefault {
  explicit NoDefault(int v) : value(v) {}
  int value;
};

struct Account {
  int add(int amount) { return balance += amount; }
  int balance = 0;
};

struct alignas(256) Wide {
  double lanes[8] = {};
  double operator()() const { return lanes[0]; }
};

int square(int n) { return n * n; }
int add(int a, int b) { return a + b; }
void ignore(int) noexcept {}
int& same(int& n) { return n; }

// -- the executor ---------------------------------------------------------------------------------

static_assert(!std::copy_constructible<ThreadPoolExecutor>);
static_assert(!std::move_constructible<ThreadPoolExecutor>);
static_assert(!std::is_copy_assignable_v<ThreadPoolExecutor>);
static_assert(!std::is_move_assignable_v<ThreadPoolExecutor>);
static_assert(std::is_default_constructible_v<ThreadPoolExecutor>);
static_assert(std::constructible_from<ThreadPoolExecutor, int>);
static_assert(std::constructible_from<ThreadPoolExecutor, long long>);
static_assert(std::constructible_from<ThreadPoolExecutor, unsigned char>);
static_assert(std::constructible_from<ThreadPoolExecutor, std::size_t>);
static_assert(std::constructible_from<ThreadPoolExecutor, ThreadPoolExecutor::Options>);
static_assert(!std::constructible_from<ThreadPoolExecutor, double>);
static_assert(!std::constructible_from<ThreadPoolExecutor, const char*>);
static_assert(!std::convertible_to<int, ThreadPoolExecutor>);
static_assert(!std::convertible_to<ThreadPoolExecutor::Options, ThreadPoolExecutor>);
static_assert(std::is_aggregate_v<ThreadPoolExecutor::Options>);
static_assert(std::is_aggregate_v<concurrent::ShutdownOptions>);
static_assert(std::is_aggregate_v<concurrent::MapOptions>);

template <class... Args>
concept can_submit = requires(ThreadPoolExecutor& pool, Args&&... args) {
  pool.submit(std::forward<Args>(args)...);
};

template <class... Args>
concept can_post =
    requires(ThreadPoolExecutor& pool, Args&&... args) { pool.post(std::forward<Args>(args)...); };

template <class... Args>
concept can_map =
    requires(ThreadPoolExecutor& pool, Args&&... args) { pool.map(std::forward<Args>(args)...); };

template <class... Args>
using submitted = decltype(std::declval<ThreadPoolExecutor&>().submit(std::declval<Args>()...));

static_assert(can_submit<int (*)(int), int>);
static_assert(can_submit<int (&)(int), short&>);
static_assert(!can_submit<int (&)(int)>);
static_assert(!can_submit<int (&)(int), int, int>);
static_assert(!can_submit<int (&)(int), std::string>);
static_assert(!can_submit<int>);
static_assert(!can_submit<>);
static_assert(!can_submit<int& (&)(int&), int&>);  // A reference takes std::ref.
static_assert(can_submit<int& (&)(int&), std::reference_wrapper<int>>);
static_assert(can_submit<void (*)(MoveOnly), MoveOnly>);
static_assert(!can_submit<void (*)(MoveOnly), MoveOnly&>);
static_assert(can_post<void (&)(int) noexcept, int>);
static_assert(!can_post<void (&)(int) noexcept>);
static_assert(!can_post<int>);

static_assert(std::same_as<submitted<int (&)(int), int>, Future<int>>);
static_assert(std::same_as<submitted<void (&)(int) noexcept, int>, Future<void>>);
static_assert(std::same_as<submitted<int& (&)(int&), std::reference_wrapper<int>>, Future<int&>>);
static_assert(std::same_as<submitted<const std::string (*)()>, Future<std::string>>);
static_assert(std::same_as<submitted<const std::string& (*)()>, Future<const std::string&>>);
static_assert(std::same_as<submitted<std::string && (*)()>, Future<std::string>>);
static_assert(std::same_as<submitted<MoveOnly (*)()>, Future<MoveOnly>>);
static_assert(std::same_as<submitted<int (Account::*)(int), Account*, int>, Future<int>>);

#if defined(__cpp_lib_jthread)
static_assert(std::same_as<submitted<int (*)(std::stop_token)>, Future<int>>);
static_assert(std::same_as<submitted<int (*)(std::stop_token, long), int>, Future<int>>);
static_assert(!can_submit<int (*)(std::stop_token, long)>);
static_assert(!can_post<int (*)(std::stop_token)>);  // Only submit passes a token.
// Plain first: the callable takes an int, and a token is not put in front.
struct PlainOrToken {
  int operator()(int) const { return 0; }
  char operator()(std::stop_token, int) const { return 'a'; }
};
static_assert(std::same_as<submitted<PlainOrToken, int>, Future<int>>);
#endif

// -- futures --------------------------------------------------------------------------------------

template <class F> consteval bool is_handle() {
  static_assert(std::regular<F>);
  static_assert(std::totally_ordered<F>);
  static_assert(std::three_way_comparable<F>);
  static_assert(std::is_nothrow_default_constructible_v<F>);
  static_assert(std::is_nothrow_copy_constructible_v<F>);
  static_assert(std::is_nothrow_move_constructible_v<F>);
  static_assert(std::is_nothrow_move_assignable_v<F>);
  static_assert(std::same_as<decltype(std::hash<F>{}(std::declval<const F&>())), std::size_t>);
  static_assert(noexcept(std::declval<const F&>().done()));
  static_assert(noexcept(std::declval<const F&>().running()));
  static_assert(noexcept(std::declval<const F&>().cancelled()));
  static_assert(noexcept(std::declval<const F&>().valid()));
  static_assert(std::same_as<decltype(std::declval<const F&>().done()), bool>);
  static_assert(std::same_as<decltype(std::declval<const F&>().running()), bool>);
  static_assert(std::same_as<decltype(std::declval<const F&>().cancelled()), bool>);
  static_assert(std::same_as<decltype(std::declval<const F&>().valid()), bool>);
  static_assert(std::same_as<decltype(std::declval<const F&>().cancel()), bool>);
  static_assert(std::same_as<decltype(std::declval<const F&>().request_stop()), bool>);
  static_assert(std::same_as<decltype(std::declval<const F&>().wait()), void>);
  static_assert(std::same_as<decltype(std::declval<const F&>().wait_for(1ms)), std::future_status>);
  static_assert(
      std::same_as<decltype(std::declval<const F&>().wait_until(std::chrono::system_clock::now())),
                   std::future_status>);
  static_assert(
      std::same_as<decltype(std::declval<const F&>().exception(1ms)), std::exception_ptr>);
  return true;
}

static_assert(is_handle<Future<void>>());
static_assert(is_handle<Future<int>>());
static_assert(is_handle<Future<int&>>());
static_assert(is_handle<Future<const std::string&>>());
static_assert(is_handle<Future<MoveOnly>>());
static_assert(is_handle<Future<NoDefault>>());

template <class F> using result_of_const = decltype(std::declval<const F&>().result());
template <class F> using result_of_lvalue = decltype(std::declval<F&>().result());
template <class F> using result_of_rvalue = decltype(std::declval<F>().result());
template <class F> using got = decltype(std::declval<F&>().get());

static_assert(std::same_as<result_of_const<Future<int>>, const int&>);
static_assert(std::same_as<result_of_lvalue<Future<int>>, const int&>);
static_assert(std::same_as<result_of_rvalue<Future<int>>, int>);
static_assert(std::same_as<got<Future<int>>, int>);
static_assert(std::same_as<got<Future<MoveOnly>>, MoveOnly>);
static_assert(std::same_as<result_of_const<Future<void>>, void>);
static_assert(std::same_as<got<Future<void>>, void>);
static_assert(std::same_as<result_of_const<Future<int&>>, int&>);
static_assert(std::same_as<got<Future<int&>>, int&>);

template <class F>
concept can_get = requires(F&& future) { std::forward<F>(future).get(); };
static_assert(can_get<Future<int>&>);
static_assert(!can_get<const Future<int>&>);

template <class A, class B>
concept can_compare = requires(const A& a, const B& b) { a == b; };
static_assert(can_compare<Future<int>, Future<int>>);
static_assert(!can_compare<Future<int>, Future<long>>);
static_assert(!can_compare<Future<int>, int>);
static_assert(!std::convertible_to<int, Future<int>>);
static_assert(!std::convertible_to<Future<int>, Future<long>>);
static_assert(!std::convertible_to<Future<int>, bool>);

// -- callbacks and promises -----------------------------------------------------------------------

template <class Callback>
concept can_call_back = requires(const Future<int>& future, Callback callback) {
  { future.add_done_callback(std::move(callback)) } -> std::same_as<void>;
};
static_assert(can_call_back<void (*)(Future<int>)>);
static_assert(can_call_back<void (*)(const Future<int>&)>);
static_assert(!can_call_back<void (*)(Future<long>)>);
static_assert(!can_call_back<void (*)()>);

template <class T> consteval bool is_promise() {
  using P = concurrent::Promise<T>;
  static_assert(std::movable<P> && !std::copy_constructible<P> && std::default_initializable<P>);
  static_assert(std::is_nothrow_move_constructible_v<P>);
  static_assert(std::same_as<decltype(std::declval<const P&>().future()), Future<T>>);
  static_assert(std::same_as<decltype(std::declval<P&>().set_running_or_notify_cancel()), bool>);
  static_assert(
      std::same_as<decltype(std::declval<P&>().set_exception(std::exception_ptr())), void>);
  return true;
}
static_assert(is_promise<void>());
static_assert(is_promise<int>());
static_assert(is_promise<int&>());
static_assert(is_promise<MoveOnly>());
static_assert(is_promise<NoDefault>());

// -- wait and as_completed ------------------------------------------------------------------------

template <class... Args>
concept can_wait = requires(Args&&... args) { concurrent::wait(std::forward<Args>(args)...); };
template <class... Args> using waited = decltype(concurrent::wait(std::declval<Args>()...));
template <class... Args>
using in_order = decltype(concurrent::as_completed(std::declval<Args>()...));

using Futures = std::vector<Future<int>>;

static_assert(std::is_aggregate_v<concurrent::WaitOptions>);
static_assert(std::is_aggregate_v<concurrent::AsCompletedOptions>);
static_assert(std::same_as<waited<Futures&>, concurrent::WaitResult<int>>);
static_assert(std::same_as<waited<const Futures&>, concurrent::WaitResult<int>>);
static_assert(std::same_as<waited<Futures, concurrent::WaitOptions>, concurrent::WaitResult<int>>);
static_assert(std::same_as<waited<std::span<const Future<void>>>, concurrent::WaitResult<void>>);
static_assert(std::same_as<waited<Future<int>&, Future<void>&, const Future<long>&>, void>);
static_assert(std::same_as<decltype(concurrent::WaitResult<int>::done), Futures>);
static_assert(std::same_as<decltype(concurrent::WaitResult<int>::not_done), Futures>);
static_assert(!can_wait<>);
static_assert(!can_wait<int>);
static_assert(!can_wait<std::vector<int>&>);
static_assert(!can_wait<Future<int>&, concurrent::WaitOptions>);
static_assert(std::movable<in_order<Futures&>>);
static_assert(!std::copy_constructible<in_order<Futures&>>);
static_assert(std::ranges::input_range<in_order<Futures&>>);
static_assert(!std::ranges::forward_range<in_order<Futures&>>);
static_assert(std::same_as<std::ranges::range_reference_t<in_order<Futures&>>, Future<int>&>);

// -- time limits ----------------------------------------------------------------------------------

static_assert(std::is_default_constructible_v<Timeout>);
static_assert(std::convertible_to<std::chrono::nanoseconds, Timeout>);
static_assert(std::convertible_to<std::chrono::hours, Timeout>);
static_assert(std::convertible_to<std::chrono::duration<double>, Timeout>);
static_assert(std::convertible_to<std::chrono::duration<float, std::nano>, Timeout>);
static_assert(std::convertible_to<std::chrono::duration<short, std::ratio<7, 3>>, Timeout>);
static_assert(!std::convertible_to<int, Timeout>);
static_assert(!std::constructible_from<Timeout, int>);
static_assert(!std::constructible_from<Timeout, double>);
static_assert(!std::convertible_to<std::chrono::steady_clock::time_point, Timeout>);

// -- map ------------------------------------------------------------------------------------------

template <class... Args>
using mapped = decltype(std::declval<ThreadPoolExecutor&>().map(std::declval<Args>()...));

using Numbers = std::vector<int>;

static_assert(std::same_as<mapped<int (&)(int), Numbers&>, MapFuture<int>>);
static_assert(std::same_as<mapped<int (&)(int), Numbers>, MapFuture<int>>);
static_assert(std::same_as<mapped<void (&)(int) noexcept, Numbers&>, MapFuture<void>>);
static_assert(std::same_as<mapped<int& (&)(int&), Numbers&>, MapFuture<int>>);
static_assert(std::same_as<mapped<int (&)(int, int), Numbers&, Numbers&>, MapFuture<int>>);
static_assert(!can_map<int (&)(int)>);
static_assert(!can_map<int (&)(int), int>);
static_assert(!can_map<int, Numbers&>);
static_assert(!can_map<int (&)(int, int), Numbers&>);
static_assert(!can_map<int (&)(int), std::vector<std::string>&>);
static_assert(can_map<void (*)(MoveOnly), std::vector<MoveOnly>>);  // A kept one: as rvalues.
static_assert(!can_map<void (*)(MoveOnly), std::vector<MoveOnly>&>);
static_assert(!can_map<int& (&)(int&), const Numbers&>);
static_assert(can_map<int (&)(int), std::ranges::istream_view<int>>);  // Input only.

static_assert(std::movable<MapFuture<int>>);
static_assert(!std::copyable<MapFuture<int>>);
static_assert(!std::copy_constructible<MapFuture<int>>);
static_assert(std::ranges::input_range<MapFuture<int>>);
static_assert(std::ranges::input_range<MapFuture<void>>);
static_assert(std::ranges::input_range<MapFuture<MoveOnly>>);
static_assert(std::same_as<std::ranges::range_reference_t<MapFuture<int>>, int&>);
static_assert(std::same_as<std::ranges::range_reference_t<MapFuture<void>>, std::monostate&>);
static_assert(std::same_as<std::ranges::range_value_t<MapFuture<int>>, int>);
static_assert(std::same_as<decltype(std::declval<MapFuture<int>&>().result()), Numbers>);
static_assert(std::same_as<decltype(std::declval<MapFuture<void>&>().result()), void>);
static_assert(std::same_as<decltype(std::declval<MapFuture<int>&>().size()), std::size_t>);
static_assert(std::same_as<decltype(std::declval<MapFuture<int>&>().completed()), std::size_t>);
static_assert(std::same_as<decltype(std::declval<MapFuture<int>&>().done()), bool>);
static_assert(std::same_as<decltype(std::declval<MapFuture<int>&>().cancel()), bool>);
static_assert(
    std::same_as<decltype(std::declval<MapFuture<int>&>().wait_for(1ms)), std::future_status>);

// -- errors ---------------------------------------------------------------------------------------

static_assert(std::derived_from<concurrent::Error, std::runtime_error>);
static_assert(std::derived_from<concurrent::CancelledError, concurrent::Error>);
static_assert(std::derived_from<concurrent::TimeoutError, concurrent::Error>);
static_assert(std::derived_from<concurrent::InvalidStateError, concurrent::Error>);
static_assert(std::derived_from<concurrent::BrokenPromise, concurrent::Error>);
static_assert(std::derived_from<concurrent::ShutdownError, concurrent::Error>);
static_assert(std::derived_from<concurrent::DeadlockError, concurrent::Error>);
static_assert(std::derived_from<concurrent::BrokenExecutor, concurrent::Error>);
static_assert(std::derived_from<concurrent::BrokenThreadPool, concurrent::BrokenExecutor>);
static_assert(std::derived_from<concurrent::BrokenThreadPool, std::nested_exception>);
static_assert(std::same_as<decltype(concurrent::usable_cpus()), int>);

}  // namespace

// -- and all of it used ---------------------------------------------------------------------------

int use_executors();
int use_futures();
int use_promises();
int use_several_futures();
int use_maps();

int use_executors() {
  ThreadPoolExecutor by_default;
  ThreadPoolExecutor by_number(3);
  ThreadPoolExecutor by_options({.max_workers = 2});
  ThreadPoolExecutor named({.thread_name_prefix = "reader"});
  ThreadPoolExecutor full({.max_workers = 2,
                           .thread_name_prefix = std::string("full"),
                           .initializer = [] { ignore(1); }});
  int count = by_default.worker_count() + by_number.max_workers();

  Account account;
  by_options.submit(square, 3);
  by_options.submit(&Account::add, &account, 5);
  by_options.submit(&Account::add, std::ref(account), 5);
  by_options.submit([owned = std::make_unique<int>(1)] { return *owned; });
  by_options.submit([](MoveOnly m) { return m; }, MoveOnly(4));
  by_options.submit(Wide{});
  by_options.submit(std::plus<>{}, 20, 22);
  by_options.submit(same, std::ref(count));
  by_options.post(square, 3);
  by_options.post([owned = std::make_unique<int>(1)]() mutable { owned.reset(); });
#if defined(__cpp_lib_jthread)
  by_options.submit([](const std::stop_token& token) { return token.stop_requested(); });
  by_options.submit([](std::stop_token, int n) { return n; }, 3).request_stop();
#endif

  by_options.shutdown();
  named.shutdown({.wait = false});
  full.shutdown({.wait = true, .cancel_futures = true});
  full.shutdown(concurrent::ShutdownOptions{.cancel_futures = true});
  concurrent::release_memory();
  auto former = concurrent::set_unhandled_exception_handler([](std::exception_ptr) {});
  concurrent::set_unhandled_exception_handler(std::move(former));
  return count + concurrent::usable_cpus();
}

int use_futures() {
  ThreadPoolExecutor pool(2);
  Future<int> future = pool.submit(square, 3);
  Future<void> nothing = pool.submit(ignore, 3);
  Future<MoveOnly> moved = pool.submit([] { return MoveOnly(3); });
  Future<NoDefault> no_default = pool.submit([] { return NoDefault(3); });
  Future<Wide> wide = pool.submit([] { return Wide{}; });
  const Future<int> copy = future;

  std::unordered_map<Future<int>, std::string> urls;
  urls.emplace(future, "a");
  std::map<Future<int>, std::string> ordered;
  ordered.emplace(copy, "b");
  const auto order = future <=> copy;

  int sum = future.result() + future.result(1s) + copy.result(0.5s) + future.result({});
  sum += copy.result(std::chrono::hours::max());
  sum += copy.wait_for(1ms) == std::future_status::ready ? 1 : 0;
  sum += copy.wait_until(std::chrono::steady_clock::now()) == std::future_status::timeout;
  sum += moved.get().value + std::move(no_default).result().value;
  sum += static_cast<int>(wide.get(2h)());
  sum += order == 0 && copy == future && !(copy != future) && !(copy < future) ? 1 : 0;
  nothing.wait();
  nothing.result();
  std::move(nothing).result(Timeout{});
  if (const std::exception_ptr error = copy.exception()) { std::rethrow_exception(error); }
  try {
    sum += copy.cancel() + copy.request_stop() + copy.done() + copy.running();
  } catch (const concurrent::BrokenThreadPool& broken) {
    sum += broken.nested_ptr() != nullptr;
  } catch (const concurrent::Error& error) { sum += *error.what(); }
  return sum;
}

int use_promises() {
  concurrent::Promise<int> number;
  concurrent::Promise<void> nothing;
  concurrent::Promise<MoveOnly> moved;
  int target = 0;
  concurrent::Promise<int&> reference;
  const Future<int> future = number.future();
  future.add_done_callback([](const Future<int>& done) { done.wait(); });
  future.add_done_callback([owned = std::make_unique<int>(1)](Future<int>) { ignore(*owned); });
  if (number.set_running_or_notify_cancel()) { number.set_result(5); }
  nothing.set_result();
  moved.set_result(MoveOnly(3));
  reference.set_result(target);
  number = concurrent::Promise<int>();
  number.set_exception(std::make_exception_ptr(std::runtime_error("no")));
  return future.result() + moved.future().get().value + reference.future().result();
}

int use_several_futures() {
  ThreadPoolExecutor pool(2);
  Futures futures{pool.submit(square, 1), pool.submit(square, 2)};
  const Future<void> other = pool.submit(ignore, 1);
  std::unordered_map<int, Future<int>> by_number{{1, futures[0]}};
  int sum = 0;
  concurrent::wait(futures);
  concurrent::wait({futures[0], futures[1]});
  concurrent::wait(futures[0], other);
  concurrent::wait(futures, {.timeout = 1s});
  concurrent::wait(by_number | std::views::values);
  const auto [done, not_done] = concurrent::wait(
      std::span(futures), {.return_when = concurrent::ReturnWhen::first_completed});
  sum += static_cast<int>(done.size() + not_done.size());
  for (Future<int>& future : concurrent::as_completed(futures)) { sum += future.result(); }
  for (const auto& future : concurrent::as_completed({futures[0]}, {.timeout = 2s})) {
    sum += future.result();
  }
  for (const auto& future : concurrent::as_completed(by_number | std::views::values)) {
    sum += future.result();
  }
  return sum;
}

int use_maps() {
  ThreadPoolExecutor pool(2);
  Numbers numbers{1, 2, 3};
  const std::array<int, 3> fixed{1, 2, 3};
  std::istringstream words("1 2 3");
  int sum = 0;

  pool.map(ignore, std::views::iota(0, 5));  // As a statement, without a warning.
  auto squares = pool.map(square, numbers);
  for (auto& r : squares) { sum += r; }
  for (const int r : pool.map(square, {1, 2, 3})) { sum += r; }
  for ([[maybe_unused]] std::monostate& r : pool.map(ignore, numbers)) { ++sum; }
  for (const int r : pool.map(add, numbers, fixed)) { sum += r; }
  auto lines = pool.map(square, std::views::istream<int>(words));
  const std::vector<int> all(lines.begin(), lines.end());
  auto odd = numbers | std::views::filter([](int n) { return n % 2 == 1; });
  sum += static_cast<int>(pool.map(square, odd).result().size());
  sum += static_cast<int>(pool.map(square, std::span(numbers)).result().size());
  sum += static_cast<int>(pool.map(square, std::forward_list<int>{1, 2}).result().size());
  pool.map(same, numbers).result();
  pool.map([owned = std::make_unique<int>(1)](int n) { return n + *owned; }, numbers).result();
  std::vector<std::unique_ptr<int>> owners;
  pool.map([](std::unique_ptr<int> p) { return *p; }, std::move(owners)).wait();

  auto limited = pool.map(concurrent::MapOptions{.timeout = 2s, .chunksize = 1}, square, fixed);
  auto chunked = pool.map({.chunksize = 2}, add, numbers, fixed);
  sum += static_cast<int>(limited.size() + limited.completed());
  sum += limited.wait_for(1ms) == std::future_status::ready && limited.done() ? 1 : 0;
  sum += limited.cancel() ? 1 : 0;
  limited = std::move(chunked);
  return sum + static_cast<int>(all.size());
}
