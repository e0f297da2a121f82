// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// One include for Catch2 2.x and 3.x.
#pragma once
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
