// SPDX-License-Identifier: MIT
//
// nqueens: what does a task cost in a tree that is irregular?
//
// Counts the ways to put n queens on a board, row by row; each task starts one for every place in
// the next row that is not attacked, and adds up what they return. Fair: as in nested; nothing is
// cut off, so the tasks near the leaves are tiny. The figure is the time for one task.
// Timed: from the submit of the root to its result. Not timed: the pool and a small first round.
#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

// The rows above attack these places of the next row, straight and along the diagonals.
struct Attacked {
  unsigned straight = 0;
  unsigned to_left = 0;
  unsigned to_right = 0;
};

template <class F> void for_each_place(const Attacked& above, int n, F body) {
  const unsigned all = (1u << n) - 1;
  unsigned free = all & ~(above.straight | above.to_left | above.to_right);
  for (; free != 0; free &= free - 1) {
    const unsigned place = free & (0 - free);
    body(Attacked{above.straight | place, (above.to_left | place) << 1,
                  (above.to_right | place) >> 1});
  }
}

template <bench::Forks P> long long solutions(P& peer, int n, int row, const Attacked& above) {
  if (row == n) return 1;
  typename P::template Children<16> children(peer);
  for_each_place(above, n, [&](const Attacked& next) {
    children.start([&peer, n, row, next] { return solutions(peer, n, row + 1, next); });
  });
  return children.sum();
}

double tasks_of(int n, int row, const Attacked& above) {
  double tasks = 1;
  if (row < n) {
    for_each_place(above, n, [&](const Attacked& next) { tasks += tasks_of(n, row + 1, next); });
  }
  return tasks;
}

template <bench::Forks P> void nqueens(benchmark::State& state, int n, int workers) {
  bench::settle();
  P peer(workers);
  benchmark::DoNotOptimize(peer.run([&peer] { return solutions(peer, 4, 0, {}); }));
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    benchmark::DoNotOptimize(peer.run([&peer, n] { return solutions(peer, n, 0, {}); }));
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, tasks_of(n, 0, {}));
}

template <class P> constexpr int size_of() {
  if (bench::starts_thread_per_task<P>()) return 5;
#if defined(BENCH_HAS_OPENMP)
  if (std::is_same_v<P, bench::OpenMp>) return 10;
#endif
  return 12;
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Forks<P>) {
      const int n = scaled_depth(size_of<P>(), 5);
      add_for_workers<P>(
          "nqueens", {{"n", n}}, worker_counts(),
          [n](benchmark::State& state, int workers) { nqueens<P>(state, n, workers); });
    }
  });
}
