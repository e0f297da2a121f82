// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/core/arrival_time.hpp"

#include <algorithm>
#include <ctime>

namespace srd {

namespace {

std::int64_t clock_ns(clockid_t clock) noexcept
{
    timespec time{};
    ::clock_gettime(clock, &time);
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

} // namespace

Time arrival_time(std::int64_t realtime_ns, Time earliest, Time now) noexcept
{
    const std::int64_t age = clock_ns(CLOCK_REALTIME) - realtime_ns;
    const std::int64_t arrived = clock_ns(CLOCK_MONOTONIC) - age;
    // The realtime clock can be stepped; the order of the calls bounds what can be true.
    return std::clamp(Time(Duration(arrived)), std::min(earliest, now), now);
}

} // namespace srd
