// SPDX-License-Identifier: MIT
// Whichever Catch2 is installed: 3, or 2 as Debian 12 has it. The main function is made by CMake.
#ifndef CONCURRENT_TESTS_SUPPORT_CATCH_HPP
#define CONCURRENT_TESTS_SUPPORT_CATCH_HPP

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#else
#include <catch2/catch.hpp>
#endif

#endif  // CONCURRENT_TESTS_SUPPORT_CATCH_HPP
