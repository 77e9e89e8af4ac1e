// SPDX-License-Identifier: MIT
//
// The matrix of life cycles: every way in which one task can be queued, dropped, cancelled, awaited
// and called back, its outcome and the number of workers. In each, everything happens exactly once.

#include <concurrent/executor.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/threads.hpp"

using concurrent::Future;
using concurrent::ThreadPoolExecutor;
using support::Counted;
using support::Counts;
using support::Gate;

namespace {

enum class Waiter { none, thread, task };
enum class Outcome { unknown, value, exception, cancelled };

struct LifeCycle {
  int workers;
  bool throws;
  bool is_busy;     // else the task has begun before anything else happens to it
  bool is_dropped;  // the first handle, before the task runs (or ends, if it has begun)
  bool is_cancelled;
  Waiter waiter;
  bool has_callback;
};

std::string describe(const LifeCycle& cycle) {
  std::string text = std::to_string(cycle.workers) + " workers, the task ";
  text += cycle.throws ? "throws" : "returns";
  text += cycle.is_busy ? ", it is queued behind a gate" : ", it has begun";
  text += cycle.is_dropped ? ", handle dropped" : ", handle kept";
  if (cycle.is_cancelled) text += ", cancelled";
  if (cycle.waiter == Waiter::thread) text += ", awaited by a thread";
  if (cycle.waiter == Waiter::task) text += ", awaited by a task of the pool";
  if (cycle.has_callback) text += ", with a callback";
  return text;
}

// The pool's only worker is running the task, and no other can begin to wait for it.
bool is_impossible(const LifeCycle& cycle) {
  return cycle.workers == 1 && !cycle.is_busy && cycle.waiter == Waiter::task;
}

// Something that dies once: moved-from ones are not counted as deaths, but as instances they are.
class Token {
 public:
  Token(Counts& counts, std::atomic<int>& deaths) : counted_(counts, 7), deaths_(&deaths) {}
  Token(Token&& other) noexcept
      : counted_(std::move(other.counted_)), deaths_(std::exchange(other.deaths_, nullptr)) {}
  ~Token() {
    if (deaths_ != nullptr) deaths_->fetch_add(1);
  }

  int value() const { return counted_.value(); }

 private:
  Counted counted_;
  std::atomic<int>* deaths_;
};

// The copies of an exception share one token.
struct Failure {
  std::shared_ptr<Token> token;
};

// What one life cycle has left behind.
struct Record {
  Counts counts;
  std::atomic<int> runs = 0;
  std::atomic<int> capture_deaths = 0;
  std::atomic<int> outcome_deaths = 0;
  std::atomic<int> outcome_deaths_at_shutdown = 0;
  std::atomic<int> callbacks = 0;
  std::atomic<int> early = 0;  // times that somebody saw the task done before its capture had died
  std::atomic<int> unready = 0;  // times that somebody was told too early
  std::atomic<bool> cancel_said = false;
  std::atomic<Outcome> awaited = Outcome::unknown;
  std::atomic<Outcome> kept = Outcome::unknown;
  std::atomic<Outcome> called_back = Outcome::unknown;
  std::thread::id runner;
  std::thread::id waiter;

  // Waits and takes notes, with a handle of its own.
  Outcome look(const Future<Token>& future) {
    Outcome outcome = Outcome::unknown;
    try {
      if (future.result().value() == 7) outcome = Outcome::value;
    } catch (const concurrent::CancelledError&) {
      outcome = Outcome::cancelled;
    } catch (const Failure& failure) {
      if (failure.token->value() == 7) outcome = Outcome::exception;
    }
    if (capture_deaths.load() != 1) early.fetch_add(1);
    if (!future.done() || future.running()) unready.fetch_add(1);
    if (future.cancelled() != (outcome == Outcome::cancelled)) unready.fetch_add(1);
    return outcome;
  }
};

// Takes one task through its life.
class Life {
 public:
  Life(const LifeCycle& cycle, Record& record) : cycle_(cycle), record_(record) {}

  void run() {
    ThreadPoolExecutor pool(cycle_.workers);
    const support::OpenAtExit task_opened(go_on_);
    const support::OpenAtExit waiter_opened(waiter_goes_on_);
    Future<void> waiting_task;
    std::thread waiting_thread;
    std::vector<std::unique_ptr<support::BusyWorker>> busy;
    if (cycle_.is_busy) {
      const int others = cycle_.workers - (cycle_.waiter == Waiter::task ? 1 : 0);
      for (int i = 0; i < others; ++i) {
        busy.push_back(std::make_unique<support::BusyWorker>(pool));
      }
      go_on_.open();
    }
    if (cycle_.waiter == Waiter::task) {
      waiting_task = pool.submit([this] {
        waiter_begun_.open();
        waiter_goes_on_.wait();
        await(*std::exchange(for_waiter_, std::nullopt));
      });
      waiter_begun_.wait();
    }

    Future<Token> future = submit(pool);
    if (!cycle_.is_busy) begun_.wait();
    if (cycle_.has_callback) {
      future.add_done_callback([this](Future<Token> done) {
        record_.called_back.store(record_.look(done));
        record_.callbacks.fetch_add(1);
      });
    }
    if (cycle_.waiter == Waiter::task) for_waiter_ = future;
    if (cycle_.waiter == Waiter::thread) {
      waiting_thread = std::thread([this, future] { await(future); });
      wait_until_waiter_sleeps();
    } else if (cycle_.waiter == Waiter::task && !cycle_.is_busy) {
      waiter_goes_on_.open();
      wait_until_waiter_sleeps();
    }
    if (cycle_.is_cancelled) record_.cancel_said.store(future.cancel());
    if (cycle_.is_dropped) future = Future<Token>();

    // Now the task may run and end. Awaited by a task of a busy pool it is run by that one.
    go_on_.open();
    waiter_goes_on_.open();
    if (waiting_task.valid()) waiting_task.wait();
    busy.clear();
    if (waiting_thread.joinable()) waiting_thread.join();
    if (future.valid()) record_.kept.store(record_.look(future));
    pool.shutdown();
    record_.outcome_deaths_at_shutdown.store(record_.outcome_deaths.load());
  }

