// SPDX-License-Identifier: MIT
//
// Compiled several times, with different options: see CMakeLists.txt.

#include "shared_objects/plugin.hpp"

#include "shared_objects/functions.hpp"

extern "C" __attribute__((visibility("default"))) void concurrent_test_functions(
    shared_objects::Functions& functions) {
  functions = shared_objects::kFunctions;
}
