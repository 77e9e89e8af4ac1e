// SPDX-License-Identifier: MIT
//
// A number alone is no pool.
// expect: conversion from .int. to non-scalar type|no viable conversion from .int.|explicit

#include <concurrent/executor.hpp>

void use() {
#ifdef CONTROL
  concurrent::ThreadPoolExecutor executor(3);
#else
  concurrent::ThreadPoolExecutor executor = 3;
#endif
}
