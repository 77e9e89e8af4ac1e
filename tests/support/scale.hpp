// SPDX-License-Identifier: MIT
// Sanitizers make programs ten times slower; loops are scaled down under them.
#ifndef CONCURRENT_TESTS_SUPPORT_SCALE_HPP
#define CONCURRENT_TESTS_SUPPORT_SCALE_HPP

#include <type_traits>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CONCURRENT_TESTS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define CONCURRENT_TESTS_SANITIZED 1
#endif
#endif
#ifndef CONCURRENT_TESTS_SANITIZED
#define CONCURRENT_TESTS_SANITIZED 0
#endif

namespace support {

inline constexpr bool kSanitized = CONCURRENT_TESTS_SANITIZED != 0;

/// `count` repetitions, or a twentieth of them (at least one) under ThreadSanitizer and
/// AddressSanitizer.
template <class Integer>
  requires std::is_integral_v<Integer>
constexpr Integer scaled(Integer count) {
  constexpr Integer kDivisor = 20;
  if constexpr (!kSanitized) return count;
  return count < kDivisor ? Integer{1} : static_cast<Integer>(count / kDivisor);
}

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_SCALE_HPP
