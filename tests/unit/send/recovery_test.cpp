// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <vector>

#include "send/recovery.hpp"
#include "support/catch.hpp"
#include "unit/send/sender_parts.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;
using Repair = TxSlot::Repair;
using Probe = Recovery::Probe;
using Slots = std::vector<std::uint32_t>;

const Time start{Duration(1h)};
constexpr Duration round_trip = 100us;
/// Round trip and margin while no repetition was needless.
constexpr Duration loss_delay = 150us;
/// 100 us + 4 * 50 us, which is the floor as well.
constexpr Duration timeout = 300us;

struct Flow : SenderParts {
    explicit Flow(bool measured = true, std::uint32_t first_psn = 100) : SenderParts(first_psn)
    {
        if (measured) {
            recovery.add_rtt(round_trip, start, 0ns);
        }
    }
    /// The packet is acknowledged, unambiguously.
    void acked(std::uint32_t slot, bool ambiguous = false)
    {
        recovery.on_acked(pool[slot], ambiguous);
        ack(slot);
    }
    Slots lost_at(Time now, bool refused = false, bool tail = false)
    {
        sample = recovery.detect(
            window, pool, refused, tail, now, [this](const TxSlot& slot) { return slot.path == elsewhere; },
            [](const TxSlot&) {});
        Slots lost;
        for (std::uint32_t at = window.first_lost(); at != no_index; at = window.first_lost()) {
            lost.push_back(at);
            window.sent(pool, at, now); // taken off the list
        }
        check();
        return lost;
    }
    Recovery::ProbeResult silence(Time now)
    {
        return recovery.on_probe_timer(window, pool, blocked, tuning, now);
    }
    /// Probe timers until only questions go out.
    void be_fruitless(Time now)
    {
        for (unsigned i = 0; i < Recovery::fruitless_probes; ++i) {
            silence(now);
            repair(now);
        }
        REQUIRE(recovery.is_fruitless());
    }

    Tuning tuning;
    Counters count;
    Recovery recovery;
    LossSample sample;
    bool blocked = false;
    PathId elsewhere = no_id<PathId>; ///< where packets may be queued longer
};

constexpr auto nowhere = [](const TxSlot&) { return false; };

} // namespace

TEST_CASE("Recovery: what was sent before an acknowledged packet is lost after the reordering window")
{
    Flow flow;
    Slots slots;
    for (int i = 0; i < 4; ++i) {
        slots.push_back(flow.burst(1, start + i * 10us).front());
    }
    CHECK(flow.lost_at(start + 1s).empty()); // nothing later is known to have arrived
    CHECK(flow.recovery.next_timeout() == time_never);
    flow.acked(slots[2]);
    CHECK(flow.lost_at(start + 120us).empty());
    CHECK(flow.recovery.next_timeout() == start + loss_delay);
    CHECK_FALSE(flow.recovery.loss_due(start + loss_delay - 1ns));
    CHECK(flow.recovery.loss_due(start + loss_delay));
    CHECK(flow.lost_at(start + loss_delay - 1ns).empty());
    CHECK(flow.lost_at(start + loss_delay) == Slots{slots[0]});
    CHECK(flow.pool[slots[0]].repair() == Repair::rack);
    CHECK(flow.recovery.next_timeout() == start + 10us + loss_delay);
    CHECK(flow.lost_at(start + 1s) == Slots{slots[1]}); // not the fourth, sent later
    CHECK(flow.recovery.next_timeout() == time_never);
}

TEST_CASE(
    "Recovery: what has gone through another interface gets longer, and keeps nobody from being found lost")
{
    Flow flow;
    flow.elsewhere = PathId{7};
    const Slots slots = flow.burst(4, start);
    flow.pool[slots[0]].path = flow.elsewhere;
    flow.pool[slots[2]].path = flow.elsewhere;
    flow.acked(slots[3]);
    CHECK(flow.lost_at(start + loss_delay) == Slots{slots[1]});
    const Time late = start + Recovery::queue_patience * loss_delay;
    CHECK(flow.recovery.next_timeout() == late);
    CHECK(flow.lost_at(late - 1ns).empty());
    CHECK(flow.lost_at(late) == Slots{slots[0], slots[2]});
}

