// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <set>

#include "send/path_choice.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;

const Time start{Duration(1h)};

unsigned number(PathId path)
{
    return static_cast<unsigned>(path);
}

/// A choice among four paths in turn, the first being path 0.
PathChoice in_turn()
{
    return {PathPolicy::round_robin, 4, 0};
}

} // namespace

TEST_CASE("PathChoice: the packets of one batch share a path, the next batch takes another")
{
    PathChoice paths = in_turn();
    for (const bool bulk : {true, false}) {
        for (unsigned batch = 0; batch < 4; ++batch) {
            for (unsigned packet = 0; packet < 3; ++packet) {
                CHECK(number(paths.next(3, false, bulk, start)) == batch);
            }
        }
    }
}

TEST_CASE("PathChoice: batches of one or none are single packets")
{
    PathChoice paths = in_turn();
    CHECK(number(paths.next(1, false, true, start)) == 0);
    CHECK(number(paths.next(0, false, true, start)) == 1);
    CHECK(number(paths.next(1, false, false, start)) == 2);
}

TEST_CASE("PathChoice: a batch leaves a path that is heard to be bad")
{
    Counters count;
    PathChoice paths = in_turn();
    CHECK(number(paths.next(8, false, false, start)) == 0);
    paths.on_bad(PathId{0}, PathOutcome::lost, count, start);
    CHECK(number(paths.next(8, false, false, start)) == 1);
    paths.on_bad(PathId{0}, PathOutcome::lost, count, start);
    paths.on_bad(PathId{1}, PathOutcome::marked, count, start);
    CHECK(number(paths.next(8, false, false, start)) == 1);
    paths.on_timed_out(PathId{1}, count, start);
    CHECK(number(paths.next(8, false, false, start)) == 2);
    CHECK(count.paths[0].lost.value() == 2);
    CHECK(count.paths[1].lost.value() == 1);
    CHECK(count.paths[1].marked.value() == 1);
}

TEST_CASE("PathChoice: a lone packet stays on a path that works, until it is heard to be bad")
{
    PathChoice paths = in_turn();
    Counters count;
    const auto lone = [&paths] { return number(paths.next(1, true, false, start)); };
    CHECK(lone() == 0);
    CHECK(lone() == 1); // nothing is heard yet
    paths.on_good(PathId{0}, start);
    CHECK(lone() == 2); // that was another one
    paths.on_good(PathId{2}, start);
    CHECK(lone() == 2);
    CHECK(lone() == 2);
    paths.on_bad(PathId{2}, PathOutcome::marked, count, start);
    CHECK(lone() == 2); // slow, but it works
    paths.on_bad(PathId{1}, PathOutcome::lost, count, start);
    CHECK(lone() == 2);
    paths.on_bad(PathId{2}, PathOutcome::lost, count, start);
    CHECK(lone() == 3);
    paths.on_good(PathId{3}, start);
    CHECK(lone() == 3);
    paths.on_timed_out(PathId{3}, count, start);
    CHECK(lone() == 0);
}

TEST_CASE("PathChoice: a lone batch stays as a whole; what is more than a batch is spread")
{
    PathChoice paths = in_turn();
    CHECK(number(paths.next(3, true, false, start)) == 0);
    for (unsigned round = 0; round < 3; ++round) {
        paths.on_good(PathId{0}, start);
        CHECK(number(paths.next(3, true, false, start)) == 0);
        CHECK(number(paths.next(3, false, false, start)) == 0);
        CHECK(number(paths.next(3, false, false, start)) == 0);
    }
    CHECK(number(paths.next(3, false, false, start)) == 1); // the fourth of a turn
    paths.on_good(PathId{1}, start);
    CHECK(number(paths.next(3, true, true, start)) == 2);
}

TEST_CASE("PathChoice: a batch of short packets that goes on with long ones is no longer than these fit")
{
    PathChoice paths = in_turn();
    CHECK(number(paths.next(64, false, false, start)) == 0);
    for (int i = 0; i < 3; ++i) {
        CHECK(number(paths.next(3, false, false, start)) == 0);
    }
    CHECK(number(paths.next(3, false, false, start)) == 1);
}

TEST_CASE("PathChoice: a repetition avoids the path that lost it, despair takes any")
{
    for (const PathPolicy policy : {PathPolicy::adaptive, PathPolicy::round_robin}) {
        PathChoice paths(policy, 4, 1);
        std::set<unsigned> all;
        for (unsigned chance = 0; chance < 64; ++chance) {
            CHECK(number(paths.next_avoiding(PathId{2}, start)) != 2);
            all.insert(number(paths.any(chance)));
        }
        CHECK(all.size() == 4);
    }
}

TEST_CASE("PathChoice: one path is one path, whatever becomes of it")
{
    PathChoice paths(PathPolicy::single, 4, 6);
    Counters count;
    for (int i = 0; i < 10; ++i) {
        paths.on_bad(PathId{2}, PathOutcome::lost, count, start);
        CHECK(number(paths.next(1, false, false, start)) == 2);
        CHECK(number(paths.next_avoiding(PathId{2}, start)) == 2);
    }
    CHECK(count.path_switches.value() == 0);
    CHECK(number(PathChoice().next(4, false, true, start)) == 0);
}

TEST_CASE("PathChoice: what the policy makes of marks and losses is counted once")
{
    PathChoice paths(PathPolicy::adaptive, 4, 0);
    Counters count;
    paths.on_bad(PathId{1}, PathOutcome::marked, count, start);
    CHECK(count.path_switches.value() == 1);
    paths.on_bad(PathId{1}, PathOutcome::marked, count, start); // the same trouble
    CHECK(count.path_switches.value() == 1);
    for (int i = 0; i < 5; ++i) {
        paths.on_bad(PathId{3}, PathOutcome::lost, count, start);
    }
    CHECK(count.path_blackouts.value() == 1);
    for (const unsigned path : {0U, 2U, 0U, 1U, 2U}) { // the marked one is passed over once
        CHECK(number(paths.next(start)) == path);
    }
}
