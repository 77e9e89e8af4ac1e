// SPDX-License-Identifier: MIT
//
// What all workloads share: their names, their sizes, the clock, and work of a known length.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// Each workload defines this one: it adds its benches. main() calls it.
void add_benches();

/// The environment variable BENCH_DIVIDE divides the sizes: 1 for figures that count, 1000 to see
/// that everything runs.
int divide();

/// A number of tasks, divided.
inline int scaled(int count) { return std::max(1, count / divide()); }

/// The depth of a recursion whose work grows by `factor` with each level, divided.
int scaled_depth(int depth, double factor);

/// The numbers of workers that workloads go through where nothing else is said. Two are the main
/// case; a divided run has no other.
std::vector<int> worker_counts();

/// Keeps a core busy for so many microseconds by a fixed amount of arithmetic, measured once.
void work_for(double microseconds);

/// Nanoseconds for one step of that arithmetic, and for one way of a cache line between two cores
/// (the median of some batches; 0 where there is one core only).
double arithmetic_step_ns();
double line_transfer_ns();

/// A rest in which threads of the bench before go to sleep. Never timed.
void settle();

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The value below which that share of the values lies. Sorts them.
inline double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(share * last + 0.5)];
}

using Parameters = std::vector<std::pair<const char*, int>>;

/// Adds the bench workload/peer/parameter:value/... `function` times itself, by SetIterationTime.
template <class P, class F> void add(const char* workload, const Parameters& all, F function) {
  std::string name = std::string(workload) + '/' + P::kName;
  for (const auto& [parameter, value] : all) {
    name += std::string("/") + parameter + ':' + std::to_string(value);
  }
  benchmark::RegisterBenchmark(name.c_str(), std::move(function))
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

/// The same for each of these numbers of workers, which is the last parameter and goes to
/// function(state, workers); once, without it, for a peer that has no workers.
template <class P, class F>
void add_for_workers(const char* workload, Parameters all, const std::vector<int>& counts,
                     F function) {
  for (const int workers : counts) {
    if (!P::kHasWorkers) {
      add<P>(workload, all, [=](benchmark::State& state) { function(state, 1); });
      return;
    }
    all.emplace_back("workers", workers);
    add<P>(workload, all, [=](benchmark::State& state) { function(state, workers); });
    all.pop_back();
  }
}

/// Reports the time of an iteration as the time of one of its tasks.
inline void report_per_task(benchmark::State& state, double tasks) {
  state.counters["seconds_per_task"] = benchmark::Counter(
      tasks, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

}  // namespace bench
