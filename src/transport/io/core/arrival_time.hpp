// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <cstdint>

#include <srd/time.hpp>

namespace srd {

/// The kernel's timestamp of a packet (nanoseconds of CLOCK_REALTIME) as our clock tells it, between
/// `earliest` and `now`.
Time arrival_time(std::int64_t realtime_ns, Time earliest, Time now) noexcept;

} // namespace srd
