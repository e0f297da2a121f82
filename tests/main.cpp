// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Catch2 2.x (Debian 12) wants its main generated; 3.x brings a session class.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
int main(int argc, char** argv)
{
    return Catch::Session().run(argc, argv);
}
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
