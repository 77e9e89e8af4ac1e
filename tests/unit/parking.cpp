// SPDX-License-Identifier: MIT
// Parking by itself: tokens, who searches and who sleeps, and whom a waker picks.
#include <concurrent/executor.hpp>
#include <cstdint>
#include <thread>

#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

namespace {

using concurrent::detail::IdleWorkers;
using concurrent::detail::Parker;

bool are(const IdleWorkers& idle, std::uint32_t searching, std::uint32_t sleeping) {
  const IdleWorkers::Counts counts = idle.counts();
  return counts.searching == searching && counts.sleeping == sleeping &&
         idle.are_none() == (searching + sleeping == 0);
}

void fall_asleep(IdleWorkers& idle, Parker& parker) {
  idle.begin_search();
  idle.begin_sleep(parker);
}

}  // namespace

TEST_CASE("a token that is there before the sleep ends it at once, and serves once") {
  Parker parker;
  parker.unpark();
  parker.park();
  // The next sleep needs a token of its own.
  support::Gate begun;
  support::Gate awake;
  long number = 0;
  std::thread sleeper([&] {
    number = support::this_thread_number();
    begun.open();
    parker.park();
    awake.open();
  });
  begun.wait();
  support::falls_asleep(number);
  const bool was_asleep = !awake.is_open();
  parker.unpark();
  sleeper.join();
  CHECK(was_asleep);
}

TEST_CASE("what the waker wrote before the token is there for who wakes") {
  Parker parker;
  int written = 0;  // plain: ThreadSanitizer reports an edge that is missing
  std::thread sleeper([&] {
    parker.park();
    ++written;
  });
  written = 41;
  parker.unpark();
  sleeper.join();
  CHECK(written == 42);
}

TEST_CASE("the last to sleep is woken first, and counts as a searcher from then on") {
  IdleWorkers idle;
  Parker first;
  Parker second;
  CHECK(are(idle, 0, 0));
  fall_asleep(idle, first);
  CHECK(are(idle, 0, 1));
  fall_asleep(idle, second);
  CHECK(are(idle, 0, 2));
  CHECK(idle.pick_sleeper() == &second);
  CHECK(are(idle, 1, 1));
  CHECK(idle.pick_sleeper() == &first);
  CHECK(are(idle, 2, 0));
  CHECK(idle.pick_sleeper() == nullptr);
  CHECK_FALSE(idle.wake_one());
  CHECK(are(idle, 2, 0));
}

TEST_CASE("the last searcher to find something is told that it was the last") {
  IdleWorkers idle;
  idle.begin_search();
  idle.begin_search();
  CHECK_FALSE(idle.end_search());
  CHECK(idle.end_search());
  CHECK(are(idle, 0, 0));
  // Sleepers do not count for that.
  Parker parker;
  fall_asleep(idle, parker);
  idle.begin_search();
  CHECK(idle.end_search());
  CHECK(are(idle, 0, 1));
}

TEST_CASE("who takes its sleep back searches on, and no waker picks it") {
  IdleWorkers idle;
  Parker parkers[3];
  for (Parker& parker : parkers) fall_asleep(idle, parker);
  CHECK(idle.withdraw(parkers[1]));
  CHECK(are(idle, 1, 2));
  CHECK(idle.pick_sleeper() == &parkers[2]);
  CHECK(idle.pick_sleeper() == &parkers[0]);
  CHECK(idle.pick_sleeper() == nullptr);
}

TEST_CASE("who was woken on its way to sleep cannot take it back, and its token is waiting") {
  IdleWorkers idle;
  Parker parker;
  fall_asleep(idle, parker);
  CHECK(idle.wake_one());
  CHECK_FALSE(idle.withdraw(parker));
  CHECK(are(idle, 1, 0));
  parker.park();  // does not hang
  // And from there all begins anew.
  idle.begin_sleep(parker);
  CHECK(are(idle, 0, 1));
  CHECK(idle.withdraw(parker));
  CHECK(idle.end_search());
}
