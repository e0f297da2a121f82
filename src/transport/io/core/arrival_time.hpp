// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>

#include <srd/time.hpp>

namespace srd {

/// A poll this long after the last one that found the queue empty asks when its packets came: they may have
/// waited for the caller, which must not look like time on the way. More often is not worth the system call,
/// and so short a wait is within what congestion control takes for noise.
inline constexpr Duration late_poll = std::chrono::microseconds(20);

/// The kernel's timestamp of a packet (nanoseconds of CLOCK_REALTIME) as our clock tells it, between
/// `earliest` and `now`.
Time arrival_time(std::int64_t realtime_ns, Time earliest, Time now) noexcept;

} // namespace srd
