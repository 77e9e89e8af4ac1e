// SPDX-License-Identifier: MIT
//
// Futures of different types are never the same.
// expect: no match for .operator==|invalid operands to binary expression

#include <concurrent/executor.hpp>

void use(concurrent::Future<int>& future) {
#ifdef CONTROL
  const concurrent::Future<int> other;
  [[maybe_unused]] const bool same = future == other;
#else
  const concurrent::Future<long> other;
  [[maybe_unused]] const bool same = future == other;
#endif
}
