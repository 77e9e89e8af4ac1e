// SPDX-License-Identifier: MIT
//
// round_trip: how long does one outside thread wait for one task?
//
// It submits one, waits for its result, and again; p50 and p99 of the time for one. Between two of
// them it keeps its own core busy for `silence_us` microseconds, so that the workers find nothing
// to do; 0 is hot. busy:1 has one more busy thread on each core, which competes with both sides.
// Fair: the peer gives the result through its own handle and chooses itself how long its workers
// look for work before they sleep (idle shows what that costs).
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

namespace {

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
    for_each_peer([&trips]<class P>() {
      if constexpr (Submits<P>) {
        Trips some = trips;
        if (starts_thread_per_task<P>()) some.most = std::min(some.most, 500);
        add_for_workers<P>(
            "round_trip", {{"silence_us", trips.silence_us}, {"busy", trips.is_busy}}, {2},
            [some](benchmark::State& state, int workers) { round_trip<P>(state, some, workers); });
      }
    });
  }
}
