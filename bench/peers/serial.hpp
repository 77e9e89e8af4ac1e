// SPDX-License-Identifier: MIT
//
// The baseline: the caller does the work itself, at once.
#pragma once

#include <utility>

namespace bench {

class Serial {
 public:
  template <class T> class Pending {
   public:
    explicit Pending(T result) : result_(std::move(result)) {}
    T get() { return std::move(result_); }

   private:
    T result_;
  };

  explicit Serial(int /*workers*/) {}

  template <class F> auto submit(F task) { return Pending(task()); }
};

}  // namespace bench
