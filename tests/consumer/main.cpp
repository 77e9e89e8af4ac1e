// SPDX-License-Identifier: MIT
//
// A program of somebody who uses the library.
#include <concurrent/executor.hpp>

#include <functional>
#include <iostream>

int main() {
  concurrent::ThreadPoolExecutor executor({.max_workers = 2});
  auto answer = executor.submit(std::plus<>{}, 20, 22);
  std::cout << answer.result() << " of concurrent " << CONCURRENT_VERSION_MAJOR << '.'
            << CONCURRENT_VERSION_MINOR << '.' << CONCURRENT_VERSION_PATCH << '\n';
}
