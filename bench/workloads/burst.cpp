// SPDX-License-Identifier: MIT
//
// burst: n tasks become ready at once while all workers sleep: when has the last one begun, and how
// much of the machine works for them?
//
// burst submits n tasks from outside and takes their results; burst_loop gives n calls to the
// peer's loop (map with chunksize 1, parallel_for, std::for_each(par), an OpenMP loop, threads that
// split it by hand). Each task is a fixed amount of arithmetic, measured as 1, 10 or 100 us when the
// program starts. Fair: the pool rests before each burst for longer than its workers spin.
// Absent: what starts a thread per task, for bursts of a thousand.
// Timed: from the first submit to the last result. last_begun_seconds is the time from the first
// submit until the last task has begun; efficiency is the work divided by the time and the number of
// cores that the workers can have, 1 at best.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

struct Burst {
  int tasks;
  int task_us;
};

template <bench::Peer P, class F>
void measure(benchmark::State& state, Burst burst, int workers, F run_all) {
  std::vector<bench::Clock::time_point> begun(static_cast<std::size_t>(burst.tasks));
  const auto task = [&begun, burst](int i) {
    begun[static_cast<std::size_t>(i)] = bench::Clock::now();
    bench::work_for(burst.task_us);
    return i;
  };

  run_all(task);
  std::vector<double> last_begun;
  double sum = 0;
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto begin = bench::Clock::now();
    run_all(task);
    const double seconds = bench::seconds_since(begin);
    state.SetIterationTime(seconds);
    sum += seconds;
    const auto last = *std::max_element(begun.begin(), begun.end());
    last_begun.push_back(std::chrono::duration<double>(last - begin).count());
  }
  int cores = 1;
  if (bench::starts_thread_per_task<P>()) cores = concurrent::usable_cpus();
  if (P::kHasWorkers) cores = std::min(workers, concurrent::usable_cpus());
  const double work = 1e-6 * burst.task_us * burst.tasks * static_cast<double>(state.iterations());
  state.counters["last_begun_seconds"] = bench::percentile(last_begun, 0.5);
  state.counters["efficiency"] = work / (sum * cores);
}

template <bench::Submits P> void submit_all(benchmark::State& state, Burst burst, int workers) {
  bench::settle();
  P peer(workers);
  const auto number = [] { return 0; };
  std::vector<decltype(peer.submit(number))> pending;
  pending.reserve(static_cast<std::size_t>(burst.tasks));
  measure<P>(state, burst, workers, [&](const auto& task) {
    for (int i = 0; i < burst.tasks; ++i) {
      pending.push_back(peer.submit([&task, i] { return task(i); }));
    }
    for (auto& one : pending) one.get();
    pending.clear();
  });
}

template <bench::Loops P> void loop_all(benchmark::State& state, Burst burst, int workers) {
  bench::settle();
  P peer(workers);
  measure<P>(state, burst, workers,
             [&](const auto& task) { peer.loop(burst.tasks, [&task](int i) { task(i); }); });
}

}  // namespace

void bench::add_benches() {
  const Burst bursts[] = {{2, 100}, {1000, 1}, {1000, 10}, {100, 100}};
  for (const Burst& burst : bursts) {
    const Parameters parameters = {{"tasks", burst.tasks}, {"task_us", burst.task_us}};
    for_each_peer([&]<class P>() {
      if constexpr (Submits<P>) {
        if (starts_thread_per_task<P>() && burst.tasks > 100) return;
        add_for_workers<P>("burst", parameters, {2}, [burst](benchmark::State& state, int workers) {
          submit_all<P>(state, burst, workers);
        });
      }
      if constexpr (Loops<P>) {
        add_for_workers<P>(
            "burst_loop", parameters, {2},
            [burst](benchmark::State& state, int workers) { loop_all<P>(state, burst, workers); });
      }
    });
  }
}
