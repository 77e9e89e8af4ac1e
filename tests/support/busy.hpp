// SPDX-License-Identifier: MIT
#ifndef CONCURRENT_TESTS_SUPPORT_BUSY_HPP
#define CONCURRENT_TESTS_SUPPORT_BUSY_HPP

#include <concurrent/executor.hpp>

#include "support/gate.hpp"

namespace support {

/// Keeps one worker of an executor busy from construction until release() or destruction, so that
/// what is submitted meanwhile stays pending on a pool whose workers are all held like this.
class BusyWorker {
 public:
  explicit BusyWorker(concurrent::ThreadPoolExecutor& executor)
      : future_(executor.submit([this] {
          begun_.open();
          go_on_.wait();
        })) {
    begun_.wait();
  }
  BusyWorker(const BusyWorker&) = delete;
  BusyWorker& operator=(const BusyWorker&) = delete;
  ~BusyWorker() { release(); }

  /// Ends the task and waits for its end. May be called again.
  void release() {
    go_on_.open();
    future_.wait();
  }

 private:
  Gate begun_;
  Gate go_on_;
  concurrent::Future<void> future_;  // after the gates: its task uses them at once
};

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_BUSY_HPP
