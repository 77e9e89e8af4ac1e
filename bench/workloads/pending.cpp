// SPDX-License-Identifier: MIT
//
// pending: what does a task take that waits in the queue, in bytes and in allocations?
//
// The one worker is kept busy while a thread outside submits a million tasks with a capture of 24
// bytes. bytes_per_task is what the process grew in RAM meanwhile; allocations_per_task counts calls
// of operator new, again_allocations_per_task those of a second million, when the first have been
// run and destroyed. Fair: every peer gives a handle; the handles' own place is not counted. Memory
// that a peer keeps for later is given back before, where the peer has a way to say so. oneTBB and
// others may have allocators that operator new does not see; the bytes do.
// Absent: those whose queue is bounded, and those that start a thread per task.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <future>
#include <new>
#include <utility>
#include <vector>

#include "peers/all.hpp"
#include "support/bench.hpp"
#include "support/system.hpp"

namespace {

std::atomic<long long> allocations = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* const memory =
      alignment == 0
          ? std::malloc(size)
          : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Not inlined: g++ would see a pointer of operator new in free().
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size, 0); }
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace {

struct Growth {
  double bytes;
  double allocations;
};

template <bench::Submits P> void pending(benchmark::State& state, int tasks) {
  const std::array<long long, 3> capture = {1, 2, 3};
  const auto task = [capture] { return static_cast<int>(capture[1]); };
  using Handle = decltype(std::declval<P&>().submit(task));

  bench::settle();
  std::vector<double> bytes;
  std::vector<double> first;
  std::vector<double> again;
  for (auto _ : state) {
    if constexpr (requires { P::forget_memory(); }) P::forget_memory();
    bench::trim_heap();
    P peer(1);
    // The place of the handles is touched before it is counted.
    std::vector<Handle> handles(static_cast<std::size_t>(tasks));

    const auto fill = [&]() -> Growth {
      std::promise<void> begun;
      std::promise<void> gate;
      auto blocker = peer.submit([&] {
        begun.set_value();
        gate.get_future().wait();
        return 0;
      });
      begun.get_future().wait();
      const double bytes_before = bench::resident_bytes();
      const long long allocations_before = allocations;
      for (Handle& handle : handles) handle = peer.submit(task);
      const Growth growth = {bench::resident_bytes() - bytes_before,
                             static_cast<double>(allocations - allocations_before)};
      gate.set_value();
      blocker.get();
      for (Handle& handle : handles) handle.get();
      return growth;
    };

    const auto begin = bench::Clock::now();
    const Growth one = fill();
    const Growth two = fill();
    state.SetIterationTime(bench::seconds_since(begin));
    bytes.push_back(one.bytes / tasks);
    first.push_back(one.allocations / tasks);
    again.push_back(two.allocations / tasks);
  }
  state.counters["bytes_per_task"] = bench::percentile(bytes, 0.5);
  state.counters["allocations_per_task"] = bench::percentile(first, 0.5);
  state.counters["again_allocations_per_task"] = bench::percentile(again, 0.5);
}

}  // namespace

void bench::add_benches() {
  for_each_peer([]<class P>() {
    if constexpr (Submits<P> && P::kHasWorkers && !has_bounded_queue<P>()) {
      const int tasks = scaled(1'000'000);
      add_for_workers<P>("pending", {{"tasks", tasks}}, {1},
                         [tasks](benchmark::State& state, int) { pending<P>(state, tasks); });
    }
  });
}
