// SPDX-License-Identifier: MIT
//
// Every peer that CMake found, and a way to visit them all.
#pragma once

#include "peers/concurrent.hpp"
#include "peers/peer.hpp"
#include "peers/serial.hpp"
#include "peers/std_async.hpp"
#include "peers/std_thread.hpp"
#include "peers/textbook.hpp"
#if defined(BENCH_HAS_TBB)
#include "peers/tbb.hpp"
#endif
#if defined(BENCH_HAS_ASIO)
#include "peers/asio.hpp"
#endif
#if defined(BENCH_HAS_EIGEN)
#include "peers/eigen.hpp"
#endif
#if defined(BENCH_HAS_OPENMP)
#include "peers/openmp.hpp"
#endif
#if defined(BENCH_HAS_STD_PAR)
#include "peers/std_par.hpp"
#endif

namespace bench {

/// Calls visit.operator()<P>() for each peer.
template <class F> void for_each_peer(F visit) {
  visit.template operator()<Serial>();
  visit.template operator()<Concurrent>();
  visit.template operator()<Textbook>();
#if defined(BENCH_HAS_TBB)
  visit.template operator()<Tbb>();
#endif
#if defined(BENCH_HAS_ASIO)
  visit.template operator()<Asio>();
#endif
#if defined(BENCH_HAS_EIGEN)
  visit.template operator()<Eigen>();
#endif
#if defined(BENCH_HAS_OPENMP)
  visit.template operator()<OpenMp>();
#endif
#if defined(BENCH_HAS_STD_PAR)
  visit.template operator()<StdPar>();
#endif
  visit.template operator()<StdAsync>();
  visit.template operator()<StdThread>();
  visit.template operator()<StdThreadSplit>();
}

/// Starts a thread for each task, so it gets few of them.
template <class P> constexpr bool starts_thread_per_task() {
  return requires { P::kThreadPerTask; };
}

/// Runs tasks in the caller when its queue is full, so it cannot hold many.
template <class P> constexpr bool has_bounded_queue() {
  return requires { P::kHasBoundedQueue; };
}

}  // namespace bench
