// SPDX-License-Identifier: MIT
//
// nested: what does a fork cost, if a task submits one half of its work and waits for it inside?
//
// fib(n) by its definition: each call submits fib(n - 1), computes fib(n - 2) itself and waits. Fair:
// the root is a task, each fork is a task with a result of its own, nothing is cut off at the leaves.
// Absent: pools where a waiting task occupies its worker, for they deadlock. Those that start a
// thread per fork get a small n: the figure is the time per fork. serial shows what the calls alone
// cost.
// Timed: from the submit of the root to its result. Not timed: the pool and a small first round.
#include <cmath>
#include <type_traits>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

template <bench::Forks P> long long fib(P& peer, int n) {
  if (n < 2) return n;
  typename P::template Children<1> child(peer);
  child.start([&peer, n] { return fib(peer, n - 1); });
  const long long right = fib(peer, n - 2);
  return child.sum() + right;
}

double forks_of(int n) {
  double now = 0;
  double before = 0;  // of n - 2
  for (int i = 2; i <= n; ++i) {
    const double next = 1 + now + before;
    before = now;
    now = next;
  }
  return now;
}

template <bench::Forks P> void nested(benchmark::State& state, int n, int workers) {
  bench::settle();
  P peer(workers);
  benchmark::DoNotOptimize(peer.run([&peer, n] { return fib(peer, n / 2); }));
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    benchmark::DoNotOptimize(peer.run([&peer, n] { return fib(peer, n); }));
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, forks_of(n));
}

// The other peers take a tenth of a microsecond or more for a fork, openmp far more.
template <class P> constexpr int depth_of() {
  if (bench::starts_thread_per_task<P>()) return 12;
  if (std::is_same_v<P, bench::Concurrent> || std::is_same_v<P, bench::Serial>) return 30;
#if defined(BENCH_HAS_OPENMP)
  if (std::is_same_v<P, bench::OpenMp>) return 23;
#endif
  return 27;
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Forks<P>) {
      const int n = scaled_depth(depth_of<P>(), 1.618);
      add_for_workers<P>(
          "nested", {{"n", n}}, worker_counts(),
          [n](benchmark::State& state, int workers) { nested<P>(state, n, workers); });
    }
  });
}
