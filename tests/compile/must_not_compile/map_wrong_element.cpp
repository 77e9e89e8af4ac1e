// SPDX-License-Identifier: MIT
//
// The callable does not take what the range holds.
// expect: no matching (member )?function for call to .*map

#include <concurrent/executor.hpp>

#include <string>
#include <vector>

void use(concurrent::ThreadPoolExecutor& executor) {
  const std::vector<std::string> words{"1", "2"};
  const auto negate = [](int a) { return -a; };
#ifdef CONTROL
  executor.map([](const std::string& word) { return word.size(); }, words);
#else
  executor.map(negate, words);
#endif
}