TEST_CASE("Recovery: packets of one burst, in the order of their psns, across the wrap")
{
    for (const std::uint32_t first : {100U, 0xffffffffU, 0xfffffffeU}) {
        Flow flow(true, first);
        const Slots slots = flow.burst(4, start);
        flow.acked(slots[2]);
        flow.acked(slots[1]); // an earlier one says nothing new
        CHECK(flow.lost_at(start + 1s) == Slots{slots[0]});
    }
}

TEST_CASE("Recovery: what it tells the congestion policy, and the path chooser")
{
    Flow flow;
    const Slots slots = flow.burst(3, start);
    flow.pool[slots[0]].path = PathId{3};
    flow.pool[slots[1]].path = PathId{5};
    flow.acked(slots[2]);
    std::vector<PathId> paths;
    const LossSample sample =
        flow.recovery.detect(flow.window, flow.pool, false, false, start + loss_delay, nowhere,
                             [&](const TxSlot& slot) { paths.push_back(slot.path); });
    CHECK(paths == std::vector{PathId{3}, PathId{5}});
    CHECK(sample.now == start + loss_delay);
    CHECK(sample.lost_bytes == 2 * 116);
    CHECK(sample.in_flight == 2 * 116);
    CHECK_FALSE(sample.timeout);
}

TEST_CASE("Recovery: a repetition acknowledged by chance of either copy proves nothing (Karn)")
{
    Flow flow;
    const Slots slots = flow.burst(2, start);
    flow.window.lose(flow.pool, slots[0], Repair::rack, false);
    const std::uint32_t later = flow.burst(1, start + 10us).front();
    flow.repair(start + 20us);
    flow.acked(slots[0], true); // the original's, as far as we know
    CHECK(flow.lost_at(start + 1s).empty());
    flow.acked(slots[1]);
    CHECK(flow.lost_at(start + 1s).empty());
    CHECK(flow.state(later) == TxSlot::State::in_flight);
    // An echo of the latest copy is proof.
    flow.window.lose(flow.pool, later, Repair::rack, false);
    const std::uint32_t between = flow.burst(1, start + 2s).front();
    flow.repair(start + 3s);
    flow.acked(later, false);
    CHECK(flow.lost_at(start + 4s) == Slots{between});
}

TEST_CASE("Recovery: nothing is lost to a peer that refuses messages")
{
    Flow flow;
    const Slots slots = flow.burst(2, start);
    flow.acked(slots[1]);
    CHECK(flow.lost_at(start + 10us).empty());
    CHECK(flow.recovery.next_timeout() == start + loss_delay);
    CHECK(flow.lost_at(start + 1s, true).empty());
    CHECK(flow.recovery.next_timeout() == time_never);
    CHECK(flow.lost_at(start + 1s, false) == Slots{slots[0]});
}

TEST_CASE("Recovery: needless repetitions widen the reordering window, their absence narrows it")
{
    Flow flow;
    const auto delay = [&flow] {
        flow.recovery.on_resend_all();
        const Slots slots = flow.burst(2, start);
        flow.acked(slots[1]);
        REQUIRE(flow.lost_at(start).empty());
        const Duration result = flow.recovery.next_timeout() - start;
        flow.acked(slots[0]);
        return result;
    };
    CHECK(delay() == loss_delay);
    std::uint16_t duplicates = 0;
    for (const Duration margin : {100us, 200us, 400us, 400us}) {
        flow.recovery.on_duplicates(duplicates = static_cast<std::uint16_t>(duplicates + 3), flow.count);
        CHECK(delay() == round_trip + margin);
    }
    CHECK(flow.count.retransmits_spurious.value() == 12);
    for (const Duration margin : {200us, 100us, 50us}) {
        for (int round = 0; round < 63; ++round) {
            flow.recovery.on_duplicates(duplicates, flow.count);
        }
        CHECK(delay() == round_trip + 2 * margin);
        flow.recovery.on_duplicates(duplicates, flow.count);
        CHECK(delay() == round_trip + margin);
    }
    flow.recovery.on_duplicates(static_cast<std::uint16_t>(duplicates + packet_window + 1), flow.count);
    CHECK(delay() == loss_delay); // more than could have been repeated
    CHECK(flow.count.retransmits_spurious.value() == 12);
}

