// SPDX-License-Identifier: MIT
// How many CPUs the control groups grant, read from folders that look like a machine.
#include <concurrent/executor.hpp>

#include "support/catch.hpp"

#if defined(__linux__)
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace {

constexpr int kNoLimit = std::numeric_limits<int>::max();

/// A folder that stands for the root of a file system.
class Machine {
 public:
  Machine() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cgroup-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    root_ = pattern;
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine() { std::filesystem::remove_all(root_); }

  Machine& with(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return *this;
  }
  Machine& in_groups(const std::string& lines) { return with("/proc/self/cgroup", lines); }
  Machine& with_group(const std::string& group, const std::string& cpu_max) {
    return with("/sys/fs/cgroup" + group + "/cpu.max", cpu_max + "\n");
  }
  Machine& with_old_group(const std::string& group, const std::string& quota) {
    with("/sys/fs/cgroup/cpu" + group + "/cpu.cfs_quota_us", quota + "\n");
    return with("/sys/fs/cgroup/cpu" + group + "/cpu.cfs_period_us", "100000\n");
  }

  int cpus() const { return concurrent::detail::cgroup_cpus(root_); }

 private:
  std::string root_;
};

}  // namespace

TEST_CASE("a machine without control groups sets no limit") {
  CHECK(Machine().cpus() == kNoLimit);
  CHECK(Machine().in_groups("").cpus() == kNoLimit);
  CHECK(Machine().in_groups("0::/\n").cpus() == kNoLimit);
  CHECK(Machine().in_groups("nonsense\n:\n::\n\n").cpus() == kNoLimit);
}

TEST_CASE("a quota of version 2 counts in whole CPUs, rounded up") {
  const auto cpus = [](const char* cpu_max) {
    return Machine().in_groups("0::/job\n").with_group("/job", cpu_max).cpus();
  };
  CHECK(cpus("200000 100000") == 2);
  CHECK(cpus("150000 100000") == 2);
  CHECK(cpus("100001 100000") == 2);
  CHECK(cpus("100000 100000") == 1);
  CHECK(cpus("1000 100000") == 1);
  CHECK(cpus("25000 10000") == 3);
  CHECK(cpus("max 100000") == kNoLimit);
  CHECK(cpus("max") == kNoLimit);
  CHECK(cpus("") == kNoLimit);
  CHECK(cpus("0 0") == kNoLimit);
}

TEST_CASE("a quota of version 1 counts in whole CPUs, rounded up, and -1 is none") {
  const auto cpus = [](const char* quota) {
    return Machine().in_groups("4:cpu,cpuacct:/job\n").with_old_group("/job", quota).cpus();
  };
  CHECK(cpus("400000") == 4);
  CHECK(cpus("150000") == 2);
  CHECK(cpus("1000") == 1);
  CHECK(cpus("-1") == kNoLimit);
}

TEST_CASE("the tightest quota of a group and those around it counts") {
  Machine outer;
  outer.in_groups("0::/slice/service/job\n")
      .with_group("/slice", "300000 100000")
      .with_group("/slice/service", "max 100000")
      .with_group("/slice/service/job", "800000 100000");
  CHECK(outer.cpus() == 3);
  outer.with_group("/slice/service/job", "150000 100000");
  CHECK(outer.cpus() == 2);
  Machine old;
  old.in_groups("4:cpu:/slice/job\n")
      .with_old_group("/slice", "200000")
      .with_old_group("/slice/job", "-1");
  CHECK(old.cpus() == 2);
}

TEST_CASE("a quota at the root, as a container sees its own, counts") {
  CHECK(Machine().in_groups("0::/\n").with_group("", "250000 100000").cpus() == 3);
  CHECK(Machine().in_groups("4:cpu:/\n").with_old_group("", "250000").cpus() == 3);
  // The path that the host knows is not there in a container that mounts its own group as root.
  CHECK(Machine().in_groups("4:cpu:/docker/0a1b\n").with_old_group("", "250000").cpus() == 3);
}

TEST_CASE("a group that is not this process's own does not count") {
  Machine machine;
  machine.in_groups("0::/mine\n").with_group("/other", "100000 100000");
  CHECK(machine.cpus() == kNoLimit);
}

TEST_CASE("only the controller named cpu is asked on a machine with version 1") {
  Machine machine;
  machine.in_groups("5:cpuset:/job\n3:memory:/job\n").with_old_group("/job", "100000");
  CHECK(machine.cpus() == kNoLimit);
  machine.in_groups("5:cpuset:/job\n6:cpuacct,cpu:/job\n");
  CHECK(machine.cpus() == 1);
}

TEST_CASE("a hybrid machine has its groups of version 2 in a folder of their own") {
  Machine machine;
  machine.in_groups("4:cpu:/\n0::/job\n")
      .with("/sys/fs/cgroup/unified/job/cpu.max", "300000 100000\n");
  CHECK(machine.cpus() == 3);
}
#endif

TEST_CASE("usable_cpus() is at least one") { CHECK(concurrent::usable_cpus() >= 1); }
