// SPDX-License-Identifier: MIT
//
// lifecycle: what does a pool cost that runs one task and is gone again?
//
// Fair: each peer is constructed with its number of workers, runs one task to its result and is
// destroyed. The peers differ in when they start threads: this library and std_async with the task,
// the small pools all of them at once. tbb keeps its threads when an arena is gone, so only its
// first round starts any.
// Timed: constructor, task, destructor.
#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

template <bench::Submits P> void lifecycle(benchmark::State& state, int workers) {
  bench::settle();
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    {
      P peer(workers);
      benchmark::DoNotOptimize(peer.submit([] { return 1; }).get());
    }
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, 1);
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Submits<P>) {
      add_for_workers<P>("lifecycle", {}, worker_counts(), lifecycle<P>);
    }
  });
}
