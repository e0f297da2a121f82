// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/ack_clock.hpp"
#include "support/catch.hpp"

namespace {

using srd::AckClock;

constexpr std::uint32_t mtu = 1000;

/// Packets until one asks, that one included, with as much in flight as is given.
unsigned until_asked(AckClock& clock, std::uint32_t window, std::uint32_t in_flight,
                     std::uint32_t length = mtu, const AckClock::Pace& pace = AckClock::single_packets)
{
    for (unsigned packets = 1; packets < 10000; ++packets) {
        if (clock.on_packet(pace, length, false, window, in_flight, mtu)) {
            return packets;
        }
    }
    return 0;
}

} // namespace

TEST_CASE("AckClock: sixteen times a window, again and again")
{
    AckClock clock;
    for (int i = 0; i < 3; ++i) {
        CHECK(until_asked(clock, 800 * mtu, 0) == 50);
    }
}

TEST_CASE("AckClock: half as often where packets go in trains")
{
    AckClock clock;
    CHECK(until_asked(clock, 800 * mtu, 0, mtu, AckClock::trains) == 100);
    CHECK(until_asked(clock, 16 * mtu, 0, mtu, AckClock::trains) == 8);
}

TEST_CASE("AckClock: not more often than every so many packets")
{
    AckClock clock;
    CHECK(until_asked(clock, 16 * mtu, 0) == AckClock::single_packets.packets);
    CHECK(until_asked(clock, 16 * mtu, 0, mtu / 2) == 2 * AckClock::single_packets.packets);
}

TEST_CASE("AckClock: at once where waiting would stall, and counted anew from there")
{
    AckClock clock;
    for (int i = 0; i < 3; ++i) {
        CHECK_FALSE(clock.on_packet(AckClock::single_packets, mtu, false, 16 * mtu, 0, mtu));
    }
    CHECK(clock.on_packet(AckClock::single_packets, 10, true, 16 * mtu, 0, mtu));
    CHECK(clock.on_packet(AckClock::single_packets, 10, true, 16 * mtu, 0, mtu));
    CHECK(until_asked(clock, 16 * mtu, 0) == AckClock::single_packets.packets);
}

TEST_CASE("AckClock: once the window is nearly full, if a quarter of it is unasked")
{
    AckClock clock;
    CHECK(until_asked(clock, 8 * mtu, 5 * mtu) == AckClock::single_packets.packets);
    CHECK(until_asked(clock, 8 * mtu, 5 * mtu + 1) == AckClock::single_packets.packets / 2);
    CHECK(until_asked(clock, 8 * mtu, 8 * mtu) == AckClock::single_packets.packets / 2);
}

TEST_CASE("AckClock: often while paths are bad, for as long as they are")
{
    AckClock clock;
    clock.on_mark();
    for (unsigned packets = 0; packets < AckClock::dense_span; packets += AckClock::dense_packets) {
        REQUIRE(until_asked(clock, 800 * mtu, 0) == AckClock::dense_packets);
    }
    CHECK(until_asked(clock, 800 * mtu, 0) == 50);
}
