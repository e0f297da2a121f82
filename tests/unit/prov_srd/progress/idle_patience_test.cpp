// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/idle_patience.hpp"

#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;

namespace {

/// How many idle passes, 1 us each, until `idle` gives way; moves `now`.
int passes_until_it_gives_way(IdlePatience& idle, Time& now)
{
    int passes = 1;
    for (; !idle.after_pass(false, now); ++passes) {
        REQUIRE(passes < 100);
        now += 1us;
    }
    return passes;
}

/// Gives way and is away for so long.
void give_way(IdlePatience& idle, Time& now, Duration away)
{
    idle.gave_way(now, now + away);
    now += away;
}

} // namespace

TEST_CASE("idle patience: a thread gives way after a while, and soon where others took the core")
{
    IdlePatience idle;
    Time now{1s};
    CHECK(passes_until_it_gives_way(idle, now) == 21);
    give_way(idle, now, 500ns); // nobody there
    CHECK(passes_until_it_gives_way(idle, now) == 21);
    give_way(idle, now, 5us); // somebody ran
    CHECK(passes_until_it_gives_way(idle, now) == 8);
    give_way(idle, now, 3ms); // and computes
    CHECK(passes_until_it_gives_way(idle, now) == 21);
    give_way(idle, now, 5us);
    CHECK(passes_until_it_gives_way(idle, now) == 8);
    give_way(idle, now, 500ns); // has gone
    CHECK(passes_until_it_gives_way(idle, now) == 21);
}

TEST_CASE("idle patience: work starts it anew")
{
    IdlePatience idle;
    Time now{1s};
    for (int i = 0; i < 15; ++i) {
        REQUIRE(!idle.after_pass(false, now));
        now += 1us;
    }
    CHECK(!idle.after_pass(true, now));
    CHECK(passes_until_it_gives_way(idle, now) == 21);
}

TEST_CASE("idle patience: passes that take no time do not count as patience")
{
    IdlePatience idle;
    idle.gave_way(Time{1s}, Time{1s} + 5us);
    for (int i = 0; i < 1000; ++i) {
        REQUIRE(!idle.after_pass(false, Time{1s} + 10us));
    }
    CHECK(idle.after_pass(false, Time{1s} + 12us));
}
