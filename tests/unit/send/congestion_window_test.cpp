// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/congestion_window.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;

const Time start{Duration(1h)};
constexpr std::uint32_t mtu = 1000;

Tuning tuning_of(CongestionPolicy policy, std::uint32_t window)
{
    Tuning tuning;
    tuning.congestion = policy;
    tuning.window_start = window;
    tuning.window_max = window;
    return tuning;
}

CongestionWindow fixed(std::uint32_t window)
{
    return {tuning_of(CongestionPolicy::fixed, window), Duration{}, mtu};
}

/// Swift at its smallest window, with a round trip of 1 ms: two packets, which it paces.
CongestionWindow pacing()
{
    CongestionWindow window(tuning_of(CongestionPolicy::swift, 64 * mtu), Duration{}, mtu);
    AckSample ack;
    ack.now = start;
    ack.rtt = 1ms;
    window.on_ack(ack);
    window.on_loss({start, mtu, mtu, true});
    REQUIRE(window.bytes(mtu) == 2 * mtu);
    return window;
}

} // namespace

TEST_CASE("CongestionWindow: the policy's window, and never less than two packets of the peer's buffer")
{
    CHECK(fixed(10 * mtu).bytes(mtu) == 10 * mtu);
    CHECK(fixed(1).bytes(mtu) == 4 * mtu);
    CongestionWindow window = fixed(10 * mtu);
    window.set_peer_buffer(7 * mtu);
    CHECK(window.bytes(mtu) == 7 * mtu);
    window.set_peer_buffer(20 * mtu);
    CHECK(window.bytes(mtu) == 10 * mtu);
    window.set_peer_buffer(1);
    CHECK(window.bytes(mtu) == 2 * mtu);
    window.set_peer_buffer(0); // it does not know
    CHECK(window.bytes(mtu) == 10 * mtu);
}

TEST_CASE("CongestionWindow: what packets wait in the hosts is no congestion")
{
    const auto after = [](Duration host_delay) {
        CongestionWindow window(tuning_of(CongestionPolicy::swift, 64 * mtu), host_delay, mtu);
        AckSample ack;
        ack.acked_bytes = mtu;
        ack.rtt = 10us;
        for (int i = 0; i < 100; ++i) {
            ack.now = start + i * 200us;
            window.on_ack(ack);
            ack.rtt = 140us; // in a queue somewhere
        }
        return window.bytes(mtu);
    };
    CHECK(after({}) == 2 * mtu);
    CHECK(after(100us) == 64 * mtu);
}

TEST_CASE("CongestionWindow: open for whole packets, and always when nothing is in flight")
{
    CongestionWindow window = fixed(10 * mtu);
    CHECK(window.open(9 * mtu, true, mtu, start));
    CHECK_FALSE(window.holds_back(start));
    CHECK_FALSE(window.open(9 * mtu + 1, true, mtu, start));
    CHECK(window.holds_back(start));
    window.set_peer_buffer(1);
    CHECK(window.open(0, false, 5 * mtu, start));
}

TEST_CASE("CongestionWindow: what has held us back is told to the policy with the next acknowledgement")
{
    CongestionWindow window = fixed(10 * mtu);
    AckSample ack;
    ack.acked_bytes = mtu;
    window.on_ack(ack);
    CHECK_FALSE(ack.window_limited);
    CHECK_FALSE(window.open(10 * mtu, true, mtu, start));
    AckSample nothing;
    window.on_ack(nothing);
    CHECK(nothing.window_limited);
    CHECK(window.holds_back(start)); // nothing was released
    window.on_ack(ack);
    CHECK(ack.window_limited);
    CHECK_FALSE(window.holds_back(start));
    window.on_ack(ack);
    CHECK_FALSE(ack.window_limited);
}

TEST_CASE("CongestionWindow: acknowledgements and losses reach the policy")
{
    CongestionWindow window(tuning_of(CongestionPolicy::swift, 64 * mtu), Duration{}, mtu);
    CHECK(window.bytes(mtu) == 64 * mtu);
    AckSample ack;
    ack.rtt = 1ms;
    ack.now = start;
    window.on_ack(ack);
    window.on_loss({start, mtu, mtu, true});
    CHECK(window.bytes(mtu) == 2 * mtu);
    CHECK_FALSE(window.open(2 * mtu, true, mtu, start)); // the window is what holds us back
    ack.acked_bytes = 2 * mtu;
    ack.now = start + 10ms;
    window.on_ack(ack);
    CHECK(window.bytes(mtu) == 4 * mtu);
}

TEST_CASE("CongestionWindow: packets are paced at a small window, short gaps are not waited for")
{
    CongestionWindow window = pacing();
    CHECK(window.next_timeout() == time_never);
    CHECK(window.open(0, false, mtu, start));
    window.on_sent(mtu, start);                 // half of the window, so half a round trip
    CHECK(window.next_timeout() == time_never); // nobody waits yet
    CHECK_FALSE(window.open(0, false, mtu, start));
    CHECK(window.holds_back(start));
    CHECK(window.next_timeout() == start + 500us);
    CHECK_FALSE(window.on_timeout(start + 500us - 1ns));
    CHECK_FALSE(window.open(0, false, mtu, start + 500us - CongestionWindow::pace_slack - 1ns));
    CHECK(window.open(0, false, mtu, start + 500us - CongestionWindow::pace_slack));
    CHECK(window.on_timeout(start + 500us));
    CHECK_FALSE(window.on_timeout(start + 500us));
    CHECK(window.next_timeout() == time_never);
    CHECK_FALSE(window.holds_back(start + 500us));
}

TEST_CASE("CongestionWindow: a window that is so small that packets are paced grows by what it holds back")
{
    const auto grown = [](bool held_back) {
        CongestionWindow window = pacing();
        window.on_sent(mtu, start);
        if (held_back) {
            CHECK_FALSE(window.open(mtu, true, mtu, start)); // there is room, but not yet
        }
        AckSample ack;
        ack.now = start + 2ms;
        ack.rtt = 1ms;
        ack.acked_bytes = mtu;
        window.on_ack(ack);
        return window.bytes(mtu);
    };
    CHECK(grown(false) == 2 * mtu);
    CHECK(grown(true) == 3 * mtu);
}

TEST_CASE("CongestionWindow: gaps add up, idle time is not saved up")
{
    CongestionWindow window = pacing();
    window.on_sent(mtu, start);
    window.on_sent(mtu, start);
    CHECK_FALSE(window.open(0, false, mtu, start));
    CHECK(window.next_timeout() == start + 1ms);
    window.on_sent(mtu, start + 10ms);
    CHECK(window.next_timeout() == start + 10ms + 500us);
}

TEST_CASE("CongestionWindow: a window of many packets is not paced")
{
    CongestionWindow window(tuning_of(CongestionPolicy::swift, 64 * mtu), Duration{}, mtu);
    AckSample ack;
    ack.rtt = 1ms;
    ack.now = start;
    window.on_ack(ack);
    window.on_sent(mtu, start);
    CHECK(window.open(mtu, true, mtu, start));
    CHECK(window.next_timeout() == time_never);
}
