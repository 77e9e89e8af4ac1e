// SPDX-License-Identifier: MIT
// Where tasks are kept: any size and alignment, recycled, and given back on any thread.
#include <array>
#include <atomic>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"

namespace {

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

bool is_aligned(const void* address, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(address) % alignment == 0;
}

/// Submits a callable of `Size` bytes and reads every byte of it in the task.
template <std::size_t Size> bool carries_bytes(ThreadPoolExecutor& executor) {
  std::array<unsigned char, Size> bytes;
  std::iota(bytes.begin(), bytes.end(), static_cast<unsigned char>(Size));
  const auto future = executor.submit([bytes] { return bytes; });
  return future.result() == bytes;
}

template <std::size_t... Sizes>
bool carries_all_sizes(ThreadPoolExecutor& executor, std::index_sequence<Sizes...>) {
  return (carries_bytes<Sizes>(executor) && ...);
}

template <std::size_t Alignment> struct alignas(Alignment) Aligned {
  int value = 0;
};

template <std::size_t Alignment> bool keeps_alignment(ThreadPoolExecutor& executor) {
  const auto future = executor.submit(
      [held = Aligned<Alignment>{1}](Aligned<Alignment>&& argument) {
        const bool good = is_aligned(&held, Alignment) && is_aligned(&argument, Alignment);
        return Aligned<Alignment>{good ? held.value + argument.value : 0};
      },
      Aligned<Alignment>{2});
  const Aligned<Alignment>& result = future.result();
  return result.value == 3 && is_aligned(&result, Alignment);
}

}  // namespace

TEST_CASE("callables of every size arrive whole") {
  ThreadPoolExecutor executor(2);
  CHECK(carries_all_sizes(
      executor, std::index_sequence<1, 7, 8, 24, 40, 48, 56, 64, 65, 96, 127, 128, 129, 192, 255,
                                    256, 257, 448, 512, 513, 1024, 4096>()));
  CHECK(carries_bytes<100'000>(executor));
}

TEST_CASE("over-aligned callables, arguments and results keep their alignment") {
  ThreadPoolExecutor executor(2);
  for (int i = 0; i < 20; ++i) {
    CHECK(keeps_alignment<32>(executor));
    CHECK(keeps_alignment<64>(executor));
    CHECK(keeps_alignment<128>(executor));
    CHECK(keeps_alignment<4096>(executor));
  }
}

TEST_CASE("a move-only capture is moved into the task and a move-only result out of it") {
  ThreadPoolExecutor executor(1);
  auto future = executor.submit([held = std::make_unique<int>(40)]() mutable {
    *held += 2;
    return std::move(held);
  });
  const std::unique_ptr<int> taken = future.get();
  REQUIRE(taken);
  CHECK(*taken == 42);
}

TEST_CASE("a result lives as long as its last handle, and no longer") {
  support::Counts counts;
  ThreadPoolExecutor executor(1);
  std::optional first(executor.submit([&counts] { return support::Counted(counts, 3); }));
  std::optional second(*first);
  CHECK(first->result().value() == 3);
  first.reset();
  CHECK(counts.alive == 1);
  CHECK(second->result().value() == 3);
  second.reset();
  // A worker that has woken the waiter may be about to let go of the task.
  CHECK(support::eventually([&] { return counts.alive == 0; }));
}

TEST_CASE("a future outlives its executor") {
  std::optional<Future<std::vector<int>>> finished;
  std::optional<Future<int>> failed;
  {
    ThreadPoolExecutor executor(1);
    finished = executor.submit([] { return std::vector<int>(1000, 4); });
    failed = executor.submit([]() -> int { throw std::logic_error("kept"); });
  }
  CHECK(finished->result() == std::vector<int>(1000, 4));
  CHECK_THROWS_AS(failed->result(), std::logic_error);
}

TEST_CASE("the task of a dropped future still runs, and its result is destroyed") {
  support::Counts counts;
  std::atomic<int> runs{0};
  {
    ThreadPoolExecutor executor(2);
    for (int i = 0; i < 100; ++i) {
      executor.submit([&, argument = support::Counted(counts)] {
        runs.fetch_add(1);
        return support::Counted(counts);
      });
    }
  }
  CHECK(runs == 100);
  CHECK(counts.alive == 0);
}

TEST_CASE("dropping the handle of a running task neither waits for it nor cancels it") {
  support::Counts counts;
  support::Gate begun;
  support::Gate gate;
  bool returned = false;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  {
    const auto dropped = executor.submit([&] {
      begun.open();
      gate.wait();
      returned = true;
      return support::Counted(counts);
    });
    begun.wait();
  }
  gate.open();
  executor.shutdown();
  CHECK(returned);
  CHECK(counts.alive == 0);
}

TEST_CASE("futures may be dropped on other threads than those that made and ran them") {
  support::Counts counts;
  const int rounds = support::scaled(200);
  {
    ThreadPoolExecutor executor(2);
    for (int round = 0; round < rounds; ++round) {
      std::vector<Future<support::Counted>> futures;
      for (int i = 0; i < 50; ++i) {
        futures.push_back(executor.submit([&counts, i] { return support::Counted(counts, i); }));
      }
      std::vector<Future<support::Counted>> half(futures.begin() + 25, futures.end());
      std::thread dropper([dropped = std::move(futures)]() mutable { dropped.clear(); });
      half.clear();
      dropper.join();
    }
  }
  CHECK(counts.alive == 0);
}

TEST_CASE("threads that submitted may end before their tasks, and tasks of ended threads run") {
  support::Counts counts;
  const int rounds = support::scaled(200);
  std::atomic<int> runs{0};
  {
    ThreadPoolExecutor executor(1);
    support::BusyWorker busy(executor);
    for (int round = 0; round < rounds; ++round) {
      std::thread submitter([&] {
        for (int i = 0; i < 20; ++i) {
          executor.submit([&runs, argument = support::Counted(counts)] { runs.fetch_add(1); });
        }
      });
      submitter.join();
    }
    CHECK(counts.alive == rounds * 20);
  }
  CHECK(runs == rounds * 20);
  CHECK(counts.alive == 0);
}

TEST_CASE("release_memory() leaves what is in use alone, and the library works on after it") {
  ThreadPoolExecutor executor(2);
  std::vector<Future<int>> kept;
  for (int i = 0; i < 1000; ++i) {
    auto future = executor.submit([i] { return i; });
    if (i % 10 == 0) kept.push_back(std::move(future));
  }
  for (const auto& future : kept) future.wait();
  concurrent::release_memory();
  int wrong = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    wrong += kept[i].result() != static_cast<int>(i) * 10;
  }
  CHECK(wrong == 0);
  CHECK(executor.submit([] { return 1; }).result() == 1);
  concurrent::release_memory();
  concurrent::release_memory();
  CHECK(executor.submit([] { return 2; }).result() == 2);
}

TEST_CASE("release_memory() may be called by several threads while tasks come and go") {
  const int rounds = support::scaled(200);
  ThreadPoolExecutor executor(2);
  std::vector<std::thread> releasers;
  for (int t = 0; t < 2; ++t) {
    releasers.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) concurrent::release_memory();
    });
  }
  long sum = 0;
  for (int round = 0; round < rounds * 10; ++round) {
    sum += executor.submit([round] { return long{round}; }).result();
  }
  for (auto& releaser : releasers) releaser.join();
  CHECK(sum == long{rounds} * 10 * (rounds * 10 - 1) / 2);
}
