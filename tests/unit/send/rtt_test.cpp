// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <random>
#include <vector>

#include "send/rtt.hpp"
#include "support/catch.hpp"

using srd::Duration;
using srd::RttEstimator;
using srd::Time;
using namespace std::chrono_literals;

namespace {

const Time start{Duration(1h)};

} // namespace

TEST_CASE("RttEstimator: before the first sample it assumes, and says so")
{
    const RttEstimator rtt;
    CHECK_FALSE(rtt.valid());
    CHECK(rtt.smoothed() == RttEstimator::initial);
    CHECK(rtt.rto(300us, 100ms, 0) == 3 * RttEstimator::initial);
    CHECK(rtt.rto(300us, 100ms, 20) == 100ms);
}

TEST_CASE("RttEstimator: the first sample counts in full, as RFC 6298 has it")
{
    RttEstimator rtt;
    rtt.add(80us, start);
    CHECK(rtt.valid());
    CHECK(rtt.smoothed() == 80us);
    CHECK(rtt.variance() == 40us);
    CHECK(rtt.min() == 80us);
    CHECK(rtt.recent_max() == 80us);
    CHECK(rtt.rto(0us, 1s, 0) == 240us);
    rtt.add(160us, start);
    CHECK(rtt.smoothed() == 90us);
    CHECK(rtt.variance() == 50us);
}

TEST_CASE("RttEstimator: samples of nothing and of the impossible")
{
    RttEstimator rtt;
    rtt.add(0ns, start);
    rtt.add(-5us, start);
    CHECK_FALSE(rtt.valid());
    rtt.add(3600s, start);
    CHECK(rtt.smoothed() > 4s);
    CHECK(rtt.smoothed() < 5s);
    CHECK(rtt.rto(300us, 100ms, 63) == 100ms);
}

TEST_CASE("RttEstimator: rto keeps to floor and ceiling and doubles")
{
    RttEstimator rtt;
    for (int i = 0; i < 100; ++i) {
        rtt.add(10us, start);
    }
    CHECK(rtt.rto(300us, 100ms, 0) == 300us);
    CHECK(rtt.rto(300us, 100ms, 1) == 600us);
    CHECK(rtt.rto(300us, 100ms, 3) == 2400us);
    CHECK(rtt.rto(300us, 100ms, 9) == 100ms);
    CHECK(rtt.rto(300us, 100ms, 4000000000U) == 100ms);
    CHECK(rtt.rto(0us, 100ms, 0) >= 10us);
}

TEST_CASE("RttEstimator: a reader that looks late is waited for, up to a bound, and is no longer way")
{
    const auto timeout = [](Duration held) {
        RttEstimator rtt;
        for (int i = 0; i < 100; ++i) {
            rtt.add(50us, start, held);
        }
        CHECK(rtt.min() == 50us);
        CHECK(rtt.recent_max() == 50us);
        return rtt.rto(300us, 100ms, 0);
    };
    CHECK(timeout(-1us) == 300us);
    CHECK(timeout(0us) == 300us);
    CHECK(timeout(600us) >= 650us);
    CHECK(timeout(600us) < 700us);
    CHECK(timeout(RttEstimator::most_held) >= 1050us);
    CHECK(timeout(1s) == timeout(RttEstimator::most_held));
}

TEST_CASE("RttEstimator: converges on a steady round trip, from above and from below")
{
    for (const Duration from : {Duration(1us), Duration(10ms)}) {
        RttEstimator rtt;
        rtt.add(from, start);
        for (int i = 0; i < 300; ++i) {
            rtt.add(200us, start);
        }
        CHECK(std::abs((rtt.smoothed() - 200us).count()) < 100);
        CHECK(rtt.variance() < 100ns);
    }
}

TEST_CASE("RttEstimator: the minimum is forgotten after its window, not before half of it")
{
    RttEstimator rtt;
    Time now = start;
    rtt.add(10us, now);
    for (; now < start + 4900ms; now += 100ms) {
        rtt.add(50us, now);
        REQUIRE(rtt.min() == 10us);
    }
    for (; now < start + 9900ms; now += 100ms) {
        rtt.add(50us, now);
        REQUIRE(rtt.min() == 10us); // the half-window before still counts
    }
    for (; now < start + 12s; now += 100ms) {
        rtt.add(50us, now);
    }
    CHECK(rtt.min() == 50us);
    rtt.add(70us, now + 1min); // after a long pause only what comes counts
    CHECK(rtt.min() == 70us);
}

TEST_CASE("RttEstimator: recent values against the sample history")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    RttEstimator rtt;
    std::vector<std::int64_t> history;
    for (int step = 0; step < 5000; ++step) {
        history.push_back(1 + random() % (1U << (1 + random() % 20)));
        rtt.add(Duration(history.back()), start + step * 1us);

        const auto last = [&](std::size_t count) {
            return std::vector(history.end() - static_cast<std::ptrdiff_t>(std::min(count, history.size())),
                               history.end());
        };
        // Forgotten in groups of 16: at least the last 49 count, at most the last 64.
        const auto short_history = last(49);
        const auto long_history = last(64);
        const std::int64_t maximum = rtt.recent_max().count();
        REQUIRE(maximum >= *std::max_element(short_history.begin(), short_history.end()));
        REQUIRE(maximum <= *std::max_element(long_history.begin(), long_history.end()));
        REQUIRE(rtt.min().count() == *std::min_element(history.begin(), history.end()));
    }
}