TEST_CASE("Recovery: the count of duplicates wraps")
{
    Flow flow;
    for (std::uint32_t count = 0; count <= 0xffff; count += packet_window) {
        flow.recovery.on_duplicates(static_cast<std::uint16_t>(count), flow.count);
    }
    const std::uint64_t before = flow.count.retransmits_spurious.value();
    flow.recovery.on_duplicates(static_cast<std::uint16_t>(0x10000), flow.count);
    CHECK(flow.count.retransmits_spurious.value() == before + packet_window);
}

TEST_CASE("Recovery: while no round trip is measured, the delays are those of nothing known")
{
    Flow flow(false);
    const Slots slots = flow.burst(2, start);
    flow.recovery.on_sent(1000, flow.tuning, 1, start);
    CHECK(flow.recovery.next_timeout() == start + Recovery::delay_unknown);
    flow.acked(slots[1]);
    CHECK(flow.lost_at(start + Recovery::delay_unknown - 1ns).empty());
    CHECK(flow.lost_at(start + Recovery::delay_unknown) == Slots{slots[0]});
    Time now = start;
    for (const Duration wait : {2ms, 4ms, 8ms, 16ms, 32ms, 64ms, 100ms, 100ms}) {
        flow.silence(now);
        CHECK(flow.recovery.next_timeout() - now == wait);
        now = flow.recovery.next_timeout();
        flow.repair(now);
    }
}

TEST_CASE("Recovery: the probe timer runs from the first packet, and from the latest progress")
{
    Flow flow;
    const Slots slots = flow.burst(2, start);
    flow.recovery.on_sent(1000, flow.tuning, 1, start);
    flow.recovery.on_sent(1000, flow.tuning, 1, start + 100us);
    CHECK(flow.recovery.next_timeout() == start + timeout);
    CHECK_FALSE(flow.recovery.probe_due(start + timeout - 1ns));
    CHECK(flow.recovery.probe_due(start + timeout));
    flow.acked(slots[0]);
    flow.recovery.on_progress(true, flow.tuning, 1, start + 200us);
    CHECK(flow.recovery.next_timeout() == start + 200us + timeout);
    flow.acked(slots[1]);
    flow.recovery.on_progress(false, flow.tuning, 1, start + 250us);
    CHECK(flow.recovery.next_timeout() == time_never);
    CHECK(flow.silence(start + 1s).probe == Probe::nothing);
    CHECK(flow.recovery.next_timeout() == time_never);
}

TEST_CASE("Recovery: first the newest goes again, then the oldest, then only questions go out")
{
    Flow flow;
    const Slots slots = flow.burst(3, start);
    Time now = start + timeout;
    const auto tail = flow.silence(now);
    CHECK(tail.probe == Probe::repeat);
    CHECK(tail.slot == slots[2]);
    CHECK(flow.window.first_lost() == slots[2]);
    CHECK(flow.pool[slots[2]].repair() == Repair::probe);
    CHECK(flow.repair(now) == Slots{slots[2]});

    flow.window.lose(flow.pool, slots[1], Repair::rack, false);
    const auto oldest = flow.silence(now += 1ms);
    CHECK(oldest.probe == Probe::repeat);
    CHECK(oldest.slot == slots[0]);
    CHECK(flow.pool[slots[0]].repair() == Repair::timeout);
    CHECK_FALSE(flow.recovery.is_fruitless());
    CHECK(flow.repair(now) == Slots{slots[0], slots[1]}); // before what was lost already

    CHECK(flow.silence(now += 1ms).probe == Probe::repeat);
    CHECK(flow.repair(now) == Slots{slots[2]});
    const auto last = flow.silence(now += 1ms);
    CHECK(last.probe == Probe::ask);
    CHECK(last.slot == slots[0]);
    CHECK(flow.recovery.is_fruitless());
    flow.repair(now);
    for (int i = 0; i < 300; ++i) {
        const auto question = flow.silence(now += 1ms);
        CHECK(question.probe == Probe::ask);
        CHECK(question.slot == no_index);
        REQUIRE_FALSE(flow.window.any_lost());
    }
    flow.check();
}

