// SPDX-License-Identifier: MIT
//
// round_trip: how long does one outside thread wait for one task?
//
// It submits one, waits for its result, and again; p50 and p99 of the time for one. Between two of
// them it keeps its own core busy for `silence_us` microseconds, so that the workers find nothing
// to do; 0 is hot. busy:1 has one more busy thread on each core, which competes with both sides.
// Fair: the peer gives the result through its own handle and chooses itself how long its workers
// look for work before they sleep (idle shows what that costs). futex is no pool but the floor.
// Timed: each submit with its get. Not timed: the silence, the pool, and the first trips. The time
// of an iteration, silence and all, means nothing.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"
#include "support/system.hpp"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__linux__)
// What no pool can beat whose worker sleeps: one thread that sleeps on a bare word and answers, and
// a caller that wakes it and spins until it has. There is no task.
class Futex {
 public:
  static constexpr const char* kName = "futex";
  static constexpr bool kHasWorkers = false;

  explicit Futex(int /*workers*/) {}
  ~Futex() {
    ask(kEnd);
    thread_.join();
  }
  Futex(const Futex&) = delete;
  Futex& operator=(const Futex&) = delete;

  class Pending {
   public:
    explicit Pending(Futex& futex) : futex_(futex) {}
    int get() {
      const unsigned asked = futex_.asked_.load(std::memory_order_relaxed);
      while (futex_.answered_.load(std::memory_order_acquire) != asked) {}
      return 0;
    }

   private:
    Futex& futex_;
  };

  template <class F> Pending submit(F /*task*/) {
    ask(asked_.load(std::memory_order_relaxed) % (kEnd - 1) + 1);
    return Pending(*this);
  }

 private:
  static constexpr unsigned kEnd = ~0U;

  void ask(unsigned number) {
    asked_.store(number, std::memory_order_release);
    ::syscall(SYS_futex, &asked_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  void answer() {
    for (unsigned seen = 0; seen != kEnd;) {
      ::syscall(SYS_futex, &asked_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
      seen = asked_.load(std::memory_order_acquire);
      answered_.store(seen, std::memory_order_release);
    }
  }

  alignas(64) std::atomic<unsigned> asked_ = 0;
  alignas(64) std::atomic<unsigned> answered_ = 0;
  std::thread thread_{[this] { answer(); }};
};
static_assert(bench::Submits<Futex>);
#endif

// Threads that do nothing but take their core's time, one on each core.
class BusyCores {
 public:
  explicit BusyCores(int count) {
    for (int cpu = 0; cpu < count; ++cpu) {
      threads_.emplace_back([this, cpu] {
        bench::stay_on_cpu(cpu);
        while (!is_over_.load(std::memory_order_relaxed)) bench::work_for(1);
      });
    }
  }
  ~BusyCores() {
    is_over_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  BusyCores(const BusyCores&) = delete;
  BusyCores& operator=(const BusyCores&) = delete;

 private:
  std::atomic<bool> is_over_ = false;
  std::vector<std::thread> threads_;
};

struct Trips {
  int silence_us;
  bool is_busy;
  int most;  // trips in an iteration, fewer where they take long
};

constexpr double kLongestIteration = 0.1;

template <bench::Submits P> void round_trip(benchmark::State& state, Trips trips, int workers) {
  bench::settle();
  P peer(workers);
  const BusyCores busy(trips.is_busy ? concurrent::usable_cpus() : 0);
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(trips.most));
  const auto trip = [&](int i) { benchmark::DoNotOptimize(peer.submit([i] { return i; }).get()); };

  for (int i = 0; i < 20; ++i) trip(i);
  std::vector<double> p50;
  std::vector<double> p99;
  for (auto _ : state) {
    times.clear();
    const auto iteration_begin = bench::Clock::now();
    while (times.size() < static_cast<std::size_t>(trips.most) &&
           bench::seconds_since(iteration_begin) < kLongestIteration) {
      const auto silence_begin = bench::Clock::now();
      while (bench::seconds_since(silence_begin) * 1e6 < trips.silence_us) {}
      const auto begin = bench::Clock::now();
      trip(1);
      times.push_back(bench::seconds_since(begin));
    }
    state.SetIterationTime(bench::seconds_since(iteration_begin));
    p50.push_back(bench::percentile(times, 0.50));
    p99.push_back(bench::percentile(times, 0.99));
  }
  state.counters["p50_seconds"] = bench::percentile(p50, 0.5);
  state.counters["p99_seconds"] = bench::percentile(p99, 0.5);
}

}  // namespace

void bench::add_benches() {
  const Trips kinds[] = {{0, false, scaled(20'000)}, {20, false, scaled(2'000)},
                         {50, false, scaled(1'000)}, {200, false, scaled(400)},
                         {1000, false, scaled(90)},  {0, true, scaled(1'000)}};
  for (const Trips& trips : kinds) {
    const auto add_trips = [&trips]<class P>() {
      if constexpr (Submits<P>) {
        Trips some = trips;
        if (starts_thread_per_task<P>()) some.most = std::min(some.most, 500);
        add_for_workers<P>(
            "round_trip", {{"silence_us", trips.silence_us}, {"busy", trips.is_busy}}, {2},
            [some](benchmark::State& state, int workers) { round_trip<P>(state, some, workers); });
      }
    };
    for_each_peer(add_trips);
#if defined(__linux__)
    add_trips.template operator()<Futex>();
#endif
  }
}
