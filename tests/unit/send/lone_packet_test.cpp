// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Recovery's timer for what goes out alone.
#include <chrono>
#include <cstdint>

#include "send/recovery.hpp"

#include "support/catch.hpp"
#include "unit/send/sender_parts.hpp"

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;

namespace {

const Time start{Duration(1h)};

/// A sender whose peer answers evenly, after 10 us.
struct Sender : SenderParts {
    Sender() : SenderParts(100)
    {
        for (int i = 0; i < 50; ++i) {
            recovery.add_rtt(10us, start, 0ns);
        }
    }
    void send(std::size_t packets, Time now)
    {
        burst(packets, now);
        recovery.on_sent(window.bytes_in_flight(), tuning, 1, now);
    }
    bool repeats(Time now)
    {
        return recovery.on_probe_timer(window, pool, false, tuning, now).slot != no_index;
    }

    Tuning tuning;
    Recovery recovery;
};

} // namespace

TEST_CASE("Recovery: a lone short packet goes again sooner than others, once")
{
    Sender sender;
    sender.send(1, start);
    REQUIRE(sender.window.bytes_in_flight() <= Recovery::hasty_bytes);
    const Time soon = start + 20us; // twice the round trip is more than a quarter of the usual wait
    CHECK(sender.recovery.next_timeout() == soon);
    CHECK(sender.repeats(soon));
    CHECK(sender.recovery.next_timeout() == soon + sender.tuning.rto_min / 8);
}

TEST_CASE("Recovery: if more has followed the short packet, it is waited for as usual")
{
    Sender sender;
    sender.send(1, start);
    while (sender.window.bytes_in_flight() <= Recovery::hasty_bytes) {
        sender.send(1, start + 5us);
    }
    CHECK(sender.recovery.next_timeout() == start + 20us);
    CHECK_FALSE(sender.repeats(start + 20us));
    const Time due = start + 5us + sender.tuning.rto_min / 4;
    CHECK(sender.recovery.next_timeout() == due);
    CHECK(sender.repeats(due));
}

TEST_CASE("Recovery: what is not short has the usual wait at once")
{
    Sender sender;
    sender.burst(10, start);
    REQUIRE(sender.window.bytes_in_flight() > Recovery::hasty_bytes);
    sender.recovery.on_sent(sender.window.bytes_in_flight(), sender.tuning, 1, start);
    CHECK(sender.recovery.next_timeout() == start + sender.tuning.rto_min / 4);
}
