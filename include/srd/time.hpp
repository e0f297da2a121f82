// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Time as the transport sees it: a monotonic count of nanoseconds that the
// caller reads once per pass and hands in. There is deliberately no now():
// nothing below the provider reads a clock, so the engine runs unchanged in
// virtual time.
#pragma once

#include <chrono>
#include <cstdint>

namespace srd {

struct TransportClock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<TransportClock, duration>;
    static constexpr bool is_steady = true;
};

using Time = TransportClock::time_point;
using Duration = TransportClock::duration;

/// "No timer is armed."
inline constexpr Time time_never = Time::max();

/// The earliest of some times. (std::min of a list would write the list to memory first.)
constexpr Time earliest(Time one) noexcept
{
    return one;
}
template <typename... Rest>
constexpr Time earliest(Time one, Rest... rest) noexcept
{
    const Time other = earliest(rest...);
    return other < one ? other : one;
}

/// Whole microseconds of `duration`, rounded down.
constexpr std::int64_t to_us(Duration duration) noexcept
{
    return duration.count() / 1000;
}

} // namespace srd
