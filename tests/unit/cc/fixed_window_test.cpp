// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "cc/fixed_window.hpp"
#include "support/catch.hpp"

using srd::CongestionLimits;
using srd::FixedWindow;
using srd::Time;
using namespace std::chrono_literals;

TEST_CASE("FixedWindow: nothing moves it, nothing paces it")
{
    FixedWindow window(CongestionLimits{100'000, 1500, 1'000'000, 1500, 50us});
    for (int i = 0; i < 100; ++i) {
        window.on_ack(
            {Time{} + i * 1ms, 10ms, 100'000, 100'000, srd::PathId{0}, i % 2 == 0 ? 100U : 0U, true});
        window.on_loss({Time{} + i * 1ms, 50'000, 100'000, i % 3 == 0});
        REQUIRE(window.window_bytes() == 100'000);
        REQUIRE(window.pacing_gap(1U << 20) == 0ns);
    }
}

TEST_CASE("FixedWindow: the start is brought within the limits")
{
    CHECK(FixedWindow(CongestionLimits{10, 1500, 9000, 1500, 50us}).window_bytes() == 1500);
    CHECK(FixedWindow(CongestionLimits{100'000, 1500, 9000, 1500, 50us}).window_bytes() == 9000);
    CHECK(FixedWindow(CongestionLimits{}).window_bytes() == 0);
}
