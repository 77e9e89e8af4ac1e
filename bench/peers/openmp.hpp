// SPDX-License-Identifier: MIT
//
// OpenMP tasks. They are made by a member of a team, never by a thread outside, and have no handles:
// so this peer posts (one member makes the tasks, the barrier at the end of the team drains them),
// forks and loops, but does not submit. The maker is one of the workers.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class OpenMp {
 public:
  static constexpr const char* kName = "openmp";
  static constexpr bool kHasWorkers = true;

  explicit OpenMp(int workers) : workers_(workers) {}

  template <class F> void in_team(F body) {
#pragma omp parallel num_threads(workers_)
#pragma omp single
    body();
  }

  template <class F> void post(F task) {
#pragma omp task firstprivate(task)
    task();
  }

  template <class F> auto run(F root) {
    decltype(root()) result = {};
    in_team([&] { result = root(); });
    return result;
  }

  template <class F> void loop(int count, F body) {
#pragma omp parallel for num_threads(workers_) schedule(dynamic, 1)
    for (int i = 0; i < count; ++i) body(i);
  }

  template <std::size_t N> class Children {
   public:
    explicit Children(OpenMp& /*peer*/) {}

    template <class F> void start(F task) {
      long long* const result = &results_[size_++];
#pragma omp task firstprivate(task, result)
      *result = task();
    }

    long long sum() {
#pragma omp taskwait
      long long sum = 0;
      while (size_ > 0) sum += results_[--size_];
      return sum;
    }

   private:
    std::array<long long, N> results_;
    std::size_t size_ = 0;
  };

 private:
  int workers_;
};

static_assert(Posts<OpenMp> && Forks<OpenMp> && Loops<OpenMp>);

}  // namespace bench
