// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What two endpoints of different releases have in common. Each tells in its hello which versions of the
// protocol it speaks, and which features it has beyond the newest one's; they use the newest version that
// both speak, and the features that both have. What a release does not know of another's features it does not
// use, and needs not understand.
#pragma once

#include <algorithm>
#include <cstdint>

namespace srd {

/// Of packets with a hello, in all versions: who does not know the other yet speaks this one.
inline constexpr std::uint8_t base_version = 2;

namespace feature {
/// Takes hellos with flags that it does not know, and with more bytes behind them.
inline constexpr std::uint64_t open_hello = 1;
/// Has several addresses, and understands those of others (wire::RailsFrame).
inline constexpr std::uint64_t rails = 2;
/// Understands messages whose first bytes come with the request (wire::UnscheduledMessage).
inline constexpr std::uint64_t unscheduled = 4;
inline constexpr std::uint64_t all = 7;
} // namespace feature

struct Dialect {
    std::uint8_t oldest = base_version; ///< version that is spoken
    std::uint8_t newest = base_version;
    std::uint64_t features = feature::all;

    /// Of releases before hellos told.
    static constexpr Dialect untold() noexcept { return {base_version, base_version, 0}; }

    constexpr bool any_common(const Dialect& other) const noexcept
    {
        return std::max(oldest, other.oldest) <= std::min(newest, other.newest);
    }
    /// The version that both use, if there is one.
    constexpr std::uint8_t common_version(const Dialect& other) const noexcept
    {
        return std::min(newest, other.newest);
    }
};

} // namespace srd
