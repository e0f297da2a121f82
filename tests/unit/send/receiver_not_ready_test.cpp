// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/receiver_not_ready.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;
using Due = ReceiverNotReady::Due;

constexpr std::uint8_t not_ready = wire::ack_flag::receiver_not_ready;
const Time start{Duration(1h)};

struct Sender {
    /// Refused now; how long it waits.
    Duration refused()
    {
        REQUIRE_FALSE(refusal.on_ack(not_ready, count, now));
        REQUIRE(refusal.blocked());
        return refusal.next_timeout() - now;
    }
    Due wait()
    {
        now = refusal.next_timeout();
        return refusal.on_timeout(tuning, now);
    }

    Tuning tuning;
    Counters count;
    ReceiverNotReady refusal;
    Time now = start;
};

} // namespace

TEST_CASE("ReceiverNotReady: nothing waits while nothing is refused")
{
    Sender sender;
    CHECK_FALSE(sender.refusal.blocked());
    CHECK_FALSE(sender.refusal.on_ack(0, sender.count, start));
    CHECK(sender.refusal.next_timeout() == time_never);
    CHECK(sender.refusal.on_timeout(sender.tuning, start) == Due::nothing);
    CHECK(sender.count.tx_rnr_backoffs.value() == 0);
}

TEST_CASE("ReceiverNotReady: the wait doubles as long as nothing is taken, up to a bound")
{
    Sender sender;
    for (const Duration wait : {50us, 100us, 200us, 400us, 800us, 1600us, 3200us, 6400us, 10000us, 10000us}) {
        CHECK(sender.refused() == wait);
        CHECK(sender.refusal.on_timeout(sender.tuning, sender.now + wait - 1ns) == Due::nothing);
        CHECK(sender.refusal.blocked());
        CHECK(sender.wait() == Due::resend);
        CHECK_FALSE(sender.refusal.blocked());
        CHECK(sender.refusal.next_timeout() == time_never);
    }
    CHECK(sender.count.tx_rnr_backoffs.value() == 10);
    for (int i = 0; i < 300; ++i) {
        REQUIRE(sender.refused() == ReceiverNotReady::backoff_max);
        REQUIRE(sender.wait() == Due::resend);
    }
    sender.refusal.on_progress();
    CHECK(sender.refused() == ReceiverNotReady::backoff_first);
}

TEST_CASE("ReceiverNotReady: a refusal while waiting changes nothing")
{
    Sender sender;
    CHECK(sender.refused() == 50us);
    CHECK_FALSE(sender.refusal.on_ack(not_ready, sender.count, start + 20us));
    CHECK(sender.refusal.next_timeout() == start + 50us);
    CHECK(sender.count.tx_rnr_backoffs.value() == 1);
}

TEST_CASE("ReceiverNotReady: taken again, everything goes at once and the waits start over")
{
    Sender sender;
    sender.refused();
    sender.wait();
    CHECK(sender.refused() == 100us);
    CHECK(sender.refusal.on_ack(0, sender.count, sender.now));
    CHECK_FALSE(sender.refusal.blocked());
    CHECK(sender.refusal.next_timeout() == time_never);
    CHECK_FALSE(sender.refusal.on_ack(0, sender.count, sender.now)); // told once
    CHECK(sender.refused() == 50us);
}

TEST_CASE("ReceiverNotReady: given up when refused for rnr_timeout, counted from the first refusal in a row")
{
    Sender sender;
    sender.tuning.rnr_timeout = 100ms;
    unsigned rounds = 0;
    Due due = Due::resend;
    for (; due == Due::resend && rounds < 1000; ++rounds) {
        sender.refused();
        due = sender.wait();
    }
    CHECK(due == Due::give_up);
    CHECK(sender.now - start >= 100ms);
    CHECK(sender.now - start < 100ms + ReceiverNotReady::backoff_max);
    CHECK(rounds > 10);

    sender.refused();
    sender.wait();
    sender.refusal.on_progress(); // something was taken: the time starts anew
    sender.now += 1s;
    sender.refused();
    CHECK(sender.wait() == Due::resend);
}

TEST_CASE("ReceiverNotReady: nothing begins before it is granted until the peer has said something, and "
          "while it says no")
{
    Sender sender;
    CHECK_FALSE(sender.refusal.takes_unscheduled());
    sender.refusal.on_ack(0, sender.count, sender.now);
    CHECK(sender.refusal.takes_unscheduled());
    sender.refusal.on_ack(wire::ack_flag::no_unscheduled, sender.count, sender.now);
    CHECK_FALSE(sender.refusal.takes_unscheduled());
    CHECK_FALSE(sender.refusal.scarce());
}
