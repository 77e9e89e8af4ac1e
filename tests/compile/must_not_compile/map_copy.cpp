// SPDX-License-Identifier: MIT
//
// The results of a map are handed out once.
// expect: use of deleted function|call to .*(implicitly-)?deleted

#include <concurrent/executor.hpp>

#include <utility>

void use(concurrent::ThreadPoolExecutor& executor) {
  auto results = executor.map([](int a) { return -a; }, {1, 2});
#ifdef CONTROL
  const auto others = std::move(results);
#else
  const auto others = results;
#endif
}
