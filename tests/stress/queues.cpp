// SPDX-License-Identifier: MIT
//
// The queues without locks: WorkDeque and ProducerQueue by themselves, in both modes, and then
// pools whose outside threads have queues of their own.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "stress/stress.hpp"
#include "support/busy.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/poll.hpp"
#include "support/scale.hpp"

#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

using concurrent::Future;
using concurrent::ShutdownError;
using concurrent::ThreadPoolExecutor;
using concurrent::detail::ProducerQueue;
using concurrent::detail::Task;
using concurrent::detail::WorkDeque;
using stress::in_parallel;
using stress::Random;
using stress::Tally;
using support::BusyWorker;
using support::Counted;
using support::Counts;
using support::scaled;

namespace {

// Something to put into a queue: it is never run, only counted.
struct Item : Task {
  explicit Item(int at) : Task(kNothing, nullptr, 1), index(at) {}

  static constexpr concurrent::detail::TaskOperations kNothing = {};
  const int index;
};

class Items {
 public:
  explicit Items(int count) : tally_(static_cast<std::size_t>(count)) {
    for (int i = 0; i < count; ++i) { items_.emplace_back(i); }
  }

  Task& operator[](int index) { return items_[static_cast<std::size_t>(index)]; }
  static int index_of(const Task& task) { return static_cast<const Item&>(task).index; }
  /// Counts a task that came out of a queue. False if there was none.
  bool take(const Task* task) {
    if (task != nullptr) tally_.hit(index_of(*task));
    return task != nullptr;
  }
  int not_once() const { return tally_.not_once(); }

 private:
  std::deque<Item> items_;
  Tally tally_;
};

// Whether the queues can be tested in this mode here.
bool has_mode(bool has_barrier) {
  return !has_barrier || concurrent::detail::platform::has_process_barrier();
}

// Starts all workers of a pool, so that from then on every outside thread has a queue of its own.
void start_all_workers(ThreadPoolExecutor& pool) {
  std::vector<std::unique_ptr<BusyWorker>> busy;
  for (int i = 0; i < pool.max_workers(); ++i) {
    busy.push_back(std::make_unique<BusyWorker>(pool));
  }
}

// The queue that the calling thread has used last, and how many it has.
const void* last_queue() { return concurrent::detail::thread_producers.queue; }
int count_queues() {
  int count = 0;
  const ProducerQueue* queue = concurrent::detail::thread_producers.all;
  for (; queue != nullptr; queue = queue->next_of_thread) { ++count; }
  return count;
}

// Submits when it is destroyed.
class SubmitAtExit {
 public:
  SubmitAtExit() = default;
  SubmitAtExit(const SubmitAtExit&) = delete;
  SubmitAtExit& operator=(const SubmitAtExit&) = delete;
  ~SubmitAtExit() {
    if (pool_ == nullptr) return;
    for (int i = 0; i < 3; ++i) {
      pool_->post([calls = calls_] { calls->fetch_add(1, std::memory_order_relaxed); });
    }
  }

  void use(ThreadPoolExecutor& pool, std::atomic<int>& calls) {
    pool_ = &pool;
    calls_ = &calls;
  }

 private:
  ThreadPoolExecutor* pool_ = nullptr;
  std::atomic<int>* calls_ = nullptr;
};

}  // namespace

