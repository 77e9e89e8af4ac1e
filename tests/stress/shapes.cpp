// SPDX-License-Identifier: MIT
//
// Graphs of tasks, in shapes that are known to starve pools: all workers but one are blocked until
// the whole graph has run, so the last one must get to every task, wherever it lies.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iterator>
#include <vector>

#include "stress/stress.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/scale.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using stress::Tally;
using support::Gate;
using support::kSanitized;

namespace {

// Tasks, each of which is submitted when the last of those before it is done: in its callback.
class Graph {
 public:
  explicit Graph(int size)
      : nodes_(static_cast<std::size_t>(size)), tally_(nodes_.size()), left_(size) {}

  void add_edge(int from, int to) {
    node(from).after.push_back(to);
    node(to).before.push_back(from);
    node(to).waits_for.fetch_add(1, std::memory_order_relaxed);
  }

  int size() const { return static_cast<int>(nodes_.size()); }
  // Those that wait for nothing. To be asked before any is submitted.
  std::vector<int> roots() const {
    std::vector<int> roots;
    for (int i = 0; i < size(); ++i) {
      if (node(i).before.empty()) roots.push_back(i);
    }
    return roots;
  }

  void submit(ThreadPoolExecutor& pool, int at) {
    pool.submit([this, at] { visit(at); }).add_done_callback([this, &pool, at](const auto&) {
      for (const int next : node(at).after) {
        if (node(next).waits_for.fetch_sub(1) == 1) submit(pool, next);
      }
      if (left_.fetch_sub(1) == 1) ended_.open();
    });
  }

  const Gate& ended() const { return ended_; }
  int wrong() const { return out_of_order_.load() + tally_.not_once(); }

 private:
  struct Node {
    std::vector<int> before;
    std::vector<int> after;
    std::atomic<int> waits_for = 0;
  };

  Node& node(int at) { return nodes_[static_cast<std::size_t>(at)]; }
  const Node& node(int at) const { return nodes_[static_cast<std::size_t>(at)]; }

  void visit(int at) {
    for (const int before : node(at).before) {
      if (tally_.hits(static_cast<std::size_t>(before)) != 1) out_of_order_.fetch_add(1);
    }
    tally_.hit(at);
  }

  std::vector<Node> nodes_;
  Tally tally_;
  std::atomic<int> out_of_order_ = 0;
  std::atomic<int> left_;
  Gate ended_;
};

// ---- the shapes, of any size --------------------------------------------------------------------

void independent(Graph&) {}

void chain(Graph& graph) {
  for (int i = 1; i < graph.size(); ++i) { graph.add_edge(i - 1, i); }
}

void tree(Graph& graph) {
  for (int i = 1; i < graph.size(); ++i) { graph.add_edge((i - 1) / 2, i); }
}

// A tree upside down: in the end all comes together.
void tournament(Graph& graph) {
  for (int i = 1; i < graph.size(); ++i) { graph.add_edge(i, (i - 1) / 2); }
}

// A chain with a tooth at every link.
void comb(Graph& graph) {
  for (int i = 2; i < graph.size(); ++i) { graph.add_edge((i - 2) / 2 * 2, i); }
}

// A chain, and behind it as many at once.
void broom(Graph& graph) {
  const int handle = (graph.size() + 1) / 2;
  for (int i = 1; i < graph.size(); ++i) { graph.add_edge(std::min(i, handle) - 1, i); }
}

// A lattice: each needs the one above and the one to the left.
void lattice(Graph& graph) {
  constexpr int kWidth = 7;
  for (int i = 0; i < graph.size(); ++i) {
    if (i % kWidth != 0) graph.add_edge(i - 1, i);
    if (i >= kWidth) graph.add_edge(i - kWidth, i);
  }
}

// Fork and join, again and again: six between two.
void layers(Graph& graph) {
  constexpr int kLayer = 7;
  for (int i = 0; i < graph.size(); ++i) {
    const int fork = i / kLayer * kLayer;
    if (i != fork) graph.add_edge(fork, i);
    if (i != fork && fork + kLayer < graph.size()) graph.add_edge(i, fork + kLayer);
  }
}

struct Shape {
  const char* name;
  void (*make)(Graph&);
};
constexpr Shape kShapes[] = {{"independent", &independent}, {"chain", &chain},  {"tree", &tree},
                             {"tournament", &tournament},   {"comb", &comb},    {"broom", &broom},
                             {"lattice", &lattice},         {"layers", &layers}};

// Runs a graph with one worker free, the others blocked until it has ended. The tasks that block
// are submitted between the roots, all of them from outside or all from a task.
int run(const Shape& shape, int size, int workers, bool from_inside) {
  Graph graph(size);
  shape.make(graph);
  ThreadPoolExecutor pool(workers);
  const auto submit_all = [&] {
    int to_block = workers - 1;
    for (const int root : graph.roots()) {
      if (to_block-- > 0) pool.post([&graph] { graph.ended().wait(); });
      graph.submit(pool, root);
    }
    while (to_block-- > 0) {
      pool.post([&graph] { graph.ended().wait(); });
    }
  };
  if (from_inside) {
    pool.post(submit_all);
  } else {
    submit_all();
  }
  graph.ended().wait();
  pool.shutdown();
  return graph.wrong();
}

}  // namespace

TEST_CASE("One worker that is left gets to every task of a graph, whatever its shape", "[queues]") {
  const int workers = GENERATE(1, 2, 4, 8);
  CAPTURE(workers);
  for (const Shape& shape : kShapes) {
    CAPTURE(shape.name);
    for (const int size : {1, 2, 3, 10, 31, 100, 500, kSanitized ? 500 : 2000}) {
      CAPTURE(size);
      REQUIRE(run(shape, size, workers, false) == 0);
      REQUIRE(run(shape, size, workers, true) == 0);
    }
  }
}

TEST_CASE("Graphs of every shape run side by side on one executor", "[queues]") {
  const int rounds = support::scaled(40);
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> wrong = 0;
    ThreadPoolExecutor pool(3);
    stress::in_parallel(static_cast<int>(std::size(kShapes)), [&](int role) {
      Graph graph(200);
      kShapes[role].make(graph);
      for (const int root : graph.roots()) { graph.submit(pool, root); }
      graph.ended().wait();
      wrong.fetch_add(graph.wrong());
    });
    REQUIRE(wrong.load() == 0);
  }
}
