// SPDX-License-Identifier: MIT
// What the tests force order with. Plain mutexes and condition variables, so that the tests do not
// lean on what they test.
#ifndef CONCURRENT_TESTS_SUPPORT_GATE_HPP
#define CONCURRENT_TESTS_SUPPORT_GATE_HPP

#include <condition_variable>
#include <mutex>

namespace support {

/// A door that opens once and then stays open.
class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void open() {
    // Notified under the lock: whoever comes back from wait() may destroy the gate at once.
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }

  void wait() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_open_; });
  }

  bool is_open() const {
    const std::lock_guard lock(mutex_);
    return is_open_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool is_open_ = false;  // guarded by mutex_
};

/// Opens a gate at the end of a scope. Declared after an executor whose tasks wait at the gate, so
/// that an assertion which fails in between does not hang in the executor's destructor.
class OpenAtExit {
 public:
  explicit OpenAtExit(Gate& gate) : gate_(gate) {}
  OpenAtExit(const OpenAtExit&) = delete;
  OpenAtExit& operator=(const OpenAtExit&) = delete;
  ~OpenAtExit() { gate_.open(); }

 private:
  Gate& gate_;
};

/// A count that only grows, and that threads can wait for.
class Counter {
 public:
  Counter() = default;
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  /// Adds one and returns the new count.
  int add() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
    return count_;
  }

  /// Waits until the count is at least `count`.
  void reached(int count) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, count] { return count_ >= count; });
  }

  int value() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  int count_ = 0;  // guarded by mutex_
};

/// Lets nobody go on before `parties` threads have come. For one use.
class Barrier {
 public:
  explicit Barrier(int parties) : parties_(parties) {}

  void arrive_and_wait() {
    arrived_.add();
    arrived_.reached(parties_);
  }

 private:
  Counter arrived_;
  const int parties_;
};

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_GATE_HPP
