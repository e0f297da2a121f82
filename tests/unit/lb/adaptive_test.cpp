// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <array>
#include <deque>
#include <random>
#include <set>

#include "lb/adaptive.hpp"
#include "support/catch.hpp"

using srd::AdaptivePaths;
using srd::Duration;
using srd::PathId;
using srd::PathOutcome;
using srd::Time;
using namespace std::chrono_literals;

namespace {

const Time start{Duration(1000s)};

/// Sends `packets`, one every microsecond, with an answer 50 us later, and counts by path.
/// `fate(path, now)` decides what becomes of a packet.
template <typename Fate>
std::array<int, srd::max_paths> drive(AdaptivePaths& paths, Time& now, int packets, Fate&& fate)
{
    struct Sent {
        PathId path;
        Time at;
    };
    std::deque<Sent> in_flight;
    std::array<int, srd::max_paths> used{};
    for (int i = 0; i < packets; ++i, now += 1us) {
        while (!in_flight.empty() && now - in_flight.front().at >= 50us) {
            paths.feedback(in_flight.front().path, fate(in_flight.front().path, in_flight.front().at), now);
            in_flight.pop_front();
        }
        const PathId path = paths.next(now);
        ++used.at(srd::index_of(path));
        in_flight.push_back({path, now});
    }
    for (const Sent& sent : in_flight) {
        paths.feedback(sent.path, fate(sent.path, sent.at), now);
    }
    return used;
}

void lose(AdaptivePaths& paths, PathId path, unsigned times, Time now)
{
    for (unsigned i = 0; i < times; ++i) {
        paths.feedback(path, PathOutcome::lost, now);
    }
}

} // namespace

TEST_CASE("AdaptivePaths: without answers every path is explored in turn")
{
    for (const std::uint32_t count : {1U, 2U, 5U, 64U}) {
        AdaptivePaths paths(count, 12345);
        std::array<int, srd::max_paths> used{};
        for (std::uint32_t i = 0; i < 10 * count; ++i) {
            ++used.at(srd::index_of(paths.next(start)));
        }
        for (std::uint32_t path = 0; path < srd::max_paths; ++path) {
            REQUIRE(used[path] == (path < count ? 10 : 0));
        }
    }
}

TEST_CASE("AdaptivePaths: an acknowledged path is used again before others are explored")
{
    AdaptivePaths paths(64, 0);
    const PathId first = paths.next(start);
    for (int i = 0; i < 100; ++i) {
        paths.feedback(first, PathOutcome::good, start);
        REQUIRE(paths.next(start) == first);
    }
    CHECK(paths.next(start) != first);
}

TEST_CASE("AdaptivePaths: clean paths share the load evenly")
{
    AdaptivePaths paths(64, 99);
    Time now = start;
    const auto used = drive(paths, now, 64'000, [](PathId, Time) { return PathOutcome::good; });
    int lowest = 1 << 30;
    int highest = 0;
    int distinct = 0;
    for (const int count : used) {
        distinct += count != 0;
        if (count != 0) {
            lowest = std::min(lowest, count);
            highest = std::max(highest, count);
        }
    }
    CHECK(distinct >= 50); // as many as fit in a round trip
    CHECK(highest - lowest <= 2);
    CHECK(paths.switches() == 0);
}

TEST_CASE("AdaptivePaths: a path that marks is used a good deal less")
{
    AdaptivePaths paths(16, 3);
    Time now = start;
    const auto used = drive(paths, now, 50'000, [](PathId path, Time) {
        return path == PathId{5} ? PathOutcome::marked : PathOutcome::good;
    });
    CHECK(used[5] * 3 < used[6]);
    CHECK(used[5] > 0); // it is tried again
    CHECK(paths.switches() > 0);
    CHECK(paths.blackouts() == 0);
}

