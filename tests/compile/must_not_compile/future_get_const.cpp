// SPDX-License-Identifier: MIT
//
// get() empties the handle.
// expect: passing .* as .this. argument discards qualifiers|not marked const|no matching

#include <concurrent/executor.hpp>

#include <utility>

void use(concurrent::Future<int>& future) {
#ifdef CONTROL
  future.get();
#else
  std::as_const(future).get();
#endif
}
