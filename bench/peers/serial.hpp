// SPDX-License-Identifier: MIT
//
// The baseline: the caller does the work itself, at once.
#pragma once

#include <cstddef>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class Serial {
 public:
  static constexpr const char* kName = "serial";
  static constexpr bool kHasWorkers = false;

  template <class T> class Pending {
   public:
    explicit Pending(T result) : result_(std::move(result)) {}
    T get() { return std::move(result_); }

   private:
    T result_;
  };

  explicit Serial(int /*workers*/) {}

  template <class F> auto submit(F task) { return Pending(task()); }
  template <class F> void post(F task) { task(); }
  template <class F> auto run(F root) { return root(); }

  template <class F> void loop(int count, F body) {
    for (int i = 0; i < count; ++i) body(i);
  }

  template <std::size_t N> class Children {
   public:
    explicit Children(Serial& /*peer*/) {}
    template <class F> void start(F task) { sum_ += task(); }
    long long sum() const { return sum_; }

   private:
    long long sum_ = 0;
  };
};

static_assert(Submits<Serial> && Posts<Serial> && Forks<Serial> && Loops<Serial>);

}  // namespace bench
