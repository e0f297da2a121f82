// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// Path selection that does not look at what becomes of packets.
#include <array>

#include "lb/round_robin.hpp"
#include "lb/single.hpp"
#include "support/catch.hpp"

using srd::PathId;
using srd::PathOutcome;
using srd::RoundRobinPaths;
using srd::SinglePath;
using srd::Time;

TEST_CASE("RoundRobinPaths: every path in turn, from an offset the seed sets")
{
    for (const std::uint32_t count : {1U, 2U, 3U, 63U, 64U}) {
        RoundRobinPaths paths(count, 1000003);
        for (std::uint32_t i = 0; i < 3 * count; ++i) {
            REQUIRE(srd::index_of(paths.next(Time{})) == (1000003 + i) % count);
            paths.feedback(PathId{0}, PathOutcome::lost, Time{});
        }
    }
}

TEST_CASE("RoundRobinPaths: a retransmission goes elsewhere where there is an elsewhere")
{
    RoundRobinPaths two(2, 0);
    for (int i = 0; i < 10; ++i) {
        REQUIRE(two.next_avoiding(PathId{1}, Time{}) == PathId{0});
        REQUIRE(two.next_avoiding(PathId{0}, Time{}) == PathId{1});
    }
    RoundRobinPaths one(1, 5);
    CHECK(one.next_avoiding(PathId{0}, Time{}) == PathId{0});
}

TEST_CASE("RoundRobinPaths: any path is as good as another, and takes nobody's turn")
{
    const RoundRobinPaths paths(48, 0);
    for (std::uint64_t chance = 0; chance < 100; ++chance) {
        REQUIRE(srd::index_of(paths.any(chance)) == chance % 48);
    }
}

TEST_CASE("RoundRobinPaths: impossible counts are brought within bounds")
{
    RoundRobinPaths none(0, 9);
    CHECK(none.next(Time{}) == PathId{0});
    RoundRobinPaths many(1000, 0);
    std::array<bool, srd::max_paths> seen{};
    for (std::uint32_t i = 0; i < 1000; ++i) {
        const std::size_t path = srd::index_of(many.next(Time{}));
        REQUIRE(path < srd::max_paths);
        seen[path] = true;
    }
    CHECK(seen[63]);
}

TEST_CASE("SinglePath: always the same path")
{
    SinglePath path(64, 130);
    for (int i = 0; i < 10; ++i) {
        REQUIRE(path.next(Time{}) == PathId{2});
        REQUIRE(path.next_avoiding(PathId{2}, Time{}) == PathId{2});
        REQUIRE(path.any(static_cast<std::uint64_t>(i)) == PathId{2});
        path.feedback(PathId{2}, PathOutcome::lost, Time{});
    }
    CHECK(SinglePath(0, 7).next(Time{}) == PathId{0});
}

TEST_CASE("RoundRobinPaths, SinglePath: only paths to places that are open")
{
    RoundRobinPaths turns(10, 3);
    turns.set_open(3, 0b101); // 0, 2, 3, 5, 6, 8, 9
    std::array<int, 10> used{};
    for (int i = 0; i < 70; ++i) {
        ++used.at(srd::index_of(turns.next(Time{})));
        CHECK(srd::index_of(turns.any(static_cast<std::uint64_t>(i))) % 3 != 1);
    }
    for (unsigned path = 0; path < 10; ++path) {
        CHECK((used.at(path) == 0) == (path % 3 == 1));
    }
    CHECK(srd::index_of(turns.next_among(std::uint64_t{1} << 5, Time{})) == 5);
    CHECK(srd::index_of(turns.next_among(0b10010, Time{})) % 3 != 1); // neither is open
    SinglePath one(10, 4);
    one.set_open(3, 0b101);
    CHECK(srd::index_of(one.next(Time{})) % 3 != 1);
    SinglePath other(10, 5);
    other.set_open(3, 0b101);
    CHECK(other.next(Time{}) == PathId{5});
}
