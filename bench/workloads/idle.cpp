// SPDX-License-Identifier: MIT
//
// idle: what does a pool cost that has nothing to do?
//
// All workers have run something; then nobody submits for two seconds. processor_seconds is what the
// whole process took in that time, the search of the workers before they sleep included; sleeps is
// how often a thread went to sleep of its own accord, the measuring one included (once). Fair: every
// peer spins as long as it does by default.
// Time means nothing here. serial shows what the measuring costs.
#include <chrono>
#include <thread>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"
#include "support/system.hpp"

namespace {

template <bench::Peer P> void idle(benchmark::State& state, int milliseconds, int workers) {
  const auto work_a_little = [] {
    bench::work_for(200);
    return 0;
  };

  bench::settle();
  P peer(workers);
  for (auto _ : state) {
    if constexpr (bench::Submits<P>) {
      std::vector<decltype(peer.submit(work_a_little))> all;
      for (int i = 0; i < 4 * workers; ++i) all.push_back(peer.submit(work_a_little));
      for (auto& one : all) one.get();
    } else {
      peer.loop(4 * workers, [&](int) { work_a_little(); });
    }
    const bench::Usage before = bench::usage();
    const auto begin = bench::Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    state.SetIterationTime(bench::seconds_since(begin));
    const bench::Usage after = bench::usage();
    state.counters["processor_seconds"] = after.processor_seconds - before.processor_seconds;
    state.counters["sleeps"] = after.switches - before.switches;
  }
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr ((Submits<P> || Forks<P>) && !starts_thread_per_task<P>()) {
      const int milliseconds = std::max(20, scaled(2000));
      add_for_workers<P>("idle", {{"ms", milliseconds}}, {2},
                         [milliseconds](benchmark::State& state, int workers) {
                           idle<P>(state, milliseconds, workers);
                         });
    }
  });
}
