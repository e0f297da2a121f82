// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/liveness.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;
using Verdict = Liveness::Verdict;

const Time start{Duration(1h)};

struct Watch {
    /// The next look, with everything read that has come.
    Verdict look(bool unanswered = true, bool owed = false)
    {
        now = liveness.next_timeout();
        questions.on_rx_drained(now);
        const Verdict verdict = liveness.check(unanswered, owed, RouteId{4}, questions, tuning, count, now);
        for (RouteId route{}; questions.take(route);) {
            CHECK(route == RouteId{4});
        }
        return verdict;
    }
    /// Looks until something else than `what`; how long that took since the start.
    Duration while_it_says(Verdict what, bool unanswered = true, bool owed = false)
    {
        while ((latest = look(unanswered, owed)) == what) {
            REQUIRE(now - start < 10min);
        }
        return now - start;
    }

    Tuning tuning;
    Counters count;
    LivenessQuestions questions;
    Liveness liveness{start};
    Time now = start;
    Verdict latest = Verdict::wait;
};

/// Of a peer that was heard at the start, and owes us something since then.
struct MetWatch : Watch {
    MetWatch()
    {
        liveness.on_heard(start);
        liveness.on_wait_begins(start);
    }
};

} // namespace

TEST_CASE("Liveness: who owes nothing is not looked at")
{
    MetWatch watch;
    CHECK(watch.liveness.next_timeout() == start + Liveness::interval);
    CHECK(watch.look(false) == Verdict::wait);
    CHECK(watch.liveness.next_timeout() == time_never);
    CHECK(watch.count.liveness_probes.value() == 0);
    watch.liveness.on_wait_begins(start + 10s);
    CHECK(watch.liveness.next_timeout() == start + 10s + Liveness::interval);
}

TEST_CASE("Liveness: a silent peer is dead after the stated time, and a last question in vain")
{
    MetWatch watch;
    CHECK(watch.while_it_says(Verdict::wait) == watch.tuning.peer_timeout);
    CHECK(watch.latest == Verdict::ask);
    CHECK(watch.look() == Verdict::dead);
    CHECK(watch.now - start == watch.tuning.peer_timeout + Liveness::interval);
    CHECK(watch.count.liveness_probes.value() == 11);
}

TEST_CASE("Liveness: an address that never answered gets longer")
{
    Watch watch;
    watch.liveness.on_greeting(start);
    CHECK_FALSE(watch.liveness.heard());
    CHECK(watch.while_it_says(Verdict::wait) == watch.tuning.connect_timeout);
    CHECK(watch.latest == Verdict::ask);
    CHECK(watch.look() == Verdict::dead);
}

TEST_CASE("Liveness: anything heard starts the time anew, and takes the last call back")
{
    MetWatch watch;
    watch.while_it_says(Verdict::wait);
    CHECK(watch.latest == Verdict::ask);
    const Time heard = watch.now + 1ms;
    watch.liveness.on_heard(heard);
    CHECK(watch.liveness.next_timeout() == heard + Liveness::interval);
    watch.while_it_says(Verdict::wait);
    CHECK(watch.now - heard == watch.tuning.peer_timeout);
    CHECK(watch.latest == Verdict::ask);
}

TEST_CASE("Liveness: time in which nothing was owed is no silence")
{
    MetWatch watch;
    watch.look(false);
    const Time later = start + 1min;
    watch.liveness.on_wait_begins(later);
    watch.while_it_says(Verdict::wait);
    CHECK(watch.now - later == watch.tuning.peer_timeout);
}

TEST_CASE("Liveness: a peer that owes an answer without packets on their way is asked all along")
{
    MetWatch watch;
    CHECK(watch.while_it_says(Verdict::ask, false, true) == watch.tuning.peer_timeout + Liveness::interval);
    CHECK(watch.latest == Verdict::dead);
}

TEST_CASE("Liveness: nobody is given up before all that has come is read")
{
    MetWatch watch;
    watch.while_it_says(Verdict::wait);
    const Time due = watch.liveness.next_timeout();
    const Time late = due + 10s;                    // we were stopped
    watch.questions.on_rx_drained(watch.now + 1ms); // before that: there is room for questions
    const auto check = [&] {
        return watch.liveness.check(true, false, RouteId{4}, watch.questions, watch.tuning, watch.count,
                                    late);
    };
    CHECK(check() == Verdict::wait);
    CHECK(watch.liveness.check_due(late)); // it stays due
    CHECK(check() == Verdict::wait);
    watch.questions.on_rx_drained(late);
    CHECK(check() == Verdict::dead);
}

TEST_CASE("Liveness: a process that is seen to exist gets the time of one that is stopped")
{
    MetWatch watch;
    watch.tuning.stopped_timeout = 1min;
    Verdict verdict = Verdict::wait;
    while (verdict != Verdict::dead) {
        watch.liveness.on_process_alive(watch.now + 1ms);
        verdict = watch.look();
        REQUIRE(watch.now - start < 2min);
    }
    CHECK(watch.now - start == 1min + Liveness::interval); // with its last call
    CHECK(watch.count.liveness_extensions.value() == 2 * 55);
}

