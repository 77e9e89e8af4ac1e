// SPDX-License-Identifier: MIT
//
// detached: what does one task cost that nobody waits for, if it does next to nothing?
//
// One thread outside posts all the tasks, and destroys the executor. Fair: no peer makes a handle,
// and every peer's destructor drains: shutdown here, join of the threads in textbook, asio and
// eigen, the task_group's wait in tbb, the barrier at the end of the team in openmp, whose member
// that posts may run tasks itself. Absent: those where nobody could wait for such a task.
// Timed: posts, runs, and the destructor. Not timed: the constructor, and a first small round that
// starts the threads.
#include <optional>
#include <type_traits>

#include "peers/all.hpp"
#include "support/bench.hpp"

namespace {

template <bench::Posts P> void detached(benchmark::State& state, int tasks, int workers) {
  bench::settle();
  for (auto _ : state) {
    std::optional<P> peer(workers);
    int nothing = 0;
    if constexpr (bench::Submits<P>) peer->submit([] { return 0; }).get();

    const auto begin = bench::Clock::now();
    bench::where_tasks_are_made(*peer, [&] {
      for (int i = 0; i < tasks; ++i) {
        peer->post([&nothing] { benchmark::DoNotOptimize(&nothing); });
      }
    });
    peer.reset();
    state.SetIterationTime(bench::seconds_since(begin));
  }
  bench::report_per_task(state, tasks);
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Posts<P>) {
      const bool is_fast = std::is_same_v<P, Concurrent> || std::is_same_v<P, Serial>;
      const int tasks = scaled(is_fast ? 1'000'000 : 100'000);
      add_for_workers<P>(
          "detached", {{"tasks", tasks}}, worker_counts(),
          [tasks](benchmark::State& state, int workers) { detached<P>(state, tasks, workers); });
    }
  });
}
