// SPDX-License-Identifier: MIT
// What the shared objects of these tests export, and how the program loads them.
#ifndef CONCURRENT_TESTS_SHARED_OBJECTS_PLUGIN_HPP
#define CONCURRENT_TESTS_SHARED_OBJECTS_PLUGIN_HPP

#include <dlfcn.h>

#include <concurrent/executor.hpp>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace shared_objects {

using concurrent::Future;
using concurrent::ThreadPoolExecutor;

/// The errors of the library, by number.
inline constexpr int kErrors = 8;

/// One object's functions. All of its code is compiled into it, with a copy of the library.
struct Functions {
  std::unique_ptr<ThreadPoolExecutor> (*make_pool)(int workers);
  /// The future of `value`.
  Future<int> (*submit)(ThreadPoolExecutor& pool, int value);
  /// In a task of `pool`: submits one more to it, waits, and returns the thread that ran that.
  std::thread::id (*submit_and_wait)(ThreadPoolExecutor& pool);
  /// Submits a task that does this, and returns whether both ran in one thread.
  bool (*submit_and_nest)(ThreadPoolExecutor& pool);
  /// The same for a task that somebody else has submitted.
  int (*read)(const Future<int>& future);
  /// Reads them by callbacks, as_completed() and wait(), and returns three times their sum.
  int (*collect)(const std::vector<Future<int>>& futures);
  void (*throw_error)(int error);
  /// Calls `thrower` and returns which of the errors of the library it has caught by its type.
  int (*catch_error)(void (*thrower)(int), int error);
  /// Makes, uses and destroys an executor with all that the library has. True if all went well.
  bool (*use_all)();
};

extern "C" using Export = void(*)(Functions&);

/// A loaded object.
class Plugin {
 public:
  Plugin(const std::string& path, int scope) : handle_(::dlopen(path.c_str(), RTLD_NOW | scope)) {
    if (handle_ == nullptr) throw std::runtime_error(::dlerror());
    const auto get = reinterpret_cast<Export>(::dlsym(handle_, "concurrent_test_functions"));
    if (get == nullptr) throw std::runtime_error(::dlerror());
    get(functions_);
  }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;
  ~Plugin() { close(); }

  /// May be called again.
  void close() {
    if (handle_ != nullptr) ::dlclose(handle_);
    handle_ = nullptr;
  }

  const Functions* operator->() const { return &functions_; }

 private:
  void* handle_;
  Functions functions_ = {};
};

}  // namespace shared_objects

#endif  // CONCURRENT_TESTS_SHARED_OBJECTS_PLUGIN_HPP