TEST_CASE("AdaptivePaths: when all paths mark, none is preferred and none rests for good")
{
    AdaptivePaths paths(16, 3);
    Time now = start;
    const auto used = drive(paths, now, 50'000, [](PathId, Time) { return PathOutcome::marked; });
    for (std::size_t path = 0; path < 16; ++path) {
        CHECK(used[path] > 50'000 / 16 / 4);
    }
    CHECK(paths.blackouts() == 0);
}

TEST_CASE("AdaptivePaths: three losses in a row black a path out at once")
{
    AdaptivePaths paths(4, 0);
    lose(paths, PathId{2}, 2, start);
    CHECK(paths.blackouts() == 0);
    paths.feedback(PathId{2}, PathOutcome::good, start); // not in a row
    lose(paths, PathId{2}, 2, start);
    CHECK(paths.blackouts() == 0);
    paths.feedback(PathId{2}, PathOutcome::lost, start);
    CHECK(paths.blackouts() == 1);
    CHECK(paths.dark_count() == 1);
    for (Time now = start; now < start + 9900us; now += 10us) {
        REQUIRE(paths.next(now) != PathId{2});
        REQUIRE(paths.next_avoiding(PathId{1}, now) != PathId{2});
    }
}

TEST_CASE("AdaptivePaths: a dark path is probed by one packet, at doubling intervals up to a bound")
{
    AdaptivePaths paths(4, 0);
    lose(paths, PathId{2}, 3, start);
    Time last = start;
    Duration previous = 0ms;
    int probes = 0;
    for (Time now = start; now < start + 5s; now += 50us) {
        if (paths.next(now) == PathId{2}) {
            const Duration interval = now - last;
            if (probes == 0) {
                CHECK(interval >= 10ms);
                CHECK(interval < 11ms);
            } else {
                CHECK(interval <= 641ms);
                CHECK(std::min<Duration>(previous * 2, 640ms) - interval < 1ms);
            }
            previous = interval;
            last = now;
            ++probes;
            paths.feedback(PathId{2}, PathOutcome::lost, now + 20us);
        }
    }
    CHECK(probes >= 10);
    CHECK(paths.blackouts() == 1);
    paths.feedback(PathId{2}, PathOutcome::good, start + 5s);
    CHECK(paths.dark_count() == 0);
    CHECK(paths.next(start + 5s) == PathId{2});
}

TEST_CASE("AdaptivePaths: a path that dies again after its probe waits longer; a healthy while is forgiven")
{
    const auto dark_for = [](AdaptivePaths& paths, Time from) {
        Time now = from;
        while (paths.next(now) != PathId{0}) {
            now += 100us;
        }
        return now - from;
    };
    AdaptivePaths paths(2, 0);
    lose(paths, PathId{0}, 3, start);
    const Duration first = dark_for(paths, start);
    paths.feedback(PathId{0}, PathOutcome::good, start + 100ms);
    lose(paths, PathId{0}, 3, start + 100ms);
    const Duration second = dark_for(paths, start + 100ms);
    CHECK(second > first * 3 / 2);
    paths.feedback(PathId{0}, PathOutcome::good, start + 300ms);
    paths.feedback(PathId{0}, PathOutcome::good, start + 300ms);
    lose(paths, PathId{0}, 3, start + 300ms);
    const Duration third = dark_for(paths, start + 300ms);
    CHECK(third < first * 3 / 2);
}

TEST_CASE("AdaptivePaths: half of the paths die: a few losses each, then only the living carry")
{
    AdaptivePaths paths(64, 7);
    Time now = start;
    const auto dead = [](PathId path) { return srd::index_of(path) % 2 == 1; };
    int lost = 0;
    drive(paths, now, 10'000, [](PathId, Time) { return PathOutcome::good; });
    drive(paths, now, 5'000, [&](PathId path, Time) {
        lost += dead(path);
        return dead(path) ? PathOutcome::lost : PathOutcome::good;
    });
    CHECK(lost > 0);
    CHECK(lost <= 32 * 4);
    // Long after, the dead ones cost no more than their probes.
    lost = 0;
    const auto used = drive(paths, now, 1'000'000, [&](PathId path, Time) {
        lost += dead(path);
        return dead(path) ? PathOutcome::lost : PathOutcome::good;
    });
    CHECK(lost <= 32 * 10);
    CHECK(used[0] > 1000);
    // The link comes back: all are in use again within the longest back-off.
    drive(paths, now, 1'400'000, [](PathId, Time) { return PathOutcome::good; });
    CHECK(paths.dark_count() == 0);
}

TEST_CASE("AdaptivePaths: with little to send, one packet in sixteen tries a dark path")
{
    AdaptivePaths paths(64, 7);
    const auto dead = [](PathId path) { return srd::index_of(path) % 4 != 0; };
    for (unsigned path = 0; path < 64; ++path) {
        if (dead(PathId(path))) {
            lose(paths, PathId(path), 3, start);
        }
    }
    // Nothing is heard of these packets, as of acknowledgements.
    std::set<PathId> tried;
    int lost = 0;
    Time now = start;
    for (int i = 0; i < 1600; ++i, now += 100ms) {
        const PathId path = paths.next(now);
        lost += dead(path);
        tried.insert(path);
    }
    CHECK(lost >= 99);
    CHECK(lost <= 101);
    CHECK(tried.size() == 64); // each has its turn
}

TEST_CASE("AdaptivePaths: any path may be a dark one")
{
    AdaptivePaths paths(48, 7);
    lose(paths, PathId{5}, 3, start);
    REQUIRE(paths.dark_count() == 1);
    for (std::uint64_t chance = 0; chance < 100; ++chance) {
        REQUIRE(srd::index_of(paths.any(chance)) == chance % 48);
    }
}

TEST_CASE("AdaptivePaths: random loss of one percent blacks out next to nothing")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    AdaptivePaths paths(64, 7);
    Time now = start;
    drive(paths, now, 200'000,
          [&](PathId, Time) { return random() % 100 == 0 ? PathOutcome::lost : PathOutcome::good; });
    CHECK(paths.blackouts() < 20); // expected: 0.2
}

TEST_CASE("AdaptivePaths: a mark takes back an earlier good word")
{
    AdaptivePaths paths(2, 0);
    paths.feedback(PathId{0}, PathOutcome::good, start);
    paths.feedback(PathId{0}, PathOutcome::marked, start);
    CHECK(paths.next(start) == PathId{1});
    paths.feedback(PathId{1}, PathOutcome::good, start);
    CHECK(paths.next(start) == PathId{1}); // proven, unlike the other
}

TEST_CASE("AdaptivePaths: a marked path is passed over once, whether or not the turn goes round")
{
    for (const unsigned first : {0U, 3U, 6U}) {
        AdaptivePaths paths(8, first);
        const unsigned marked = (first + 2) % 8;
        paths.feedback(PathId(marked), PathOutcome::marked, start);
        paths.feedback(PathId(marked), PathOutcome::marked, start); // the same trouble
        CHECK(paths.switches() == 1);
        for (unsigned round = 0; round < 3; ++round) {
            for (unsigned i = 0; i < 8; ++i) {
                if (round != 0 || i != 2) {
                    REQUIRE(paths.next(start) == PathId((first + i) % 8));
                }
            }
        }
    }
}

TEST_CASE("AdaptivePaths: when all paths are marked they are explored in turn")
{
    AdaptivePaths paths(4, 1);
    for (unsigned path = 0; path < 4; ++path) {
        paths.feedback(PathId(path), PathOutcome::marked, start);
    }
    for (unsigned i = 0; i < 8; ++i) {
        CHECK(paths.next(start) == PathId((1 + i) % 4));
    }
}

TEST_CASE("AdaptivePaths: timeouts alone condemn no path")
{
    AdaptivePaths paths(8, 0);
    for (int i = 0; i < 1000; ++i) {
        paths.feedback(paths.next(start), PathOutcome::timed_out, start);
    }
    CHECK(paths.blackouts() == 0);
    CHECK(paths.switches() == 0);
}

TEST_CASE("AdaptivePaths: however bad everything is, there is an answer, and the last path stays")
{
    for (const std::uint32_t count : {1U, 2U, 3U, 64U}) {
        AdaptivePaths paths(count, 1);
        Time now = start;
        for (int i = 0; i < 20'000; ++i, now += 7us) {
            const PathId path = i % 3 == 0 ? paths.next_avoiding(PathId{0}, now) : paths.next(now);
            REQUIRE(srd::index_of(path) < count);
            paths.feedback(path, PathOutcome::lost, now);
            REQUIRE(paths.dark_count() < count);
        }
    }
}

TEST_CASE("AdaptivePaths: a retransmission avoids its path and prefers one seen to work")
{
    AdaptivePaths paths(8, 0);
    paths.feedback(PathId{6}, PathOutcome::good, start);
    CHECK(paths.next_avoiding(PathId{1}, start) == PathId{6});
    for (int i = 0; i < 20; ++i) {
        REQUIRE(paths.next_avoiding(PathId{6}, start) != PathId{6});
    }
    AdaptivePaths two(2, 0);
    lose(two, PathId{1}, 3, start);
    CHECK(two.next_avoiding(PathId{0}, start) == PathId{1}); // dark, but the only other
    AdaptivePaths one(1, 0);
    CHECK(one.next_avoiding(PathId{0}, start) == PathId{0});
}

TEST_CASE("AdaptivePaths: a long absence ends every rest")
{
    for (const Duration absence : {Duration(700ms), Duration(3s), Duration(40s), Duration(24h)}) {
        AdaptivePaths paths(4, 0);
        lose(paths, PathId{1}, 3, start);
        paths.feedback(PathId{2}, PathOutcome::marked, start);
        std::set<PathId> seen;
        Time now = start + absence;
        for (int i = 0; i < 16; ++i, now += 100us) {
            seen.insert(paths.next(now));
        }
        CHECK(seen.size() == 4);
    }
}

TEST_CASE("AdaptivePaths: feedback on a path that does not exist is ignored")
{
    AdaptivePaths paths(4, 0);
    paths.feedback(PathId{4}, PathOutcome::good, start);
    lose(paths, PathId{200}, 5, start);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(srd::index_of(paths.next(start)) < 4);
    }
    CHECK(paths.blackouts() == 0);
}

