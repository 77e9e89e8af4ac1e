// SPDX-License-Identifier: MIT
//
// skynet: what does a leaf cost in a wide tree of tasks?
//
// The root submits ten tasks, each of them ten more, and so on down to the leaves, each of which
// returns its number; every task adds up what its children return. Fair: as in nested; a task's ten
// children may be waited for in any order, or all at once.
// Timed: from the submit of the root to its result. Not timed: the pool and a small first round.
#include <type_traits>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

template <bench::Forks P> long long skynet(P& peer, long long first, int leaves) {
  if (leaves == 1) return first;
  typename P::template Children<10> children(peer);
  const int each = leaves / 10;
  for (int i = 0; i < 10; ++i) {
    const long long begin = first + 1LL * i * each;
    children.start([&peer, begin, each] { return skynet(peer, begin, each); });
  }
  return children.sum();
}

template <bench::Forks P> void run(benchmark::State& state, int leaves, int workers) {
  bench::settle();
  P peer(workers);
  benchmark::DoNotOptimize(peer.run([&peer] { return skynet(peer, 0, 10); }));
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    benchmark::DoNotOptimize(peer.run([&peer, leaves] { return skynet(peer, 0, leaves); }));
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, leaves);
}

template <class P> constexpr int levels_of() {
  if (bench::starts_thread_per_task<P>()) return 2;
#if defined(BENCH_HAS_OPENMP)
  if (std::is_same_v<P, bench::OpenMp>) return 5;
#endif
  return 6;
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Forks<P>) {
      int leaves = 1;
      for (int level = 0; level < scaled_depth(levels_of<P>(), 10); ++level) leaves *= 10;
      add_for_workers<P>(
          "skynet", {{"leaves", leaves}}, worker_counts(),
          [leaves](benchmark::State& state, int workers) { run<P>(state, leaves, workers); });
    }
  });
}
