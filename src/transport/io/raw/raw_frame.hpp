// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Our datagrams as Ethernet frames: what the kernel does for the UDP backend and
// the raw backends do themselves.
//
//     Ethernet (14) | IPv4 (20) or IPv6 (40) | UDP (8) | packet
//
// No VLAN tags, no IP options or extension headers, no fragments: whatever has
// those is left to the kernel. Packets leave with ECT(0), DF and a full UDP
// checksum; the path is the UDP source port (and IPv6's flow label).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/address.hpp>
#include <srd/port_range.hpp>
#include <srd/types.hpp>

#include "io/core/ip_header.hpp"
#include "io/core/packet_io.hpp"
#include "io/host/mac_address.hpp"

namespace srd {

inline constexpr std::uint32_t ethernet_header = 14;

/// Bytes of all headers in front of a packet.
constexpr std::uint32_t raw_overhead(int family) noexcept
{
    return ethernet_header + udp_overhead(family);
}

/// The headers of one route's frames.
class FrameTemplate {
public:
    FrameTemplate() = default;
    /// The families must be equal. `ports`: where the paths' source ports are.
    FrameTemplate(const MacAddress& source_mac, const SocketAddress& source, const SocketAddress& destination,
                  PortRange ports = {});

    /// Writes the frame of `packet` to `frame`, which has raw_overhead() + packet.length bytes. Returns its
    /// length.
    std::uint32_t write(std::byte* frame, const MacAddress& destination_mac,
                        const TxPacket& packet) const noexcept;

private:
    std::array<std::uint8_t, 62> bytes_{};
    std::uint32_t length_ = 0;
    std::uint16_t port_ = 0; // of path 0, host order
    PortRange ports_;
    std::uint64_t ip_sum_ = 0;     // IPv4 header without its length
    std::uint64_t pseudo_sum_ = 0; // pseudo header and ports without length and source port
};

enum class FrameVerdict : std::uint8_t {
    ours,    ///< an intact packet to our address
    foreign, ///< something else
    damaged, ///< to us, but its checksum is wrong
};

/// What a received frame carries.
struct FrameContent {
    const std::byte* data = nullptr;
    std::uint32_t length = 0;
    bool marked = false; ///< ECN congestion experienced
};

/// Reads a frame. `local` is what it must be sent to. `verified`: somebody has checked, or (on a
/// virtual device) not yet written, the UDP checksum; a checksum still to be completed is recognized in
/// any case.
FrameVerdict read_frame(std::span<const std::byte> frame, const SocketAddress& local, bool verified,
                        FrameContent& content) noexcept;

} // namespace srd
