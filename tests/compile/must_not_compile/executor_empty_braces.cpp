// SPDX-License-Identifier: MIT
//
// Neither no options nor zero workers: nobody can tell.
// expect: call (of overloaded|to constructor of) .*ambiguous|ambiguous

#include <concurrent/executor.hpp>

void use() {
#ifdef CONTROL
  concurrent::ThreadPoolExecutor executor;
  executor.shutdown();
#else
  concurrent::ThreadPoolExecutor executor({});
  executor.shutdown();
#endif
}
