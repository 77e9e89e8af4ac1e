// SPDX-License-Identifier: MIT
//
// What the benches ask of the operating system. Only Linux answers; elsewhere the functions do
// nothing and return zero.
#pragma once

#if defined(__linux__)
#include <malloc.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <string>
#endif

namespace bench {

#if defined(__linux__)
/// Keeps the calling thread on the n-th CPU of those that it may use.
inline void stay_on_cpu(int n) {
  ::cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &usable) || n-- > 0) continue;
    ::cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

/// The memory of this process that is in RAM, in bytes.
inline double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  long long all = 0;
  long long resident = 0;
  file >> all >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// Gives what malloc keeps free back to the system.
inline void trim_heap() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

struct Usage {
  double processor_seconds = 0;
  double switches = 0;  // how often a thread of this process went to sleep of its own accord
};

inline Usage usage() {
  ::rusage now = {};
  ::getrusage(RUSAGE_SELF, &now);
  auto seconds = [](const ::timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return {seconds(now.ru_utime) + seconds(now.ru_stime), static_cast<double>(now.ru_nvcsw)};
}
#else
inline void stay_on_cpu(int) {}
inline double resident_bytes() { return 0; }
inline void trim_heap() {}
struct Usage {
  double processor_seconds = 0;
  double switches = 0;
};
inline Usage usage() { return {}; }
#endif

}  // namespace bench