TEST_CASE("A work deque gives each task to one taker, its owner or one of two thieves",
          "[queues]") {
  const bool has_barrier = GENERATE(false, true);
  if (!has_mode(has_barrier)) return;
  CAPTURE(has_barrier);
  const int count = scaled(3000000);
  // Each is used many times, never while it is in the deque.
  constexpr int kItems = 4096;
  std::deque<Item> items;
  for (int i = 0; i < kItems; ++i) { items.emplace_back(i); }
  std::vector<std::atomic<bool>> is_in(kItems);
  std::atomic<int> taken_twice = 0;
  std::atomic<bool> has_lost = false;
  std::atomic<int> taken = 0;
  const auto take = [&](const Task* task) {
    if (task == nullptr) return false;
    const auto index = static_cast<std::size_t>(Items::index_of(*task));
    if (!is_in[index].exchange(false)) taken_twice.fetch_add(1, std::memory_order_relaxed);
    taken.fetch_add(1, std::memory_order_relaxed);
    return true;
  };
  const auto next = [&](int i) -> Task& {
    const auto index = static_cast<std::size_t>(i % kItems);
    // Its last thief may not have counted it yet.
    const auto is_out = [&] { return !is_in[index].load(std::memory_order_acquire); };
    for (int look = 0; look < 1000 && !is_out(); ++look) { std::this_thread::yield(); }
    if (!is_out() && !has_lost.load() && !support::eventually(is_out)) has_lost.store(true);
    is_in[index].store(true, std::memory_order_relaxed);
    return items[index];
  };
  WorkDeque deque(has_barrier);
  int pushed_in_all = 0;
  std::atomic<bool> has_ended = false;
  in_parallel(3, [&](int role) {
    Random random(static_cast<std::uint64_t>(role) + 100);
    if (role != 0) {
      while (!has_ended.load(std::memory_order_acquire) || deque.size() != 0) {
        const bool by_force = random.below(4) != 0;
        if (!take(by_force ? deque.steal_by_force() : deque.steal())) {
          stress::spin(random.below(50));
        }
      }
      return;
    }
    // Over one or two tasks at first, so that all want the same one all the time.
    int pushed = 0;
    while (pushed < count / 4) {
      deque.push(next(pushed++));
      if (pushed % 4 == 0) deque.push(next(pushed++));
      stress::spin(pushed % 8);
      while (take(deque.pop())) {}
    }
    while (pushed < count) {
      // Now and then more than there is room for.
      const int more = 1 + random.below(random.below(500) == 0 ? 700 : 4);
      if (random.below(2) == 0) {
        deque.push_all(static_cast<std::size_t>(more),
                       [&](std::size_t i) -> Task& { return next(pushed + static_cast<int>(i)); });
      } else {
        for (int i = 0; i < more; ++i) { deque.push(next(pushed + i)); }
      }
      pushed += more;
      if (random.below(3) == 0) {
        deque.order_push();
        deque.offer();
      }
      for (int pops = random.below(6); pops > 0; --pops) {
        const Task& newest = items[static_cast<std::size_t>((pushed - 1) % kItems)];
        switch (random.below(8)) {
          case 0:
            take(deque.pop_oldest());
            break;
          case 1:
            if (deque.pop_if_newest(newest)) take(&newest);
            break;
          default:
            take(deque.pop());
        }
      }
      if (random.below(4) == 0) {
        while (take(deque.pop())) {}
      }
    }
    has_ended.store(true, std::memory_order_release);
    pushed_in_all = pushed;
  });
  REQUIRE(deque.size() == 0);
  REQUIRE(taken_twice.load() == 0);
  REQUIRE_FALSE(has_lost.load());
  REQUIRE(taken.load() == pushed_in_all);
}

TEST_CASE("A work deque whose owner pushes and pops all the time still serves every thief",
          "[queues]") {
  const bool has_barrier = GENERATE(false, true);
  if (!has_mode(has_barrier)) return;
  CAPTURE(has_barrier);
  constexpr int kThieves = 3;
  constexpr int kLoot = 20;
  constexpr int kKept = 8;  // private tasks at least, nearly all the time
  std::deque<Item> items;
  for (int i = 0; i < 2 * kKept; ++i) { items.emplace_back(i); }
  std::vector<std::atomic<bool>> is_in(items.size());
  const auto take = [&](const Task* task) {
    if (task == nullptr) return false;
    is_in[static_cast<std::size_t>(Items::index_of(*task))].store(false);
    return true;
  };
  WorkDeque deque(has_barrier);
  std::atomic<int> satisfied = 0;
  in_parallel(1 + kThieves, [&](int role) {
    if (role == 0) {
      std::size_t next = 0;
      while (satisfied.load() < kThieves) {
        next = (next + 1) % items.size();
        if (!is_in[next].exchange(true)) deque.push(items[next]);
        if (deque.size() > kKept) take(deque.pop());
      }
      while (take(deque.pop())) {}
      return;
    }
    for (int loot = 0; loot < kLoot;) {
      if (take(deque.steal_by_force())) {
        ++loot;
      } else {
        stress::spin(50);
      }
    }
    satisfied.fetch_add(1);
  });
  REQUIRE(deque.size() == 0);
  REQUIRE(satisfied.load() == kThieves);
}

