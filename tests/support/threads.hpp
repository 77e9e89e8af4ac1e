// SPDX-License-Identifier: MIT
// What the operating system knows of this process's threads. Only Linux tells; elsewhere
// kSeesThreads is false and the tests that need it leave out what they cannot see.
#ifndef CONCURRENT_TESTS_SUPPORT_THREADS_HPP
#define CONCURRENT_TESTS_SUPPORT_THREADS_HPP

#include <chrono>
#include <string>
#include <thread>

#include "support/gate.hpp"
#include "support/poll.hpp"

#if defined(__linux__)
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#endif

namespace support {

#if defined(__linux__)
inline constexpr bool kSeesThreads = true;

/// The kernel's number for the calling thread.
inline long this_thread_number() { return ::syscall(SYS_gettid); }

/// The threads of this process, the caller included.
inline int count_threads() {
  // ThreadSanitizer starts a thread of its own with the program's first: let that be behind us, and
  // that first one too, which the system lists for a moment longer than join() takes.
  static const bool begun = [] {
    long number = 0;
    std::thread([&number] { number = this_thread_number(); }).join();
    const std::string path = "/proc/self/task/" + std::to_string(number);
    return eventually([&path] { return !std::filesystem::exists(path); });
  }();
  static_cast<void>(begun);
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<int>(std::distance(begin(tasks), end(tasks)));
}

/// True while that thread sleeps in the kernel; false too when it has ended.
inline bool is_asleep(long thread_number) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread_number) + "/stat");
  const std::string line{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  // "12 (a name (with brackets)) S ...": the state follows the last bracket.
  const std::size_t bracket = line.rfind(')');
  return bracket != std::string::npos && bracket + 2 < line.size() && line[bracket + 2] == 'S';
}

inline std::string this_thread_name() {
  char name[16] = {};
  ::pthread_getname_np(::pthread_self(), name, sizeof name);
  return name;
}
#else
inline constexpr bool kSeesThreads = false;
inline int count_threads() { return 0; }
inline long this_thread_number() { return 0; }
inline bool is_asleep(long) { return true; }
inline std::string this_thread_name() { return {}; }
#endif

/// Waits until that thread has slept through twenty looks on end, a millisecond apart: it is no
/// longer on its way to where it is meant to sleep. False if it does not within half a minute.
inline bool falls_asleep(long thread_number) {
  int looks = 0;
  return eventually([&] {
    looks = is_asleep(thread_number) ? looks + 1 : 0;
    return looks >= 20;
  });
}

/// Opens a gate as soon as the thread that made this object is asleep, so that what this thread
/// calls next has to wait for it.
class OpenOnceAsleep {
 public:
  explicit OpenOnceAsleep(Gate& gate)
      : thread_([&gate, sleeper = this_thread_number()] {
          falls_asleep(sleeper);
          gate.open();
        }) {}
  OpenOnceAsleep(const OpenOnceAsleep&) = delete;
  OpenOnceAsleep& operator=(const OpenOnceAsleep&) = delete;
  ~OpenOnceAsleep() { thread_.join(); }

 private:
  std::thread thread_;
};

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_THREADS_HPP
