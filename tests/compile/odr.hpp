// SPDX-License-Identifier: MIT
//
// What two translation units of one program must agree on.

#ifndef TESTS_COMPILE_ODR_HPP
#define TESTS_COMPILE_ODR_HPP

#include <concurrent/executor.hpp>

// Each of these is defined in one translation unit and called in the other, which may be in another
// shared object.
#if defined(_WIN32)
#define ODR_VISIBLE
#else
#define ODR_VISIBLE __attribute__((visibility("default")))
#endif

ODR_VISIBLE concurrent::Future<int> submit_elsewhere(concurrent::ThreadPoolExecutor& executor,
                                                     int number);
ODR_VISIBLE int fetch_elsewhere(concurrent::Future<int> future);
ODR_VISIBLE void fail_elsewhere();

inline int twice(int number) { return 2 * number; }

#endif  // TESTS_COMPILE_ODR_HPP
