// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What every backend writes into IP headers, or reads from them.
#pragma once

#include <cstdint>

#include <sys/socket.h>

namespace srd {

/// Low bits of the IPv4 TOS and of the IPv6 traffic class (RFC 3168).
inline constexpr std::uint8_t ecn_mask = 3;
inline constexpr std::uint8_t ecn_capable = 2;     ///< ECT(0): routers may mark instead of dropping
inline constexpr std::uint8_t ecn_experienced = 3; ///< a router has marked: congestion

/// Enough for any network; the kernel's own default for IPv4 (RFC 1700).
inline constexpr std::uint8_t hop_limit = 64;

/// IP header and UDP header, bytes.
constexpr std::uint32_t udp_overhead(int family) noexcept
{
    return family == AF_INET ? 28 : 48;
}

} // namespace srd
