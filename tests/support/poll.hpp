// SPDX-License-Identifier: MIT
#ifndef CONCURRENT_TESTS_SUPPORT_POLL_HPP
#define CONCURRENT_TESTS_SUPPORT_POLL_HPP

#include <chrono>
#include <thread>

namespace support {

/// Asks `is_true` every millisecond, for half a minute at most, and returns its last answer. For what
/// comes true by itself a little later and tells nobody.
template <class Predicate> bool eventually(Predicate is_true) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!is_true()) {
    if (std::chrono::steady_clock::now() >= deadline) return is_true();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_POLL_HPP
