// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <unistd.h>

#include <srd/shared_library.hpp>

#include "support/catch.hpp"

using namespace srd;

TEST_CASE("shared library: functions are found in one that is there")
{
    SharedLibrary library("libc.so.6", "install it");
    decltype(&::getpid) function = nullptr;
    library.find(function, "getpid");
    REQUIRE(function != nullptr);
    CHECK(function() == ::getpid());
    CHECK(library.error().empty());
}

TEST_CASE("shared library: one that is not there is named with what to install")
{
    SharedLibrary library("libsrd_no_such.so.1", "install libsrd_no_such");
    CHECK(library.error().starts_with("cannot load libsrd_no_such.so.1 ("));
    CHECK(library.error().ends_with("); install libsrd_no_such"));
    const std::string reason = library.error();
    decltype(&::getpid) function = &::getpid;
    library.find(function, "getpid");
    CHECK(function == nullptr);
    CHECK(library.error() == reason);
}

TEST_CASE("shared library: the first function that is missing is named")
{
    SharedLibrary library("libc.so.6", "install it");
    decltype(&::getpid) function = &::getpid;
    library.find(function, "srd_no_such_function");
    CHECK(function == nullptr);
    library.find(function, "srd_no_such_function_either");
    library.find(function, "getpid");
    CHECK(function != nullptr);
    CHECK(library.error() ==
          "srd_no_such_function is missing from the installed libc.so.6; install a newer one");
}
