// SPDX-License-Identifier: MIT
//
// What a workload asks of every peer. One that cannot do a thing is absent from that workload, it is
// not emulated.
#pragma once

#include <concepts>

namespace bench {

template <class P>
concept Peer = std::constructible_from<P, int> && requires(P& peer, int (*task)()) {
  { peer.submit(task).get() } -> std::same_as<int>;
};

}  // namespace bench
