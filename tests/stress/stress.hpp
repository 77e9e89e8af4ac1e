// SPDX-License-Identifier: MIT
// What the stress tests share: seeded random numbers, busy waiting, threads that start together.
#ifndef CONCURRENT_TESTS_STRESS_STRESS_HPP
#define CONCURRENT_TESTS_STRESS_STRESS_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "support/gate.hpp"
#include "support/scale.hpp"

namespace stress {

/// The seed of this run. CONCURRENT_SEED in the environment chooses another.
inline std::uint64_t seed() {
  const char* text = std::getenv("CONCURRENT_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

/// Sebastiano Vigna's splitmix64: small, good enough, the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t salt) : state_(seed() * 0x9e3779b97f4a7c15U + salt) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }

  /// 0 to `count` - 1.
  int below(int count) { return static_cast<int>(next() % static_cast<std::uint64_t>(count)); }

 private:
  std::uint64_t state_;
};

/// Keeps the processor busy for some nanoseconds a step, so that threads meet at ever other places.
inline void spin(int steps) {
  static thread_local std::atomic<int> sink;
  for (int i = 0; i < steps; ++i) { sink.store(i, std::memory_order_relaxed); }
}

/// Waits for another thread without sleeping, so that this thread is there at that moment. It yields,
/// for there may be one processor only.
inline void spin_until(const std::atomic<bool>& flag) {
  while (!flag.load(std::memory_order_acquire)) { std::this_thread::yield(); }
}

/// Runs f(0) ... f(threads - 1), each in a thread of its own, all of them let go at once. What one of
/// them throws is rethrown here when all have ended.
template <class F> void in_parallel(int threads, F f) {
  support::Barrier start(threads);
  std::mutex mutex;
  std::exception_ptr failure;  // guarded by mutex
  std::vector<std::thread> crew;
  for (int i = 0; i < threads; ++i) {
    crew.emplace_back([&, i] {
      start.arrive_and_wait();
      try {
        f(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    });
  }
  for (std::thread& thread : crew) { thread.join(); }
  if (failure) std::rethrow_exception(failure);
}

/// One counter for each of many tasks, to see that each has run once.
class Tally {
 public:
  explicit Tally(std::size_t count) : hits_(count) {}

  void hit(std::size_t index) { hits_[index].fetch_add(1, std::memory_order_relaxed); }
  void hit(int index) { hit(static_cast<std::size_t>(index)); }
  int hits(std::size_t index) const { return hits_[index].load(std::memory_order_relaxed); }

  /// How many have run not at all, or twice and more.
  int not_once() const {
    int count = 0;
    for (const auto& hits : hits_) {
      if (hits.load(std::memory_order_relaxed) != 1) ++count;
    }
    return count;
  }

 private:
  std::vector<std::atomic<unsigned char>> hits_;
};

}  // namespace stress

#endif  // CONCURRENT_TESTS_STRESS_STRESS_HPP
