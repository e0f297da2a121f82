// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/liveness.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;
using Kind = RouteNotice::Kind;
using Verdict = Liveness::Verdict;

const Time start{Duration(1h)};

struct Watch {
    /// The next look, with everything read that has come.
    Verdict look(bool unanswered = true, bool owed = false)
    {
        now = liveness.next_timeout();
        questions.on_rx_drained(now);
        return look_now(unanswered, owed);
    }
    Verdict look_now(bool unanswered = true, bool owed = false)
    {
        const Verdict verdict = liveness.check(unanswered, owed, RouteId{4}, questions, tuning, count, now);
        for (LivenessQuestions::Question question; questions.take(question);) {
            CHECK(question.route == RouteId{4});
            asked = question.probe;
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
    LivenessProbe asked{}; ///< last
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
    CHECK(watch.liveness.cause(watch.now) == Cause::never_answered);
}

TEST_CASE("Liveness: of one that was never heard, that it exists is no reason to wait")
{
    Watch watch;
    watch.liveness.on_greeting(start);
    while ((watch.latest = watch.look()) != Verdict::dead) {
        watch.liveness.on_answer(Kind::process_alive, watch.now, watch.now + 1ms);
        if (watch.asked == LivenessProbe::reads) {
            watch.liveness.on_answer(Kind::process_reads, watch.now, watch.now + 1ms);
        }
        REQUIRE(watch.now - start < 1min);
    }
    CHECK(watch.now - start == watch.tuning.connect_timeout + Liveness::interval);
    CHECK(watch.asked == LivenessProbe::reads);
    CHECK(watch.liveness.cause(watch.now) == Cause::not_heard);
}

TEST_CASE("Liveness: of one that was never heard, that it has not read is")
{
    Watch watch;
    watch.tuning.stopped_timeout = 2min;
    watch.liveness.on_greeting(start);
    const Duration until = GENERATE(Duration(50s), Duration(10min));
    while ((watch.latest = watch.look()) != Verdict::dead) {
        if (watch.asked == LivenessProbe::reads) {
            watch.liveness.on_answer(watch.now - start < until ? Kind::process_busy : Kind::process_reads,
                                     watch.now, watch.now);
        }
        REQUIRE(watch.now - start < 5min);
    }
    if (until == 50s) { // it begins to read, and the next question finds it so
        CHECK(watch.now - start == until + Liveness::interval);
    } else {
        CHECK(watch.now - start == 2min);
    }
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

TEST_CASE("Liveness: time in which nobody looked is no silence, however often a clock goes ahead")
{
    MetWatch watch;
    watch.look();
    for (int leap = 0; leap < 4; ++leap) {
        watch.questions.on_rx_drained(watch.now + 1ms);
        watch.now += 3min;
        CHECK(watch.look_now() == Verdict::wait);
        CHECK(watch.liveness.silence(watch.now) == (leap + 2) * Liveness::interval);
    }
}

TEST_CASE("Liveness: who looks seldom finds a death all the same")
{
    MetWatch watch;
    do {
        watch.questions.on_rx_drained(watch.now);
        watch.now += 2s;
        REQUIRE(watch.now - start < 1min);
    } while (watch.look_now() != Verdict::dead);
}

TEST_CASE("Liveness: a process that is seen to exist gets the time of one that is stopped")
{
    MetWatch watch;
    watch.tuning.stopped_timeout = 1min;
    Verdict verdict = Verdict::wait;
    while (verdict != Verdict::dead) {
        watch.liveness.on_answer(Kind::process_alive, watch.now + 1ms, watch.now + 1ms);
        verdict = watch.look();
        REQUIRE(watch.now - start < 2min);
    }
    CHECK(watch.now - start == 1min + Liveness::interval); // with its last call
    CHECK(watch.count.liveness_extensions.value() == 2 * 55);
}

TEST_CASE(
    "Liveness: a process that reads and yet answers nothing is cut off; one that has not read is waited for")
{
    for (const Kind says : {Kind::process_reads, Kind::process_busy}) {
        MetWatch watch;
        Verdict verdict = Verdict::wait;
        int asked = 0;
        while (verdict != Verdict::dead && watch.now - start < 10min) {
            watch.asked = {};
            verdict = watch.look();
            watch.liveness.on_answer(Kind::process_alive, watch.now, watch.now + 1ms);
            if (watch.asked == LivenessProbe::reads) {
                ++asked;
                watch.liveness.on_answer(says, watch.now, watch.now + 100ms);
            }
        }
        if (says == Kind::process_busy) {
            CHECK(verdict != Verdict::dead);
            continue;
        }
        CHECK(verdict == Verdict::dead);
        CHECK(watch.liveness.cause(watch.now) == Cause::cut_off);
        CHECK(asked == Liveness::reads_in_vain);
        // Silence, three questions two seconds apart, the last call.
        CHECK(watch.now - start == 5s + 4s + 2 * Liveness::interval);
    }
}

TEST_CASE("Liveness: a word of it, or that it was busy meanwhile, clears who reads in vain")
{
    for (const bool heard : {false, true}) {
        MetWatch watch;
        for (int i = 0; i < 2; ++i) {
            watch.liveness.on_answer(Kind::process_reads, watch.now + 1ms, watch.now + 1ms);
        }
        heard ? watch.liveness.on_heard(start + 2ms)
              : void(watch.liveness.on_answer(Kind::process_busy, start + 2ms, start + 2ms));
        watch.liveness.on_answer(Kind::process_reads, start + 3ms, start + 3ms);
        CHECK(watch.liveness.cause(start + 4ms) == Cause::stopped_answering);
    }
}

TEST_CASE("Liveness: existence is believed for the stated time after it was seen")
{
    MetWatch watch;
    watch.liveness.on_answer(Kind::process_alive, start + 3s, start + 3s);
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

TEST_CASE(
    "Liveness: nobody is there if ICMP and the answer to a question say so; that counts after its last words")
{
    MetWatch watch;
    Liveness& liveness = watch.liveness;
    const Time later = start + 100ms;
    const auto gone_by = [&](Time now) { return liveness.take_gone(now); };
    SECTION("both")
    {
        liveness.on_port_unreachable(later);
        CHECK(liveness.next_timeout() == later); // asks at once
        CHECK(watch.look() == Verdict::ask);
        CHECK(watch.asked == LivenessProbe::exists);
        CHECK_FALSE(gone_by(later + 1s));
        liveness.on_answer(Kind::process_gone, later, later + 1ms);
        CHECK_FALSE(gone_by(later + 1ms + Liveness::last_words_time - 1ns));
        CHECK(gone_by(later + 1ms + Liveness::last_words_time));
        CHECK_FALSE(gone_by(later + 1s)); // once
        CHECK(liveness.cause(later + 1s) == Cause::refused);
    }
    SECTION("in the other order")
    {
        liveness.on_answer(Kind::process_gone, later, later);
        CHECK_FALSE(gone_by(later + 1s));
        liveness.on_port_unreachable(later + 1s);
        CHECK(gone_by(later + 1s + Liveness::last_words_time));
    }
    SECTION("a sign of life clears both")
    {
        liveness.on_port_unreachable(later);
        liveness.on_heard(later + 1ms);
        liveness.on_answer(Kind::process_gone, later, later + 2ms); // asked before it
        CHECK_FALSE(gone_by(later + 1s));
        liveness.on_port_unreachable(later + 2s);
        CHECK_FALSE(gone_by(later + 3s));
    }
    SECTION("a process that is seen clears both")
    {
        liveness.on_port_unreachable(later);
        liveness.on_answer(Kind::process_alive, later, later);
        liveness.on_answer(Kind::process_gone, later, later);
        CHECK_FALSE(gone_by(later + 1s));
    }
    SECTION("another connection clears both")
    {
        liveness.on_port_unreachable(later);
        liveness.on_answer(Kind::process_gone, later, later);
        if (GENERATE(true, false)) {
            liveness.on_established(later);
        } else {
            liveness.on_greeting(later);
        }
        CHECK_FALSE(gone_by(later + 1s));
    }
}

TEST_CASE("Liveness: a stream of ICMP messages is one question in a while, and ends nothing by itself")
{
    MetWatch watch;
    unsigned questions = 0;
    Time now = start;
    for (; now < start + 4s; now += 1ms) {
        watch.questions.on_rx_drained(now);
        watch.liveness.on_port_unreachable(now);
        watch.liveness.on_host_unreachable(now);
        const auto verdict =
            watch.liveness.check(true, false, RouteId{4}, watch.questions, watch.tuning, watch.count, now);
        REQUIRE(verdict != Verdict::dead);
        REQUIRE_FALSE(watch.liveness.take_gone(now));
        for (LivenessQuestions::Question question; watch.questions.take(question);) {
            ++questions;
        }
    }
    CHECK(questions <= 16); // each look, and one of its own in between
}

TEST_CASE("Liveness: an idle peer that ICMP speaks of is asked once, and left in peace")
{
    MetWatch watch;
    watch.look(false);
    CHECK(watch.liveness.next_timeout() == time_never);
    watch.liveness.on_host_unreachable(start + 10s);
    CHECK(watch.look(false) == Verdict::ask);
    CHECK(watch.look(false) == Verdict::wait);
    CHECK(watch.liveness.next_timeout() == time_never);
}

TEST_CASE(
    "Liveness: that there is no way counts for strangers when it lasts, and names the cause of long silence")
{
    Liveness stranger(start);
    stranger.on_greeting(start);
    stranger.on_host_unreachable(start + 1ms); // a hint
    CHECK(stranger.cause(start + 1ms) == Cause::unreachable);
    CHECK_FALSE(stranger.on_answer(Kind::unreachable, start + 1ms, start + 2ms)); // a link that comes back
    const Time late = start + way_patience;
    CHECK_FALSE(stranger.on_answer(Kind::unreachable, late - 1ms, late - 1ms));
    CHECK(stranger.on_answer(Kind::unreachable, late, late));
    MetWatch watch;
    CHECK_FALSE(watch.liveness.on_answer(Kind::unreachable, start, start + 1ms));
    watch.while_it_says(Verdict::wait);
    CHECK(watch.now - start == watch.tuning.peer_timeout);
    CHECK(watch.look() == Verdict::dead);
    CHECK(watch.liveness.cause(watch.now) == Cause::unreachable);
    watch.liveness.on_heard(watch.now);
    CHECK(watch.liveness.cause(watch.now) == Cause::stopped_answering);
}

TEST_CASE("LivenessQuestions: a batch at a time, the next when what has come is read")
{
    LivenessQuestions questions;
    questions.on_rx_drained(start);
    CHECK(questions.empty());
    for (std::uint32_t i = 0; i < 64; ++i) {
        REQUIRE(questions.add({RouteId{i}, LivenessProbe::exists}, start + 1ms));
    }
    CHECK_FALSE(questions.add({RouteId{64}, LivenessProbe::exists}, start + 1ms));
    LivenessQuestions::Question question;
    unsigned taken = 0;
    while (questions.take(question)) {
        ++taken;
    }
    CHECK(taken == 64);
    CHECK_FALSE(
        questions.add({RouteId{64}, LivenessProbe::exists}, start + 1ms)); // their answers have no room yet
    questions.on_rx_drained(start + 1ms);
    CHECK_FALSE(questions.add({RouteId{64}, LivenessProbe::exists}, start + 1ms));
    questions.on_rx_drained(start + 1ms + 1ns);
    CHECK(questions.add({RouteId{64}, LivenessProbe::exists}, start + 2ms));
}

TEST_CASE("Liveness: a look that finds no room for its question stays due")
{
    MetWatch watch;
    const Time due = watch.liveness.next_timeout();
    for (std::uint32_t i = 0; i < 64; ++i) {
        watch.questions.on_rx_drained(due);
        REQUIRE(watch.questions.add({RouteId{i}, LivenessProbe::exists}, due));
    }
    CHECK(watch.liveness.check(true, false, RouteId{4}, watch.questions, watch.tuning, watch.count, due) ==
          Verdict::wait);
    CHECK(watch.liveness.check_due(due));
    CHECK(watch.count.liveness_probes.value() == 0);
}
