// SPDX-License-Identifier: MIT
//
// A future of one type is no future of another.
// expect: conversion from .* requested|no viable conversion

#include <concurrent/executor.hpp>

void use(concurrent::Future<int>& future) {
#ifdef CONTROL
  const concurrent::Future<int> other = future;
#else
  const concurrent::Future<long> other = future;
#endif
}