TEST_CASE("A producer queue gives each task to one taker, in order, but for what is taken back",
          "[queues]") {
  const bool has_barrier = GENERATE(false, true);
  if (!has_mode(has_barrier)) return;
  CAPTURE(has_barrier);
  const int count = scaled(400000);
  Items items(count);
  // The producer lets go of it with leave_to_next(), the pool's part is close().
  ProducerQueue* const queue = new ProducerQueue(nullptr, has_barrier);
  std::atomic<bool> has_ended = false;
  int last = -1;  // guarded by the lock of the queue
  int out_of_order = 0;
  int taken_back = 0;
  in_parallel(3, [&](int role) {
    Random random(static_cast<std::uint64_t>(role) + 200);
    if (role == 0) {
      for (int i = 0; i < count; ++i) {
        queue->push(items[i]);
        if (random.below(8) == 0) queue->order_push();
        if (random.below(8) == 0 && queue->take_back()) {
          ++taken_back;
          if (random.below(2) == 0) {
            items.take(&items[i]);
          } else {
            queue->push(items[i]);
          }
        }
        if (random.below(32) == 0) stress::spin(random.below(200));
      }
      has_ended.store(true, std::memory_order_release);
      return;
    }
    while (!has_ended.load(std::memory_order_acquire) || queue->size() != 0) {
      if (queue->size() == 0 || !queue->try_lock()) {
        stress::spin(random.below(50));
        continue;
      }
      const std::size_t batch = std::min(queue->size(), static_cast<std::size_t>(64));
      for (std::size_t i = 0; i < batch; ++i) {
        const Task& task = queue->peek(i);
        if (Items::index_of(task) <= last) ++out_of_order;
        last = Items::index_of(task);
        items.take(&task);
      }
      if (batch != 0) queue->drop(batch);
      queue->unlock();
    }
  });
  queue->leave_to_next();
  queue->close();
  REQUIRE(items.not_once() == 0);
  REQUIRE(out_of_order == 0);
  REQUIRE(taken_back > 0);
}

TEST_CASE("Two tasks from two threads that need each other always meet", "[queues]") {
  const int rounds = scaled(6000);
  ThreadPoolExecutor pool(2);
  start_all_workers(pool);
  std::atomic<int> begun = 0;
  in_parallel(2, [&](int role) {
    Random random(static_cast<std::uint64_t>(role) + 300);
    for (int round = 1; round <= rounds; ++round) {
      // Up to the time that it takes a worker to search and fall asleep.
      if (random.below(2) == 0) stress::spin(random.below(30000));
      pool.submit([&begun, round] {
            begun.fetch_add(1);
            while (begun.load() < 2 * round) { std::this_thread::yield(); }
          })
          .wait();
    }
  });
  REQUIRE(begun.load() == 2 * rounds);
}

TEST_CASE("A thread that submits for the first time has its queue seen at once", "[queues]") {
  const int rounds = scaled(200);
  for (int round = 0; round < rounds; ++round) {
    ThreadPoolExecutor pool(2);
    start_all_workers(pool);
    // Nobody else submits, so nobody else wakes the workers.
    std::atomic<int> sum = 0;
    in_parallel(4, [&](int role) {
      stress::spin(role * 5000);
      sum.fetch_add(pool.submit([role] { return role + 1; }).get());
    });
    if (sum.load() != 10) FAIL("the sum is " << sum.load());
  }
}

