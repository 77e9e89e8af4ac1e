// SPDX-License-Identifier: MIT
//
// producers: what does one task cost if four threads submit at the same time?
//
// Each of four outside threads submits its share and then takes its results, as in submit_get.
// Timed: from the moment when all four may begin until the last has taken its last result. Not
// timed: the pool, a first small round, the four threads, and the memory for the handles.
#include <atomic>
#include <barrier>
#include <cstddef>
#include <thread>
#include <type_traits>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

constexpr int kProducers = 4;

template <bench::Submits P> void producers(benchmark::State& state, int tasks, int workers) {
  const auto task_of = [](int i) { return [i] { return i ^ 1; }; };

  bench::settle();
  P peer(workers);
  std::barrier<> round_begins(kProducers + 1);
  std::barrier<> round_ends(kProducers + 1);
  std::atomic<int> count = tasks / 10 + 1;  // of the next round, 0 ends
  std::vector<std::thread> threads;
  for (int producer = 0; producer < kProducers; ++producer) {
    threads.emplace_back([&] {
      std::vector<decltype(peer.submit(task_of(0)))> pending;
      pending.reserve(static_cast<std::size_t>(tasks));
      while (true) {
        round_begins.arrive_and_wait();
        if (count == 0) return;
        const int end = count;
        for (int i = 0; i < end; ++i) pending.push_back(peer.submit(task_of(i)));
        long long sum = 0;
        for (auto& one : pending) sum += one.get();
        pending.clear();
        benchmark::DoNotOptimize(sum);
        round_ends.arrive_and_wait();
      }
    });
  }

  round_begins.arrive_and_wait();
  round_ends.arrive_and_wait();
  count = tasks;
  for (auto _ : state) {
    const auto begin = bench::Clock::now();
    round_begins.arrive_and_wait();
    round_ends.arrive_and_wait();
    state.SetIterationTime(bench::seconds_since(begin));
  }
  count = 0;
  round_begins.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  bench::report_per_task(state, static_cast<double>(tasks) * kProducers);
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Submits<P>) {
      const bool is_fast = std::is_same_v<P, Concurrent> || std::is_same_v<P, Serial>;
      const int tasks = scaled(starts_thread_per_task<P>() ? 250 : is_fast ? 250'000 : 25'000);
      add_for_workers<P>(
          "producers", {{"producers", kProducers}, {"tasks_each", tasks}}, worker_counts(),
          [tasks](benchmark::State& state, int workers) { producers<P>(state, tasks, workers); });
    }
  });
}
