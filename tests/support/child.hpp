// SPDX-License-Identifier: MIT
// Tests that end the process run in a child: the same program, asked for one hidden test case.
#ifndef CONCURRENT_TESTS_SUPPORT_CHILD_HPP
#define CONCURRENT_TESTS_SUPPORT_CHILD_HPP

#if defined(__linux__)
#define CONCURRENT_TESTS_HAVE_CHILD 1
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#else
#define CONCURRENT_TESTS_HAVE_CHILD 0
#endif

namespace support {

#if CONCURRENT_TESTS_HAVE_CHILD
/// Runs the test case of this name in a child process, its output thrown away, and returns its exit
/// status, or minus the signal that ended it.
inline int run_child(const std::string& test_case) {
  ::posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", 1 /* O_WRONLY */, 0);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1 /* O_WRONLY */, 0);
  std::string program = "/proc/self/exe";
  std::string filter = test_case;
  char* arguments[] = {program.data(), filter.data(), nullptr};
  ::pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, ::environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return 255;
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return 254;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
#endif

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_CHILD_HPP
