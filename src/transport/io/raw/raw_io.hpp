// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the raw backends share: a PacketIo that writes its own headers and moves
// frames through a FrameRing, and does everything else through the kernel.
//
// It owns a whole UDP backend on the same port. That one reserves the port,
// answers liveness probes, gets the ICMP errors, and carries what does not go
// through the ring: packets to peers on this host or behind another interface,
// to neighbours whose hardware address is not known (sending makes the kernel
// look for it), packets longer than the route's MTU, fragments, and whatever a
// NIC brings to a queue that is not ours.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/socket.h>

#include <srd/counters.hpp>

#include "io/core/packet_io.hpp"
#include "io/raw/frame_ring.hpp"
#include "io/udp/udp_io.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

/// What the configurations of all raw backends have in common.
struct RawConfig {
    std::string interface;                 ///< "eth0"; an Ethernet device
    SocketAddress local_address;           ///< as UdpConfig::local_address; an address of that interface
    std::uint16_t path_count = 64;         ///< source ports per route, 1..64
    std::uint32_t ring_bytes = 8U << 20;   ///< memory for frames to receive, and for frames to send a quarter
    std::uint32_t max_packet = 65507;      ///< upper bound of every route's MTU, payload bytes
    std::uint32_t max_routes = 1U << 20;   ///< Limits::max_routes
    std::function<void(const char*)> warn; ///< gets one-line warnings that say what to do; may be empty
    std::function<void(const char*)> tell; ///< gets one line on what runs; may be empty
};

/// Capabilities a raw backend needs, as bits of 1 << CAP_*.
std::uint64_t packet_capabilities() noexcept;
std::uint64_t xdp_capabilities() noexcept;

/// A sentence that names those of `needed` that this thread lacks and how to grant them without root;
/// empty if it has them all. Any thread.
std::string missing_capabilities(std::uint64_t needed);

/// What the ring of an interface is made for.
struct RingPlan {
    std::string interface;
    unsigned index = 0;          ///< if_nametoindex(interface)
    SocketAddress local;         ///< with the port
    std::uint32_t max_frame = 0; ///< longest frame of the link, bytes
    std::uint32_t ring_bytes = 0;
};

/// Makes the ring once the port is known: 0, or errno with a sentence.
using MakeRing =
    std::function<int(const RingPlan& plan, std::unique_ptr<FrameRing>& ring, std::string& error)>;

/// Makes the backend. `taps`: the ring gets copies, and the kernel's stack sees its packets too. Errors
/// as make_udp_io, and ENODEV (no such interface, or not an Ethernet device).
int make_raw_io(const RawConfig& config, bool taps, const MakeRing& make_ring, Counters& counters,
                std::unique_ptr<PacketIo>& io, std::string& error);

} // namespace srd
