// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/rails.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;

namespace {

const Time start{Duration(1000s)};

/// The peer of one with `ours` addresses has told `its`; way 0 is open.
Rails told(std::uint8_t ours, std::uint8_t its, std::uint16_t askable, Time now)
{
    Rails rails;
    rails.begin(now);
    rails.told(ours, its, askable, now);
    return rails;
}

/// What is asked about in `time`, as a bit for each way.
std::uint32_t asked_in(Rails& rails, Time& now, Duration time, unsigned& questions, bool busy = true)
{
    std::uint32_t asked = 0;
    for (const Time end = now + time; rails.next_timeout() < end;) {
        now = std::max(now, rails.next_timeout());
        rails.on_timeout(busy, now);
        if (const auto way = rails.take(now)) {
            asked |= 1U << *way;
            ++questions;
        }
    }
    return asked;
}

} // namespace

TEST_CASE("Rails: a peer whose addresses are not known takes all paths on the first way")
{
    Rails rails;
    CHECK(rails.next_timeout() == time_never);
    for (unsigned path = 0; path < max_paths; ++path) {
        CHECK(rails.way_of(PathId(path)) == 0);
    }
    CHECK_FALSE(rails.several());
    CHECK(rails.paths_back(13) == 0);
}

TEST_CASE("Rails: what the peer's addresses are is asked until it tells")
{
    Rails rails;
    Time now = start;
    rails.begin(now);
    unsigned questions = 0;
    CHECK(asked_in(rails, now, 200ms, questions) == 1);
    CHECK(questions >= 4);
    rails.told(2, 2, 0b1111, now);
    CHECK(asked_in(rails, now, 5ms, questions) == 0b1110); // the first needs no answer
}

TEST_CASE("Rails: only what was shown to get there is open")
{
    Time now = start;
    Rails rails = told(2, 2, 0b1011, now);
    CHECK(rails.open() == 0b0001);
    CHECK_FALSE(rails.several());
    CHECK_FALSE(rails.on_answer(2)); // no packet can go there
    CHECK_FALSE(rails.on_answer(0)); // nothing new
    CHECK(rails.on_answer(3));
    CHECK_FALSE(rails.on_answer(3));
    CHECK(rails.open() == 0b1001);
    CHECK(rails.several());
    unsigned questions = 0;
    CHECK(asked_in(rails, now, 100ms, questions) == 0b0010);
    CHECK(rails.on_answer(1));
    CHECK(asked_in(rails, now, 100s, questions) == 0);
    CHECK(rails.next_timeout() == time_never);
}

TEST_CASE("Rails: what does not answer is asked about more and more seldom, and never while the peer is idle")
{
    Time now = start;
    Rails rails = told(4, 4, 0xffff, now);
    unsigned questions = 0;
    CHECK(asked_in(rails, now, 100s, questions) == 0xfffe);
    const unsigned in_a_while = questions;
    CHECK(in_a_while < 15 * 25);
    CHECK(asked_in(rails, now, 100s, questions) == 0xfffe);
    CHECK(questions - in_a_while < 15 * 15);
    const unsigned before = questions;
    asked_in(rails, now, 1000s, questions, false);
    CHECK(questions - before <= 15); // the round that had begun
    CHECK(rails.next_timeout() == time_never);
    rails.on_traffic(now);
    CHECK(asked_in(rails, now, 20ms, questions) == 0xfffe);
}

TEST_CASE("Rails: a way that died is asked about soon and for ever, and the last one is kept")
{
    Rails rails = told(2, 1, 0b11, start);
    CHECK_FALSE(rails.close(0, start)); // the only one that is open
    REQUIRE(rails.on_answer(1));
    Time now = start + 1s;
    REQUIRE(rails.close(0, now));
    CHECK(rails.open() == 0b10);
    CHECK_FALSE(rails.several());
    CHECK_FALSE(rails.close(0, now));
    CHECK_FALSE(rails.close(1, now));
    CHECK(rails.next_timeout() == now + Rails::pause_first);
    for (int question = 0; question < 20; ++question) {
        const Time asked = rails.next_timeout();
        REQUIRE(asked - now <= Rails::pause_first * (1 << Rails::max_doublings_again));
        now = asked;
        rails.on_timeout(true, now);
        REQUIRE(rails.any_due());
        CHECK(rails.take(now) == 0);
    }
    CHECK(rails.on_answer(0)); // the first way as well
    CHECK(rails.open() == 0b11);
}

TEST_CASE("Rails: acknowledgements go back where packets came from")
{
    // Ours are 2, the peer's 3. It numbers: its own address + 3 * ours.
    const Rails rails = told(2, 3, 0b111111, start);
    for (unsigned own = 0; own < 2; ++own) {
        for (unsigned its = 0; its < 3; ++its) {
            const auto theirs = static_cast<std::uint8_t>(its + 3 * own + 6 * 4); // one of its paths
            const unsigned way = own + 2 * its;
            std::uint64_t expected = 0;
            for (unsigned path = way; path < max_paths; path += 6) {
                expected |= std::uint64_t{1} << path;
            }
            CHECK(rails.paths_back(theirs) == expected);
        }
    }
}

TEST_CASE("Rails: a question goes by some path of its way")
{
    const Rails rails = told(2, 2, 0b1111, start);
    for (std::uint8_t way = 0; way < 4; ++way) {
        std::uint64_t seen = 0;
        for (std::uint64_t chance = 0; chance < 100; ++chance) {
            const PathId path = rails.path_to(way, 63, chance);
            REQUIRE(index_of(path) < 63);
            CHECK(rails.way_of(path) == way);
            seen |= std::uint64_t{1} << index_of(path);
        }
        CHECK(std::popcount(seen) == (way == 3 ? 15 : 16));
    }
}

TEST_CASE("OwedRails: questions wait for their connection's turn, and only the latest")
{
    OwedRails owed;
    for (std::uint64_t connection = 1; connection <= 65; ++connection) {
        owed.add({connection, connection * 7, static_cast<std::uint8_t>(connection % 16)});
    }
    CHECK_FALSE(owed.take(1).has_value()); // its place was needed
    const auto question = owed.take(2);
    REQUIRE(question.has_value());
    CHECK(question->nonce == 14);
    CHECK(question->way == 2);
    CHECK_FALSE(owed.take(2).has_value());
}
