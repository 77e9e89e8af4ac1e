// SPDX-License-Identifier: MIT
//
// submit_get: what does one task cost from submit to get, if it does next to nothing?
//
// One thread submits all the tasks and keeps their futures, then takes the results in order. Every
// peer gives a handle per task that carries a result, and runs the task on another thread; serial
// runs it in the caller. The plain threads get fewer tasks: each is alive until it is joined.
// Timed: submits, runs, gets and the destruction of the handles. Not timed: the pool and the memory
// for the handles.
#include <benchmark/benchmark.h>

#include <vector>

#include "peers/concurrent.hpp"
#include "peers/peer.hpp"
#include "peers/plain_threads.hpp"
#include "peers/serial.hpp"

namespace {

template <bench::Peer P> void submit_get(benchmark::State& state) {
  const auto tasks = static_cast<int>(state.range(0));
  const auto workers = static_cast<int>(state.range(1));
  const auto task_of = [](int i) { return [i] { return i ^ 1; }; };

  P peer(workers);
  std::vector<decltype(peer.submit(task_of(0)))> pending;
  pending.reserve(static_cast<std::size_t>(tasks));

  for (auto _ : state) {
    for (int i = 0; i < tasks; ++i) pending.push_back(peer.submit(task_of(i)));
    long long sum = 0;
    for (auto& one : pending) sum += one.get();
    pending.clear();
    benchmark::DoNotOptimize(sum);
  }
  state.SetItemsProcessed(state.iterations() * tasks);
  state.counters["seconds_per_task"] = benchmark::Counter(
      tasks, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

}  // namespace

#define CONCURRENT_BENCH(peer, name)   \
  BENCHMARK_TEMPLATE(submit_get, peer) \
      ->Name("submit_get/" name)       \
      ->ArgNames({"tasks", "workers"}) \
      ->Unit(benchmark::kMillisecond)  \
      ->UseRealTime()

CONCURRENT_BENCH(bench::Serial, "serial")->Args({1'000'000, 1});
CONCURRENT_BENCH(bench::Concurrent, "concurrent")->Args({1'000'000, 1})->Args({1'000'000, 2});
CONCURRENT_BENCH(bench::PlainThreads, "plain_threads")->Args({1'000, 1});
