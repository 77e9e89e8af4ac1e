// SPDX-License-Identifier: MIT
//
// The standard's parallel algorithms, in libstdc++ on top of oneTBB. They loop, and nothing else. The
// caller is one of the workers.
#pragma once

#include <tbb/global_control.h>

#include <algorithm>
#include <cstddef>
#include <execution>
#include <numeric>
#include <vector>

#include "peers/peer.hpp"

namespace bench {

class StdPar {
 public:
  static constexpr const char* kName = "std_par";
  static constexpr bool kHasWorkers = true;

  explicit StdPar(int workers)
      : limit_(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(workers)) {}

  template <class F> void loop(int count, F body) {
    if (indexes_.size() != static_cast<std::size_t>(count)) {
      indexes_.resize(static_cast<std::size_t>(count));
      std::iota(indexes_.begin(), indexes_.end(), 0);
    }
    std::for_each(std::execution::par, indexes_.begin(), indexes_.end(), body);
  }

 private:
  tbb::global_control limit_;
  std::vector<int> indexes_;
};

static_assert(Loops<StdPar>);

}  // namespace bench
