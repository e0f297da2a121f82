// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "lb/way_times.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;

namespace {

const Time start{Duration(1000s)};

/// What four batches in a row take that would all take `way`: the way to which one is moved, or that.
unsigned moved(WayTimes& times, unsigned way, std::uint32_t open, Time now)
{
    unsigned other = way;
    unsigned moves = 0;
    for (unsigned batch = 0; batch < WayTimes::period; ++batch) {
        const unsigned chosen = times.choose(way, open, now);
        other = chosen != way ? chosen : other;
        moves += chosen != way ? 1U : 0U;
    }
    CHECK(moves <= 1);
    return other;
}

} // namespace

TEST_CASE("WayTimes: a batch now and then leaves a way for one that is clearly faster")
{
    WayTimes times{};
    CHECK(moved(times, 2, 0b1111, start) == 2); // nothing is known
    times.on_sample(0, 100us, start);
    times.on_sample(1, 110us, start);
    times.on_sample(2, 200us, start);
    times.on_sample(3, 90us, start);
    CHECK(moved(times, 2, 0b1111, start) == 3);
    CHECK(moved(times, 2, 0b0111, start) == 0);
    CHECK(moved(times, 1, 0b0111, start) == 1); // by too little
    CHECK(moved(times, 3, 0b1111, start) == 3);
}

TEST_CASE("WayTimes: what was not heard of for a while counts as free, what has lost a packet does not")
{
    WayTimes times{};
    times.on_sample(0, 100us, start);
    times.on_sample(1, 500us, start);
    CHECK(moved(times, 0, 0b11, start) == 0);
    const Time later = start + WayTimes::while_fresh + 1ms;
    times.on_sample(0, 100us, later);
    CHECK(moved(times, 0, 0b11, later) == 1);
    times.on_lost(1, later);
    CHECK(moved(times, 0, 0b11, later) == 0);
    CHECK(moved(times, 1, 0b11, later) == 0);
    const Time again = later + WayTimes::while_fresh + 1ms;
    times.on_sample(0, 100us, again);
    CHECK(moved(times, 0, 0b11, again) == 1);
    times.on_lost(1, again);
    times.on_sample(1, 50us, again); // something came through
    CHECK(moved(times, 0, 0b11, again) == 1);
}

TEST_CASE("WayTimes: one sample is not all")
{
    WayTimes times{};
    for (int i = 0; i < 20; ++i) {
        times.on_sample(0, 100us, start);
        times.on_sample(1, 100us, start);
    }
    times.on_sample(1, 180us, start);
    CHECK(moved(times, 1, 0b11, start) == 1);
    times.on_sample(1, 180us, start);
    times.on_sample(1, 180us, start);
    CHECK(moved(times, 1, 0b11, start) == 0);
}

TEST_CASE("WayTimes: what has passed on one way says nothing of another")
{
    WayTimes times{};
    times.on_arrived(3, start + 1ms);
    times.on_arrived(3, start); // an earlier one says nothing new
    CHECK(times.has_passed(3, start));
    CHECK_FALSE(times.has_passed(3, start + 1ms));
    CHECK_FALSE(times.has_passed(2, start));
    times.on_lost(3, start + 2ms);
    CHECK(times.has_passed(3, start));
}

TEST_CASE(
    "WayTimes: a way is dead when so many packets in a row were lost on it, whatever gets through on others")
{
    WayTimes times{};
    for (unsigned i = 0; i + 1 < WayTimes::dead_losses; ++i) {
        times.on_lost(1, start);
        times.on_arrived(0, start);
    }
    CHECK_FALSE(times.is_dead(1));
    times.on_arrived(1, start);
    times.on_lost(1, start);
    CHECK_FALSE(times.is_dead(1));
    for (unsigned i = 1; i < WayTimes::dead_losses; ++i) {
        times.on_lost(1, start);
    }
    CHECK(times.is_dead(1));
    CHECK_FALSE(times.is_dead(0));
    times.revive(1);
    CHECK_FALSE(times.is_dead(1));
}
