// SPDX-License-Identifier: MIT
// Child processes: this program again, asked for one hidden test case, with a pipe on which the child
// leaves marks and a time limit after which it is killed.
#ifndef CONCURRENT_TESTS_STRESS_PROCESS_HPP
#define CONCURRENT_TESTS_STRESS_PROCESS_HPP

#if defined(__linux__)

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace stress {

inline constexpr int kMarkDescriptor = 9;
inline constexpr const char* kChildVariable = "CONCURRENT_STRESS_CHILD";

/// True in a process that run_child() has started. The hidden test cases do nothing elsewhere, for
/// most of them end the process.
inline bool is_child() { return std::getenv(kChildVariable) != nullptr; }

/// Leaves one character for the parent. Works in static destructors, too.
inline void mark(char letter) {
  while (::write(kMarkDescriptor, &letter, 1) < 0) {}
}

struct ChildResult {
  bool has_hung = false;
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;      // 0 when none ended it
  std::string marks;
};

/// Runs the hidden test case of this name.
inline ChildResult run_child(const std::string& test_case) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  ::posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], kMarkDescriptor);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  std::string program = "/proc/self/exe";
  std::string filter = test_case;
  char* arguments[] = {program.data(), filter.data(), nullptr};
  ::setenv(kChildVariable, "1", 1);
  ::pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, ::environ);
  ::unsetenv(kChildVariable);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (error != 0) throw std::runtime_error("posix_spawn failed");

  ChildResult result;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(200);
  while (true) {
    ::pollfd readable = {.fd = ends[0], .events = POLLIN, .revents = 0};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      result.has_hung = true;
      ::kill(child, SIGKILL);
      break;
    }
    if (::poll(&readable, 1, static_cast<int>(left.count())) <= 0) continue;
    char buffer[256];
    const auto count = ::read(ends[0], buffer, sizeof buffer);
    if (count == 0) break;  // The child has ended and closed its end.
    if (count > 0) result.marks.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {}
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

}  // namespace stress

#endif

#endif  // CONCURRENT_TESTS_STRESS_PROCESS_HPP