 private:
  Future<Token> submit(ThreadPoolExecutor& pool) {
    return pool.submit([this, capture = Token(record_.counts, record_.capture_deaths)] {
      begun_.open();
      go_on_.wait();
      record_.runner = std::this_thread::get_id();
      record_.runs.fetch_add(1);
      Token outcome(record_.counts, record_.outcome_deaths);
      if (cycle_.throws) throw Failure{std::make_shared<Token>(std::move(outcome))};
      return outcome;
    });
  }

  void await(const Future<Token>& future) {
    record_.waiter = std::this_thread::get_id();
    waiter_number_.store(support::this_thread_number());
    waiter_waits_.open();
    record_.awaited.store(record_.look(future));
  }

  void wait_until_waiter_sleeps() {
    waiter_waits_.wait();
    support::falls_asleep(waiter_number_.load());
  }

  const LifeCycle& cycle_;
  Record& record_;
  Gate begun_;
  Gate go_on_;
  Gate waiter_begun_;
  Gate waiter_goes_on_;
  Gate waiter_waits_;
  std::atomic<long> waiter_number_ = 0;
  std::optional<Future<Token>> for_waiter_;
};

void check(const LifeCycle& cycle) {
  INFO(describe(cycle));
  Record record;
  Life(cycle, record).run();

  // What has begun cannot be cancelled.
  const bool runs = !(cycle.is_busy && cycle.is_cancelled);
  const Outcome ran = cycle.throws ? Outcome::exception : Outcome::value;
  const Outcome outcome = runs ? ran : Outcome::cancelled;
  const int outcomes = runs ? 1 : 0;
  CHECK(record.runs.load() == (runs ? 1 : 0));
  CHECK(record.cancel_said.load() == !runs);
  CHECK(record.capture_deaths.load() == 1);
  CHECK(record.early.load() == 0);
  CHECK(record.unready.load() == 0);
  CHECK(record.kept.load() == (cycle.is_dropped ? Outcome::unknown : outcome));
  CHECK(record.awaited.load() == (cycle.waiter == Waiter::none ? Outcome::unknown : outcome));
  CHECK(record.called_back.load() == (cycle.has_callback ? outcome : Outcome::unknown));
  CHECK(record.callbacks.load() == (cycle.has_callback ? 1 : 0));
  // A kept handle keeps the outcome; without one it has died already.
  CHECK(record.outcome_deaths_at_shutdown.load() == (cycle.is_dropped ? outcomes : 0));
  CHECK(record.outcome_deaths.load() == outcomes);
  CHECK(record.counts.alive.load() == 0);
  if (runs && cycle.is_busy && cycle.waiter == Waiter::task) {
    CHECK((record.runner == record.waiter));
  }
  REQUIRE(record.counts.copies.load() == 0);
}

// All of them for this number of workers; returns how many there were.
int check_all(int workers) {
  int count = 0;
  for (const bool throws : {false, true}) {
    for (const bool is_busy : {false, true}) {
      for (const bool is_dropped : {false, true}) {
        for (const bool is_cancelled : {false, true}) {
          for (const Waiter waiter : {Waiter::none, Waiter::thread, Waiter::task}) {
            for (const bool has_callback : {false, true}) {
              const LifeCycle cycle = {.workers = workers,
                                       .throws = throws,
                                       .is_busy = is_busy,
                                       .is_dropped = is_dropped,
                                       .is_cancelled = is_cancelled,
                                       .waiter = waiter,
                                       .has_callback = has_callback};
              if (is_impossible(cycle)) continue;
              check(cycle);
              ++count;
            }
          }
        }
      }
    }
  }
  return count;
}

}  // namespace

TEST_CASE("Every life of a task on one worker does everything once", "[life_cycles]") {
  REQUIRE(check_all(1) == 80);
}

TEST_CASE("Every life of a task on two workers does everything once", "[life_cycles]") {
  REQUIRE(check_all(2) == 96);
}

TEST_CASE("Every life of a task on 64 workers does everything once", "[life_cycles]") {
  REQUIRE(check_all(64) == 96);
}
