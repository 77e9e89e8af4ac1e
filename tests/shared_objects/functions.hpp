// SPDX-License-Identifier: MIT
// The functions behind Functions. Internal linkage: each object and the program have their own.
#ifndef CONCURRENT_TESTS_SHARED_OBJECTS_FUNCTIONS_HPP
#define CONCURRENT_TESTS_SHARED_OBJECTS_FUNCTIONS_HPP

#include <atomic>
#include <chrono>
#include <concurrent/executor.hpp>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "shared_objects/plugin.hpp"

namespace shared_objects {
namespace {

std::unique_ptr<ThreadPoolExecutor> make_pool(int workers) {
  return std::make_unique<ThreadPoolExecutor>(workers);
}

Future<int> submit(ThreadPoolExecutor& pool, int value) {
  return pool.submit([value] { return value; });
}

std::thread::id submit_and_wait(ThreadPoolExecutor& pool) {
  return pool.submit([] { return std::this_thread::get_id(); }).result();
}

bool submit_and_nest(ThreadPoolExecutor& pool) {
  return pool.submit([&pool] { return submit_and_wait(pool) == std::this_thread::get_id(); })
      .result();
}

int read(const Future<int>& future) { return future.result(); }

int collect(const std::vector<Future<int>>& futures) {
  std::atomic<int> sum = 0;
  std::atomic<std::size_t> callbacks = 0;
  for (const Future<int>& future : futures) {
    future.add_done_callback([&](const Future<int>& done) {
      sum.fetch_add(done.result());
      callbacks.fetch_add(1);
    });
  }
  for (const Future<int>& future : concurrent::as_completed(futures)) {
    sum.fetch_add(future.result());
  }
  for (const Future<int>& future : concurrent::wait(futures).done) {
    sum.fetch_add(future.result());
  }
  // A waiter may be back before the callbacks have run.
  while (callbacks.load() != futures.size()) { std::this_thread::yield(); }
  return sum.load();
}

void throw_error(int error) {
  switch (error) {
    case 0:
      throw concurrent::CancelledError("cancelled");
    case 1:
      throw concurrent::TimeoutError("timeout");
    case 2:
      throw concurrent::InvalidStateError("state");
    case 3:
      throw concurrent::BrokenPromise("promise");
    case 4:
      throw concurrent::ShutdownError("shutdown");
    case 5:
      throw concurrent::DeadlockError("deadlock");
    case 6:
      throw concurrent::BrokenThreadPool("pool");
    default:
      throw concurrent::BrokenExecutor("executor");
  }
}

int catch_error(void (*thrower)(int), int error) {
  try {
    thrower(error);
  } catch (const concurrent::CancelledError&) {
    return 0;
  } catch (const concurrent::TimeoutError&) {
    return 1;
  } catch (const concurrent::InvalidStateError&) {
    return 2;
  } catch (const concurrent::BrokenPromise&) {
    return 3;
  } catch (const concurrent::ShutdownError&) {
    return 4;
  } catch (const concurrent::DeadlockError&) {
    return 5;
  } catch (const concurrent::BrokenThreadPool&) {
    return 6;
  } catch (const concurrent::BrokenExecutor&) { return 7; } catch (...) {
  }
  return -1;
}

bool use_all() {
  ThreadPoolExecutor pool(2);
  int sum = 0;
  for (const int value : pool.map([](int i) { return i; }, std::views::iota(0, 100))) sum += value;
  std::vector<Future<int>> futures;
  for (int i = 0; i < 100; ++i) futures.push_back(submit(pool, i));
  sum += collect(futures);
  concurrent::Promise<int> promise;
  auto kept = promise.future();
  const auto nested = pool.submit([&] { return submit(pool, 1).result() + kept.result(); });
  promise.set_result(1);
  sum += nested.result();
  const auto failed = pool.submit([] { throw std::runtime_error("failed"); });
  sum += failed.exception() != nullptr;
  pool.post([] {});
  bool is_refused = false;
  pool.shutdown();
  try {
    pool.post([] {});
  } catch (const concurrent::ShutdownError&) { is_refused = true; }
  concurrent::release_memory();
  return sum == 4 * 4950 + 3 && is_refused;
}

constexpr Functions kFunctions = {&make_pool,       &submit,      &submit_and_wait,
                                  &submit_and_nest, &read,        &collect,
                                  &throw_error,     &catch_error, &use_all};

}  // namespace
}  // namespace shared_objects

#endif  // CONCURRENT_TESTS_SHARED_OBJECTS_FUNCTIONS_HPP
