// SPDX-License-Identifier: MIT
//
// oversubscribed: what does a task cost if there are 64 workers, far more than cores?
//
// As submit_get, for empty tasks and for tasks of 10 us: the workers are in each other's way.
// Timed: submits, runs, gets. Not timed: the pool, a first round in which all workers start, and the
// memory for the handles.
#include <cstddef>
#include <utility>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

constexpr int kWorkers = 64;

template <bench::Submits P>
void oversubscribed(benchmark::State& state, int tasks, int task_us, int workers) {
  const auto task = [task_us] {
    if (task_us > 0) bench::work_for(task_us);
    return 1;
  };

  bench::settle();
  P peer(workers);
  std::vector<decltype(peer.submit(task))> pending;
  pending.reserve(static_cast<std::size_t>(tasks));
  const auto round = [&] {
    for (int i = 0; i < tasks; ++i) pending.push_back(peer.submit(task));
    long long sum = 0;
    for (auto& one : pending) sum += one.get();
    pending.clear();
    benchmark::DoNotOptimize(sum);
  };

  round();
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    round();
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, tasks);
}

}  // namespace

void bench::add_benches() {
  for (const auto& [all, task_us] : {std::pair(5'000, 0), std::pair(2'000, 10)}) {
    const int tasks = scaled(all);
    for_each_peer([&, task_us = task_us]<class P>() {
      if constexpr (Submits<P> && !starts_thread_per_task<P>()) {
        add_for_workers<P>("oversubscribed", {{"tasks", tasks}, {"task_us", task_us}}, {kWorkers},
                           [tasks, task_us](benchmark::State& state, int workers) {
                             oversubscribed<P>(state, tasks, task_us, workers);
                           });
      }
    });
  }
}