TEST_CASE("Recovery: the interval doubles once patience is at its end, up to the ceiling")
{
    Flow flow;
    flow.burst(3, start);
    Time now = start;
    for (const int factor : {1, 1, 1, 1, 2, 4, 8, 16, 32, 64, 128, 256}) {
        flow.silence(now);
        CHECK(flow.recovery.next_timeout() - now == timeout * factor);
        now = flow.recovery.next_timeout();
        flow.repair(now);
    }
    for (int i = 0; i < 300; ++i) {
        flow.silence(now);
        REQUIRE(flow.recovery.next_timeout() - now == flow.tuning.rto_max);
        now = flow.recovery.next_timeout();
    }
    flow.recovery.on_progress(true, flow.tuning, 1, now);
    CHECK(flow.recovery.next_timeout() - now == timeout);
    CHECK_FALSE(flow.recovery.is_fruitless());
}

TEST_CASE("Recovery: heard of a peer that was only asked: one more repetition")
{
    Flow flow;
    const Slots slots = flow.burst(3, start);
    CHECK_FALSE(flow.recovery.on_heard(true, flow.tuning, 1, start)); // it was not only asked
    flow.be_fruitless(start + 1ms);
    CHECK_FALSE(flow.recovery.on_heard(false, flow.tuning, 1, start + 2ms));
    CHECK(flow.recovery.is_fruitless());
    CHECK(flow.recovery.on_heard(true, flow.tuning, 1, start + 2ms));
    CHECK(flow.recovery.next_timeout() == start + 2ms + timeout);
    const auto repeated = flow.silence(start + 3ms);
    CHECK(repeated.slot != no_index);
    CHECK(flow.pool[repeated.slot].repair() == Repair::timeout);
    flow.repair(start + 3ms);
    CHECK(flow.silence(start + 4ms).slot == no_index); // and no other until more is heard
    CHECK(flow.recovery.on_heard(true, flow.tuning, 1, start + 5ms));
    CHECK(flow.silence(start + 6ms).slot != no_index);
}

TEST_CASE("Recovery: no probes to a peer that refuses messages; sending everything anew stops the timers")
{
    Flow flow;
    flow.burst(2, start);
    flow.recovery.on_sent(1000, flow.tuning, 1, start);
    flow.blocked = true;
    CHECK(flow.silence(start + timeout).probe == Probe::nothing);
    CHECK(flow.recovery.next_timeout() == time_never);
    CHECK_FALSE(flow.window.any_lost());
    flow.recovery.on_sent(1000, flow.tuning, 1, start + 1ms);
    CHECK(flow.recovery.next_timeout() == start + 1ms + timeout);
    flow.recovery.on_resend_all();
    CHECK(flow.recovery.next_timeout() == time_never);
}

TEST_CASE("Recovery: a loss counts as a timeout only after two probes in vain, with nothing left in flight")
{
    for (const int probes : {0, 1, 2}) {
        for (const std::size_t later : {0U, 1U}) {
            Flow flow;
            const Slots slots = flow.burst(2, start);
            for (int i = 0; i < probes; ++i) {
                flow.silence(start);
                flow.repair(start);
            }
            flow.recovery.on_acked(flow.pool[slots[1]], false);
            flow.ack(slots[1]);
            flow.burst(later, start + 1s);
            flow.recovery.detect(flow.window, flow.pool, false, false, start, nowhere, [](const TxSlot&) {});
            const LossSample sample = flow.recovery.detect(flow.window, flow.pool, false, false, start + 1s,
                                                           nowhere, [](const TxSlot&) {});
            CHECK(sample.timeout == (probes == 2 && later == 0));
        }
    }
}

TEST_CASE("Recovery: a packet that waits for its acknowledgement as long as others did is not lost")
{
    Flow flow;
    const Slots slots = flow.burst(2, start);
    flow.recovery.add_response(220us); // the margin is 50 us
    flow.acked(slots[1]);
    CHECK(flow.lost_at(start + 269us).empty());
    CHECK(flow.lost_at(start + 270us) == Slots{slots[0]});
}

TEST_CASE("Recovery: what is beyond all measure does not postpone losses")
{
    Flow flow;
    const Slots slots = flow.burst(2, start);
    flow.recovery.add_response(10ms); // counts as three round trips
    flow.acked(slots[1]);
    CHECK(flow.lost_at(start + 350us) == Slots{slots[0]});
}

TEST_CASE("Recovery: when nothing else is to be sent, a packet is lost as soon as it is late")
{
    for (const bool tail : {false, true}) {
        Flow flow;
        flow.recovery.add_rtt(1ms, start, 0ns); // one slow path: it is slow for a long time
        for (int i = 0; i < 40; ++i) {
            flow.recovery.add_rtt(round_trip, start, 0ns);
        }
        const Slots slots = flow.burst(2, start);
        flow.acked(slots[1]);
        CHECK(flow.lost_at(start + 200us, false, tail).empty() != tail);
        if (!tail) {
            CHECK(flow.lost_at(start + 1050us) == Slots{slots[0]});
        }
    }
}