TEST_CASE("AdaptivePaths: random feedback never breaks it")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 20; ++round) {
        const std::uint32_t count = 1 + static_cast<std::uint32_t>(random() % 64);
        AdaptivePaths paths(count, random());
        Time now = start;
        for (int step = 0; step < 20'000; ++step) {
            now += Duration(random() % (random() % 1000 == 0 ? 5'000'000'000U : 100'000U));
            REQUIRE(srd::index_of(paths.next(now)) < count);
            const PathId avoid{static_cast<std::uint8_t>(random() % count)};
            const PathId other = paths.next_avoiding(avoid, now);
            REQUIRE(srd::index_of(other) < count);
            REQUIRE((other != avoid || count == 1));
            paths.feedback(PathId{static_cast<std::uint8_t>(random() % count)},
                           static_cast<PathOutcome>(random() % 4), now);
            REQUIRE(paths.dark_count() < count);
        }
    }
}

TEST_CASE("AdaptivePaths: paths that are not open are never taken, whatever is said of them")
{
    AdaptivePaths paths(64, 5);
    Time now = start;
    drive(paths, now, 1000, [](PathId, Time) { return PathOutcome::good; });
    constexpr std::uint64_t even = 0x5555555555555555;
    paths.set_open(2, 1);
    paths.feedback(PathId{1}, PathOutcome::good, now); // of a packet that was sent before, or made up
    for (const unsigned odd : {3U, 5U, 7U}) {
        lose(paths, PathId(odd), 3, now);
    }
    CHECK(paths.dark_count() == 0);
    const auto used = drive(paths, now, 2000, [](PathId path, Time) {
        return srd::index_of(path) % 8 == 0 ? PathOutcome::lost : PathOutcome::good;
    });
    for (unsigned path = 0; path < 64; ++path) {
        CHECK((path % 2 == 0 || used[path] == 0));
    }
    for (std::uint64_t chance = 0; chance < 200; ++chance) {
        CHECK(srd::index_of(paths.any(chance)) % 2 == 0);
        CHECK(srd::index_of(paths.next_avoiding(PathId{2}, now)) % 2 == 0);
        CHECK(srd::index_of(paths.next_among(~even, now)) % 2 == 0); // none of those is open
        CHECK(srd::index_of(paths.next_among(std::uint64_t{1} << 6, now)) == 6);
    }
    paths.set_open(2, 3);
    const auto wide = drive(paths, now, 2000, [](PathId, Time) { return PathOutcome::good; });
    CHECK(wide[1] + wide[33] + wide[63] != 0); // although enough of the others come back
}

TEST_CASE("AdaptivePaths: the last open path is not given up")
{
    AdaptivePaths paths(30, 5); // of which 9 and 25 lead there
    paths.set_open(16, 1 << 9);
    lose(paths, PathId{9}, 5, start);
    lose(paths, PathId{25}, 5, start);
    CHECK(paths.dark_count() == 1);
    CHECK(paths.next(start) == PathId{25});
}

TEST_CASE("AdaptivePaths: nor is it when fewer are open than were before")
{
    AdaptivePaths paths(4, 0);
    lose(paths, PathId{0}, 5, start);
    CHECK(paths.dark_count() == 1);
    paths.set_open(4, 1);
    CHECK(paths.dark_count() == 0);
    CHECK(paths.next(start) == PathId{0});
}
