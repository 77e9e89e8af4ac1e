// SPDX-License-Identifier: MIT
//
// One callable serves all elements, as an lvalue.
// expect: no matching (member )?function for call to .*map

#include <concurrent/executor.hpp>

struct Once {
  int operator()(int n) && { return n; }
};

void use(concurrent::ThreadPoolExecutor& executor) {
#ifdef CONTROL
  executor.submit(Once{}, 1);
#else
  executor.map(Once{}, {1, 2});
#endif
}
