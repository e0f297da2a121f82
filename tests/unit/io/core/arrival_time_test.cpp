// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Engines live by CLOCK_MONOTONIC, which nobody can set. Only the kernel's timestamps of packets are of
// CLOCK_REALTIME, which can be stepped: what they say is bounded by the order of the calls.
#include <cstdint>
#include <ctime>

#include "io/core/arrival_time.hpp"

#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;

namespace {

std::int64_t read_clock(clockid_t id)
{
    timespec time{};
    REQUIRE(clock_gettime(id, &time) == 0);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Time monotonic_now()
{
    return Time(Duration(read_clock(CLOCK_MONOTONIC)));
}

} // namespace

TEST_CASE("arrival_time: what the realtime clock says, in terms of ours")
{
    const std::int64_t realtime = read_clock(CLOCK_REALTIME);
    const Time before = monotonic_now();
    const Time arrived = arrival_time(realtime - 1'000'000, before - 1s, before + 10s);
    CHECK(arrived <= monotonic_now());
    CHECK(arrived > before - 1s);
}

TEST_CASE("arrival_time: steps of the realtime clock, both ways, stay between the calls")
{
    const Time now = monotonic_now();
    const Time earliest = now - 3ms;
    const std::int64_t realtime = read_clock(CLOCK_REALTIME);
    constexpr std::int64_t hour = 3'600'000'000'000;
    CHECK(arrival_time(realtime + hour, earliest, now) == now);      // it went back since
    CHECK(arrival_time(realtime - hour, earliest, now) == earliest); // it went ahead since
    CHECK(arrival_time(0, earliest, now) == earliest);
    CHECK(arrival_time(realtime + hour, now + 1ms, now) == now); // our own readings seem to go back
    CHECK(arrival_time(realtime - hour, now + 1ms, now) == now);
}
