// SPDX-License-Identifier: MIT
//
// The memory of nodes: taken by one thread and freed by another, while a third gives memory back.
// Every node carries the mark of who has it, so one that is handed out twice is seen.

#include <concurrent/executor.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/scale.hpp"

using concurrent::detail::allocate_node;
using concurrent::detail::free_node;
using concurrent::detail::kRecycleNodes;
using stress::in_parallel;
using support::scaled;

namespace {

struct Node {
  std::uint64_t* memory;
  std::uint64_t mark;
};

// Of `bytes` bytes, every word of which is the mark.
template <std::size_t bytes> Node take(std::uint64_t mark) {
  auto* const memory = static_cast<std::uint64_t*>(allocate_node<bytes, 8>());
  for (std::size_t i = 0; i < bytes / 8; ++i) memory[i] = mark;
  return {memory, mark};
}

// False if somebody else has written into it.
template <std::size_t bytes> bool give(const Node& node) {
  bool is_whole = true;
  for (std::size_t i = 0; i < bytes / 8; ++i) is_whole = is_whole && node.memory[i] == node.mark;
  free_node<bytes, 8>(node.memory);
  return is_whole;
}

// Where threads leave nodes for each other.
class Exchange {
 public:
  void put(std::vector<Node>& nodes) {
    const std::lock_guard lock(mutex_);
    nodes_.insert(nodes_.end(), nodes.begin(), nodes.end());
    nodes.clear();
  }
  std::vector<Node> take_all() {
    const std::lock_guard lock(mutex_);
    return std::exchange(nodes_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Node> nodes_;  // guarded by mutex_
};

template <std::size_t bytes> int misused_nodes(int threads, int rounds) {
  std::atomic<int> misused = 0;
  Exchange exchange;
  in_parallel(threads, [&](int thread) {
    std::mt19937 random(static_cast<unsigned>(thread) + 1);
    std::vector<Node> mine;
    std::uint64_t mark = static_cast<std::uint64_t>(thread) << 40U;
    for (int round = 0; round < rounds; ++round) {
      for (auto i = random() % 300; i > 0; --i) mine.push_back(take<bytes>(++mark));
      if (random() % 2 == 0) exchange.put(mine);
      for (auto i = random() % 300; i > 0 && !mine.empty(); --i) {
        misused.fetch_add(give<bytes>(mine.back()) ? 0 : 1);
        mine.pop_back();
      }
      if (random() % 2 == 0) {
        for (const Node& node : exchange.take_all()) {
          misused.fetch_add(give<bytes>(node) ? 0 : 1);
        }
      }
      if (random() % 16 == 0) concurrent::release_memory();
    }
    exchange.put(mine);
  });
  for (const Node& node : exchange.take_all()) misused.fetch_add(give<bytes>(node) ? 0 : 1);
  return misused.load();
}

}  // namespace

TEST_CASE("No node is handed out twice while threads exchange nodes and memory is given back",
          "[node_memory]") {
  CHECK(misused_nodes<64>(4, scaled(3000)) == 0);
  CHECK(misused_nodes<320>(4, scaled(1000)) == 0);
}

TEST_CASE("Threads that end give their nodes to those that come", "[node_memory]") {
  if (!kRecycleNodes) return;
  // One after the other, so that what the first has freed is there for the second.
  std::set<void*> seen;
  std::size_t most = 0;
  for (int round = 0; round < 50; ++round) {
    std::thread([&] {
      std::vector<void*> nodes;
      for (int i = 0; i < 200; ++i) nodes.push_back(allocate_node<450, 8>());
      for (void* const node : nodes) {
        seen.insert(node);
        free_node<450, 8>(node);
      }
    }).join();
    if (round == 0) most = seen.size();
  }
  // A new thread takes whole magazines, and may find a short one first.
  CHECK(seen.size() <= 2 * most);
}

TEST_CASE("release_memory() gives all back but what is in use", "[node_memory]") {
  if (!kRecycleNodes) return;
  std::vector<Node> kept;
  std::vector<Node> freed;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    (i % 1000 == 0 ? kept : freed).push_back(take<500>(i));
  }
  int misused = 0;
  for (const Node& node : freed) misused += give<500>(node) ? 0 : 1;
  concurrent::release_memory();
  // Those that are in use are whole, and new ones are not among them.
  std::set<void*> in_use;
  for (const Node& node : kept) in_use.insert(node.memory);
  freed.clear();
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    freed.push_back(take<500>(i));
    if (in_use.count(freed.back().memory) != 0) ++misused;
  }
  for (const Node& node : freed) misused += give<500>(node) ? 0 : 1;
  for (const Node& node : kept) misused += give<500>(node) ? 0 : 1;
  CHECK(misused == 0);
}