TEST_CASE("A thread takes over the queue of one that has ended", "[queues]") {
  const int generations = scaled(200);
  std::set<const void*> queues;
  std::atomic<int> calls = 0;
  {
    ThreadPoolExecutor pool(2);
    start_all_workers(pool);
    for (int generation = 0; generation < generations; ++generation) {
      in_parallel(1, [&](int) {
        // It ends while there is much in it.
        for (int i = 0; i < 100; ++i) {
          pool.post([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
        }
        queues.insert(last_queue());
      });
    }
  }
  REQUIRE(calls.load() == generations * 100);
  REQUIRE(queues.size() == 1);
  REQUIRE(queues.count(nullptr) == 0);
}

TEST_CASE("Many threads that submit a little and end leave nothing undone", "[queues]") {
  constexpr int kThreads = 16;
  const int generations = scaled(100);
  std::atomic<int> calls = 0;
  {
    ThreadPoolExecutor pool(2);
    start_all_workers(pool);
    for (int generation = 0; generation < generations; ++generation) {
      in_parallel(kThreads, [&](int thread) {
        for (int i = 0; i <= thread; ++i) {
          pool.post([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
        }
      });
    }
  }
  REQUIRE(calls.load() == generations * kThreads * (kThreads + 1) / 2);
}

TEST_CASE("Destructors of thread_locals may submit, before and after the thread's queues are left",
          "[queues]") {
  const int rounds = scaled(200);
  std::set<const void*> queues;
  std::atomic<int> calls = 0;
  {
    ThreadPoolExecutor pool(2);
    start_all_workers(pool);
    for (int round = 0; round < rounds; ++round) {
      in_parallel(1, [&](int) {
        thread_local SubmitAtExit last;
        last.use(pool, calls);
        pool.post([&calls] { calls.fetch_add(1, std::memory_order_relaxed); });
        thread_local SubmitAtExit first;
        first.use(pool, calls);
        queues.insert(last_queue());
      });
    }
  }
  REQUIRE(calls.load() == rounds * 7);
  // Nobody took a queue to keep it for ever.
  REQUIRE(queues.size() == 1);
}

TEST_CASE("A task from outside may destroy its executor while the submit is still under way",
          "[queues]") {
  const int rounds = scaled(600);
  int calls = 0;
  for (int round = 0; round < rounds; ++round) {
    auto* const pool = new ThreadPoolExecutor(2);
    start_all_workers(*pool);
    stress::spin(round % 2 == 0 ? 0 : 3000);  // awake or, perhaps, asleep
    auto future = pool->submit([pool, &calls] {
      ++calls;
      delete pool;
    });
    future.wait();
  }
  REQUIRE(calls == rounds);
}

TEST_CASE("A task from outside may let another thread destroy the executor", "[queues]") {
  const int rounds = scaled(500);
  for (int round = 0; round < rounds; ++round) {
    auto* const pool = new ThreadPoolExecutor(2);
    start_all_workers(*pool);
    std::atomic<bool> has_run = false;
    in_parallel(2, [&](int role) {
      if (role == 0) {
        pool->post([&has_run] { has_run.store(true, std::memory_order_release); });
      } else {
        stress::spin_until(has_run);
        delete pool;
      }
    });
  }
}

TEST_CASE(
    "A submit with a queue of its own that races shutdown() is accepted or refused as a whole",
    "[queues]") {
  const bool cancel_futures = GENERATE(false, true);
  CAPTURE(cancel_futures);
  constexpr int kSubmitters = 2;
  const int rounds = scaled(200);
  Random random(400);
  for (int round = 0; round < rounds; ++round) {
    Counts counts;
    std::atomic<int> accepted = 0;
    std::vector<std::vector<Future<int>>> futures(kSubmitters);
    const int threshold = random.below(20);
    const int delay = random.below(1500);
    {
      ThreadPoolExecutor pool(2);
      start_all_workers(pool);
      in_parallel(kSubmitters + 1, [&](int role) {
        if (role == kSubmitters) {
          while (accepted.load(std::memory_order_relaxed) < threshold) {
            std::this_thread::yield();
          }
          stress::spin(delay);
          pool.shutdown({.wait = round % 2 == 0, .cancel_futures = cancel_futures});
          return;
        }
        try {
          for (int i = 0; i < 3000; ++i) {
            futures[static_cast<std::size_t>(role)].push_back(pool.submit(Counted(counts, i)));
            accepted.fetch_add(1, std::memory_order_relaxed);
          }
        } catch (const ShutdownError&) {
          // As expected, sooner or later.
        }
      });
    }
    int not_done = 0;
    int cancelled = 0;
    int wrong = 0;
    for (const auto& mine : futures) {
      for (std::size_t i = 0; i < mine.size(); ++i) {
        if (!mine[i].done()) {
          ++not_done;
        } else if (mine[i].cancelled()) {
          ++cancelled;
        } else if (mine[i].result() != static_cast<int>(i)) {
          ++wrong;
        }
      }
    }
    REQUIRE(not_done == 0);
    REQUIRE(wrong == 0);
    REQUIRE(counts.alive.load() == 0);
    if (!cancel_futures) REQUIRE(cancelled == 0);
  }
}

TEST_CASE("shutdown() with cancel_futures cancels what waits in the queues of outside threads",
          "[queues]") {
  const int rounds = scaled(100);
  for (int round = 0; round < rounds; ++round) {
    std::vector<Future<void>> futures;
    ThreadPoolExecutor pool(2);
    start_all_workers(pool);
    BusyWorker first(pool);
    BusyWorker second(pool);
    in_parallel(1, [&](int) {
      for (int i = 0; i < 5; ++i) {
        futures.push_back(pool.submit([] {}));
      }
    });
    futures.push_back(pool.submit([] {}));
    pool.shutdown({.wait = false, .cancel_futures = true});
    const auto cancelled = std::count_if(futures.begin(), futures.end(),
                                         [](const auto& future) { return future.cancelled(); });
    REQUIRE(cancelled == 6);
  }
}

TEST_CASE("One thread may submit to three executors in turn", "[queues]") {
  const int rounds = scaled(20000);
  std::vector<std::unique_ptr<ThreadPoolExecutor>> pools;
  for (int i = 0; i < 3; ++i) {
    pools.push_back(std::make_unique<ThreadPoolExecutor>(2));
    start_all_workers(*pools.back());
  }
  std::atomic<int> wrong = 0;
  std::atomic<int> most_queues = 0;
  in_parallel(2, [&](int role) {
    Random random(static_cast<std::uint64_t>(role) + 500);
    std::vector<Future<int>> futures;
    for (int i = 0; i < rounds; ++i) {
      ThreadPoolExecutor& pool = *pools[static_cast<std::size_t>(random.below(3))];
      futures.push_back(pool.submit([i] { return i; }));
    }
    for (int i = 0; i < rounds; ++i) {
      if (futures[static_cast<std::size_t>(i)].get() != i) wrong.fetch_add(1);
    }
    if (count_queues() > 3) most_queues.store(count_queues());
  });
  REQUIRE(wrong.load() == 0);
  REQUIRE(most_queues.load() == 0);
}

TEST_CASE("A thread does not keep the queues of executors that have ended", "[queues]") {
  const int rounds = scaled(300);
  int most_queues = 0;
  int sum = 0;
  in_parallel(1, [&](int) {
    for (int round = 0; round < rounds; ++round) {
      ThreadPoolExecutor pool(2);
      start_all_workers(pool);
      sum += pool.submit([] { return 1; }).get();
      most_queues = std::max(most_queues, count_queues());
    }
  });
  REQUIRE(sum == rounds);
  REQUIRE(most_queues == 1);
}

#if defined(__linux__)

TEST_CASE("The child of a fork has its own queues, whatever those of its parent hold", "[queues]") {
  ThreadPoolExecutor pool(2);
  start_all_workers(pool);
  std::atomic<bool> stops = false;
  std::vector<std::thread> crew;
  for (int i = 0; i < 2; ++i) {
    crew.emplace_back([&] {
      while (!stops.load(std::memory_order_relaxed)) {
        pool.submit([] {}).wait();
      }
    });
  }
  int wrong = 0;
  for (int round = 0; round < scaled(20); ++round) {
    for (int i = 0; i < 10; ++i) {
      pool.post([] {});
    }
    const ::pid_t child = ::fork();
    if (child == 0) {
      ::alarm(100);  // a hang ends here
      try {
        pool.post([] {});
        ::_exit(1);
      } catch (const concurrent::BrokenExecutor&) {
        // It is the parent's.
      }
      // ThreadSanitizer ends a child of a program with threads that starts one.
      if (support::kSanitized) ::_exit(7);
      ThreadPoolExecutor fresh(2);
      start_all_workers(fresh);
      int answer = 0;
      std::thread([&] { answer += fresh.submit([] { return 3; }).get(); }).join();
      answer += fresh.submit([] { return 4; }).get();
      fresh.shutdown();
      ::_exit(answer);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {}
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) ++wrong;
  }
  stops.store(true);
  for (std::thread& thread : crew) { thread.join(); }
  REQUIRE(wrong == 0);
}

#endif
