// SPDX-License-Identifier: MIT
//
// What a workload may ask of a peer. One that cannot do a thing is absent from that workload, it is
// not emulated; so that none vanishes by mistake, each asserts what it can. Every peer has a kName,
// and kHasWorkers says whether it can be told their number.
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>

namespace bench {

template <class P>
concept Peer = std::constructible_from<P, int> && requires {
  { P::kName } -> std::convertible_to<std::string_view>;
  { P::kHasWorkers } -> std::convertible_to<bool>;
};

/// A thread that is none of the peer's gives it one task and gets a handle of its own for the
/// result.
template <class P>
concept Submits = Peer<P> && requires(P& peer, int (*task)()) {
  { peer.submit(task).get() } -> std::same_as<int>;
};

/// Takes tasks without a handle. The destructor returns when all of them have run.
template <class P>
concept Posts = Peer<P> && requires(P& peer, void (*task)()) { peer.post(task); };

/// A task may start tasks and wait for them, without a worker for each that waits. run() calls the
/// root inside a task. Children<N> takes up to N tasks by start() and waits for all in sum().
template <class P>
concept Forks = Peer<P> && requires(P& peer, long long (*task)()) {
  { peer.run(task) } -> std::same_as<long long>;
  requires requires(typename P::template Children<2>& children) {
    children.start(task);
    { children.sum() } -> std::same_as<long long>;
  };
};

/// Calls a function for 0, 1, ... count - 1 and returns when all calls have ended.
template <class P>
concept Loops = Peer<P> && requires(P& peer, void (*body)(int)) { peer.loop(1, body); };

/// Calls `body` where this peer's tasks are made: for most of them that is any thread.
template <Peer P, class F> void where_tasks_are_made(P& peer, F body) {
  if constexpr (requires { peer.in_team(body); }) {
    peer.in_team(body);
  } else {
    body();
  }
}

}  // namespace bench
