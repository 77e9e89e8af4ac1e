// SPDX-License-Identifier: MIT
//
// What most small pools are: a mutex, a condition variable and a deque of std::packaged_task, each
// shared with the std::function that runs it. A task that waits for another one occupies its
// worker, so this peer does not fork.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "peers/peer.hpp"

namespace bench {

class Textbook {
 public:
  static constexpr const char* kName = "textbook";
  static constexpr bool kHasWorkers = true;

  explicit Textbook(int workers) {
    for (int i = 0; i < workers; ++i) {
      workers_.emplace_back([this] { run_tasks(); });
    }
  }

  ~Textbook() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    changed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  Textbook(const Textbook&) = delete;
  Textbook& operator=(const Textbook&) = delete;

  template <class F> auto submit(F task) {
    auto packaged =
        std::make_shared<std::packaged_task<std::invoke_result_t<F&>()>>(std::move(task));
    auto future = packaged->get_future();
    post([packaged] { (*packaged)(); });
    return future;
  }

  template <class F> void post(F task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.emplace_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void run_tasks() {
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return is_closed_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;  // guarded by mutex_
  bool is_closed_ = false;                   // guarded by mutex_
  std::vector<std::thread> workers_;
};

static_assert(Submits<Textbook> && Posts<Textbook>);

}  // namespace bench
