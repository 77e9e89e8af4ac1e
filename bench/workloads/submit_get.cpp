// SPDX-License-Identifier: MIT
//
// submit_get: what does one task cost from submit to get, if it does next to nothing?
//
// One thread outside submits all the tasks and keeps their handles, then takes the results in
// order. Fair: every peer gives a handle per task that carries a result, and runs the task on
// another thread; serial runs it in the caller. Peers that take a microsecond get fewer tasks, and
// those that start a thread per task a thousand at a time: the figure is the time per task.
// Timed: submits, runs, gets, and the destruction of the handles. Not timed: the pool, a first
// small round that starts its threads, and the memory for the handles.
#include <cstddef>
#include <type_traits>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

template <bench::Submits P> void submit_get(benchmark::State& state, int tasks, int workers) {
  const auto task_of = [](int i) { return [i] { return i ^ 1; }; };

  bench::settle();
  P peer(workers);
  std::vector<decltype(peer.submit(task_of(0)))> pending;
  pending.reserve(static_cast<std::size_t>(tasks));
  const auto round = [&](int count) {
    for (int i = 0; i < count; ++i) pending.push_back(peer.submit(task_of(i)));
    long long sum = 0;
    for (auto& one : pending) sum += one.get();
    pending.clear();
    benchmark::DoNotOptimize(sum);
  };

  round(tasks / 10 + 1);
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    round(tasks);
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, tasks);
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Submits<P>) {
      const bool is_fast = std::is_same_v<P, Concurrent> || std::is_same_v<P, Serial>;
      const int tasks = scaled(starts_thread_per_task<P>() ? 1'000 : is_fast ? 1'000'000 : 100'000);
      add_for_workers<P>(
          "submit_get", {{"tasks", tasks}}, worker_counts(),
          [tasks](benchmark::State& state, int workers) { submit_get<P>(state, tasks, workers); });
    }
  });
}
