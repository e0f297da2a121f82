// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the raw backends share, and what a ring of theirs needs: a PacketIo that writes its own headers and
// moves frames through a FrameRing, and does everything else through the kernel.
//
// Its base backend is a whole UDP backend on the same port. That one reserves the port,
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

#include <srd/address.hpp>
#include <srd/counters.hpp>

#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"
#include "io/raw/capabilities.hpp"
#include "io/raw/frame_ring.hpp"
#include "io/raw/raw_frame.hpp"

namespace srd {

/// What all raw backends are asked for. `local_address` is one of the interface's; `path_count` are UDP
/// source ports; `socket_buffer` is also the memory for frames to receive, and of frames to send a quarter.
struct RawConfig : IoOptions {
    std::string interface; ///< "eth0"; an Ethernet device
};

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