TEST_CASE("Recovery: the last packets are late when others take a quarter less, more where that was in vain")
{
    Flow flow(false);
    for (int i = 0; i < 40; ++i) {
        flow.recovery.add_rtt(round_trip, start, 0ns); // so evenly that there is no deviation left
    }
    const auto late_after = [&flow] {
        const Slots slots = flow.burst(2, start);
        flow.acked(slots[1]);
        Time now = start + round_trip;
        while (flow.lost_at(now, false, true).empty()) {
            now += 1us;
        }
        flow.acked(slots[0]);
        return now - start - round_trip;
    };
    CHECK(late_after() == round_trip / 4);
    flow.recovery.on_duplicates(1, flow.count);
    CHECK(late_after() == round_trip / 2);
}

TEST_CASE("Recovery: who speaks with many at once waits longer for each, for their answers meet")
{
    for (const auto& [peers, wait] :
         {std::pair{1U, 75us}, {15U, 75us}, {16U, 150us}, {32U, 300us}, {1000U, 300us}}) {
        Flow flow(false);
        for (int i = 0; i < 50; ++i) {
            flow.recovery.add_rtt(10us, start, 0ns);
        }
        flow.burst(1, start);
        flow.recovery.on_sent(1000, flow.tuning, peers, start);
        CHECK(flow.recovery.next_timeout() - start == wait);
    }

    // The same when the timer sets itself again, by the windows that have something in the pool.
    Flow flow(false);
    for (int i = 0; i < 50; ++i) {
        flow.recovery.add_rtt(10us, start, 0ns);
    }
    std::vector<PacketWindow> others(15, PacketWindow(7));
    for (PacketWindow& other : others) {
        other.add_piece(flow.pool, 3, 7, 0, 100, true);
        other.sent(flow.pool, other.last_ready(), start);
    }
    flow.burst(1, start);
    flow.recovery.on_sent(1000, flow.tuning, 1, start);
    flow.silence(flow.recovery.next_timeout());
    flow.repair(start);
    CHECK(flow.recovery.next_timeout() - start - 75us == flow.tuning.rto_min * 2 / 8);
}

TEST_CASE("Recovery: hosts that answer evenly are not waited for as those that do not")
{
    Flow flow(false);
    for (int i = 0; i < 50; ++i) {
        flow.recovery.add_rtt(10us, start, 0ns);
    }
    for (const int patience : {1, 2, 4, 8}) { // each silence doubles it, up to rto_min
        flow.recovery.on_resend_all();
        const Slots slots = flow.burst(1, start);
        flow.recovery.on_sent(1000, flow.tuning, 1, start);
        Time now = start;
        const Duration later = flow.tuning.rto_min * patience / 8;
        for (const Duration wait : {std::min(2 * later, flow.tuning.rto_min), later, later, later}) {
            CHECK(flow.recovery.next_timeout() - now == wait);
            now = flow.recovery.next_timeout();
            REQUIRE(flow.silence(now).slot == slots[0]);
            flow.repair(now);
        }
        CHECK(flow.recovery.next_timeout() - now == flow.tuning.rto_min); // questions
        flow.acked(slots[0]);
        flow.recovery.on_progress(false, flow.tuning, 1, now);
    }
    const auto first = [&flow] {
        flow.recovery.on_progress(true, flow.tuning, 1, start);
        return flow.recovery.next_timeout() - start;
    };
    for (int i = 0; i < 3 * 64; ++i) {
        CHECK(first() >= 75us);
    }
    CHECK(first() == 75us);
    flow.recovery.on_duplicates(1, flow.count); // a needless repetition, too
    CHECK(first() == 150us);
}

TEST_CASE("Recovery: a repetition that is no longer than a question goes with it")
{
    Flow flow;
    const Slots slots = flow.burst(1, start);
    flow.pool[slots[0]].length = 28;
    flow.be_fruitless(start);
    const auto question = flow.silence(start + 1ms);
    CHECK(question.probe == Probe::ask);
    CHECK(question.slot == slots[0]);
}