TEST_CASE("Liveness: existence is believed for the stated time after it was seen")
{
    MetWatch watch;
    watch.liveness.on_process_alive(start + 3s);
    while ((watch.latest = watch.look()) != Verdict::dead) {
        REQUIRE(watch.now - start < 1min);
    }
    CHECK(watch.now - start == 8500ms);
    CHECK(watch.count.liveness_extensions.value() == 6);
}

TEST_CASE("Liveness: who is asked for a proof owes one, until it is heard")
{
    Watch watch;
    watch.liveness.on_heard(start);
    watch.look(false);
    CHECK_FALSE(watch.liveness.is_silent(start + Liveness::interval - 1ns));
    CHECK(watch.liveness.is_silent(start + Liveness::interval));
    const Time demanded = start + 10s;
    watch.liveness.demand_proof(demanded);
    CHECK(watch.liveness.next_timeout() == demanded + Liveness::interval);
    watch.liveness.demand_proof(demanded + 400ms); // the same again
    CHECK(watch.liveness.next_timeout() == demanded + Liveness::interval);
    SECTION("it lives")
    {
        CHECK(watch.look(false) == Verdict::ask);
        watch.liveness.on_heard(watch.now);
        CHECK(watch.look(false) == Verdict::wait);
        CHECK(watch.liveness.next_timeout() == time_never);
    }
    SECTION("it does not")
    {
        watch.while_it_says(Verdict::ask, false);
        CHECK(watch.latest == Verdict::dead);
        CHECK(watch.now - demanded == watch.tuning.peer_timeout + Liveness::interval);
    }
}

TEST_CASE("Liveness: the news that a process is gone counts after its last words, once")
{
    Liveness liveness(start);
    CHECK_FALSE(liveness.take_gone(start));
    liveness.on_process_gone(start);
    liveness.on_process_gone(start + 1ms); // it stays the first
    CHECK(liveness.next_timeout() == start + Liveness::last_words_time);
    CHECK_FALSE(liveness.take_gone(start + Liveness::last_words_time - 1ns));
    CHECK(liveness.take_gone(start + Liveness::last_words_time));
    CHECK_FALSE(liveness.take_gone(start + 1s));
    liveness.on_process_gone(start);
    liveness.on_established(start); // that was about the one before
    CHECK_FALSE(liveness.take_gone(start + 1s));
    liveness.on_process_gone(start);
    liveness.on_greeting(start);
    CHECK_FALSE(liveness.take_gone(start + 1s));
}

TEST_CASE("Liveness: a router's word counts for strangers, and where there is long silence")
{
    const Tuning tuning;
    Liveness liveness(start);
    CHECK(liveness.believes_unreachable(tuning, start));
    liveness.on_heard(start);
    CHECK_FALSE(liveness.believes_unreachable(tuning, start + tuning.peer_timeout - 1ns));
    CHECK(liveness.believes_unreachable(tuning, start + tuning.peer_timeout));
    liveness.on_process_alive(start + 1s);
    CHECK_FALSE(liveness.believes_unreachable(tuning, start + tuning.peer_timeout));
    liveness.on_wait_begins(start + 2s);
    CHECK_FALSE(liveness.believes_unreachable(tuning, start + 1s + tuning.peer_timeout));
    CHECK(liveness.believes_unreachable(tuning, start + 2s + tuning.peer_timeout));
}

TEST_CASE("LivenessQuestions: a batch at a time, the next when what has come is read")
{
    LivenessQuestions questions;
    questions.on_rx_drained(start);
    CHECK(questions.empty());
    for (std::uint32_t i = 0; i < 64; ++i) {
        REQUIRE(questions.add(RouteId{i}, start + 1ms));
    }
    CHECK_FALSE(questions.add(RouteId{64}, start + 1ms));
    RouteId route{};
    unsigned taken = 0;
    while (questions.take(route)) {
        ++taken;
    }
    CHECK(taken == 64);
    CHECK_FALSE(questions.add(RouteId{64}, start + 1ms)); // their answers have no room yet
    questions.on_rx_drained(start + 1ms);
    CHECK_FALSE(questions.add(RouteId{64}, start + 1ms));
    questions.on_rx_drained(start + 1ms + 1ns);
    CHECK(questions.add(RouteId{64}, start + 2ms));
}

TEST_CASE("Liveness: a look that finds no room for its question stays due")
{
    MetWatch watch;
    const Time due = watch.liveness.next_timeout();
    for (std::uint32_t i = 0; i < 64; ++i) {
        watch.questions.on_rx_drained(due);
        REQUIRE(watch.questions.add(RouteId{i}, due));
    }
    CHECK(watch.liveness.check(true, false, RouteId{4}, watch.questions, watch.tuning, watch.count, due) ==
          Verdict::wait);
    CHECK(watch.liveness.check_due(due));
    CHECK(watch.count.liveness_probes.value() == 0);
}
