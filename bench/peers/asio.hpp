// SPDX-License-Identifier: MIT
//
// Boost.Asio's thread_pool, with use_future where there is a result. A task that waits for another
// one occupies its worker, so this peer does not fork.
#pragma once

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#include <cstddef>
#include <utility>

#include "peers/peer.hpp"

namespace bench {

class Asio {
 public:
  static constexpr const char* kName = "asio";
  static constexpr bool kHasWorkers = true;

  explicit Asio(int workers) : pool_(static_cast<std::size_t>(workers)) {}
  ~Asio() { pool_.join(); }

  Asio(const Asio&) = delete;
  Asio& operator=(const Asio&) = delete;

  template <class F> auto submit(F task) {
    return boost::asio::post(pool_, boost::asio::use_future(std::move(task)));
  }
  template <class F> void post(F task) { boost::asio::post(pool_, std::move(task)); }

 private:
  boost::asio::thread_pool pool_;
};

static_assert(Submits<Asio> && Posts<Asio>);

}  // namespace bench
