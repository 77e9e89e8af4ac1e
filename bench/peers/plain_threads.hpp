// SPDX-License-Identifier: MIT
//
// What one writes without a library: one std::thread for each task, joined by whoever wants the
// result. The number of workers means nothing to it.
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace bench {

class PlainThreads {
 public:
  template <class T> class Pending {
   public:
    template <class F>
    explicit Pending(F task)
        : result_(std::make_unique<std::optional<T>>()),
          thread_(
              [result = result_.get(), task = std::move(task)]() mutable { *result = task(); }) {}

    T get() {
      thread_.join();
      return std::move(**result_);
    }

   private:
    std::unique_ptr<std::optional<T>> result_;
    std::thread thread_;
  };

  explicit PlainThreads(int /*workers*/) {}

  template <class F> auto submit(F task) {
    return Pending<std::invoke_result_t<F&>>(std::move(task));
  }
};

}  // namespace bench
