// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <cstdint>
#include <random>
#include <set>

#include "seal/replay_window.hpp"
#include "support/catch.hpp"

using namespace srd;
using Window = ReplayWindow<>;
using Verdict = Window::Verdict;

TEST_CASE("replay window: once each, in any order")
{
    Window window;
    CHECK(window.next() == 0);
    CHECK(window.check(0) == Verdict::fresh);
    window.mark(0);
    CHECK(window.check(0) == Verdict::replayed);
    window.mark(5);
    for (const std::uint64_t counter : {1U, 2U, 3U, 4U, 6U}) {
        CHECK(window.check(counter) == Verdict::fresh);
    }
    window.mark(3);
    CHECK(window.check(3) == Verdict::replayed);
    CHECK(window.check(4) == Verdict::fresh);
    CHECK(window.next() == 6);
}

TEST_CASE("replay window: the newest 4096 are remembered")
{
    for (const std::uint64_t start : {0ULL, 1ULL, 63ULL, 64ULL, 4095ULL, 4096ULL, (1ULL << 60) - 5000}) {
        Window window;
        window.mark(start);
        window.mark(start + 4095);
        CHECK(window.check(start) == Verdict::replayed);
        CHECK(window.check(start + 1) == Verdict::fresh);
        window.mark(start + 4096);
        CHECK(window.check(start) == Verdict::too_old);
        CHECK(window.check(start + 1) == Verdict::fresh);
        window.mark(start + 1);
        CHECK(window.check(start + 1) == Verdict::replayed);
        window.mark(start + 4097);
        CHECK(window.check(start + 1) == Verdict::too_old);
    }
}

TEST_CASE("replay window: a jump forgets exactly what is out of reach")
{
    for (const std::uint64_t jump : {4094U, 4095U, 4096U, 4097U, 8192U, 1000000U}) {
        Window window;
        for (std::uint64_t counter = 0; counter < 100; ++counter) {
            window.mark(counter);
        }
        window.mark(99 + jump);
        for (std::uint64_t counter = 0; counter < 99 + jump; counter += counter < 200 ? 1 : 97) {
            const Verdict expected = 99 + jump - counter >= 4096 ? Verdict::too_old
                                     : counter < 100             ? Verdict::replayed
                                                                 : Verdict::fresh;
            CHECK(window.check(counter) == expected);
        }
    }
}

TEST_CASE("replay window: as a set that remembers everything")
{
    std::mt19937_64 random(7);
    Window window;
    std::set<std::uint64_t> seen;
    std::uint64_t newest = 0;
    for (int i = 0; i < 200000; ++i) {
        const std::uint64_t spread = random() % 100 == 0 ? 20000 : random() % 3 == 0 ? 5000 : 10;
        const std::uint64_t around = newest + random() % spread;
        const std::uint64_t counter = around - std::min(around, random() % (2 * spread));
        const Verdict expected = !seen.empty() && counter + 4096 <= newest ? Verdict::too_old
                                 : seen.count(counter) != 0                ? Verdict::replayed
                                                                           : Verdict::fresh;
        REQUIRE(window.check(counter) == expected);
        if (expected == Verdict::fresh && random() % 4 != 0) {
            window.mark(counter);
            seen.insert(counter);
            newest = std::max(newest, counter);
        }
    }
    CHECK(seen.size() > 10000);
}
