// SPDX-License-Identifier: MIT
//
// The main function of every bench program, and the calibration that goes into every result.
#include "support/bench.hpp"

#include <concurrent/executor.hpp>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <thread>

#include "support/system.hpp"

namespace bench {
namespace {

// A chain of steps, each of which needs the one before: neither width nor vectors of the core help.
std::uint64_t step_on(std::uint64_t value, long long steps) {
  for (long long i = 0; i < steps; ++i) {
    value = value * 6364136223846793005u + 1442695040888963407u;
    benchmark::DoNotOptimize(value);
  }
  return value;
}

double measure_arithmetic_step() {
  constexpr long long kSteps = 200'000;
  std::vector<double> rounds;
  for (int i = 0; i < 25; ++i) {
    const auto begin = Clock::now();
    benchmark::DoNotOptimize(step_on(1, kSteps));
    rounds.push_back(seconds_since(begin) * 1e9 / static_cast<double>(kSteps));
  }
  // What others take from this core only adds.
  return percentile(rounds, 0.0);
}

// Two threads, each on a core of its own, hand one line to and fro.
double measure_line_transfer() {
  if (concurrent::usable_cpus() < 2) return 0;
  constexpr int kBatches = 21;
  constexpr int kHands = 2000;
  alignas(128) static std::atomic<int> line;
  line = 0;

  std::thread other([] {
    stay_on_cpu(1);
    for (int hand = 1; hand < kBatches * kHands; hand += 2) {
      while (line.load(std::memory_order_acquire) != hand) {}
      line.store(hand + 1, std::memory_order_release);
    }
  });
  std::vector<double> batches;
  std::thread one([&batches] {
    stay_on_cpu(0);
    for (int batch = 0; batch < kBatches; ++batch) {
      const auto begin = Clock::now();
      for (int hand = 0; hand < kHands; hand += 2) {
        line.store(batch * kHands + hand + 1, std::memory_order_release);
        while (line.load(std::memory_order_acquire) != batch * kHands + hand + 2) {}
      }
      batches.push_back(seconds_since(begin) * 1e9 / kHands);
    }
  });
  one.join();
  other.join();
  return percentile(batches, 0.5);
}

}  // namespace

int divide() {
  static const int value = [] {
    const char* const text = std::getenv("BENCH_DIVIDE");
    return text == nullptr ? 1 : std::max(1, std::atoi(text));
  }();
  return value;
}

int scaled_depth(int depth, double factor) {
  const int less = static_cast<int>(std::lround(std::log(divide()) / std::log(factor)));
  return std::max(std::min(depth, 4), depth - less);
}

std::vector<int> worker_counts() {
  if (divide() > 1) return {2};
  return {1, 2, 4, 8};
}

double arithmetic_step_ns() {
  static const double value = measure_arithmetic_step();
  return value;
}

double line_transfer_ns() {
  static const double value = measure_line_transfer();
  return value;
}

void work_for(double microseconds) {
  const auto steps = static_cast<long long>(microseconds * 1e3 / arithmetic_step_ns());
  benchmark::DoNotOptimize(step_on(1, steps));
}

void settle() { std::this_thread::sleep_for(std::chrono::milliseconds(divide() > 100 ? 1 : 10)); }

}  // namespace bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("line_transfer_ns", std::to_string(bench::line_transfer_ns()));
  benchmark::AddCustomContext("arithmetic_step_ns", std::to_string(bench::arithmetic_step_ns()));
  benchmark::AddCustomContext("divide", std::to_string(bench::divide()));
  benchmark::AddCustomContext("peers_not_installed", BENCH_MISSING_PEERS);
  bench::add_benches();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
