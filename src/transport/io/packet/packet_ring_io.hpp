// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The packet backend: AF_PACKET rings. Any Ethernet device and any number of endpoints on it; needs
// CAP_NET_RAW in the network's user namespace only.
//
// The rings are of TPACKET_V2, because a frame of it is seen as soon as it is there; V3 hands a block of
// frames over when it is full, or a millisecond later. Frames bypass the queueing discipline. The kernel's
// stack gets a copy of every packet, which a filter at the UDP socket throws away.
#pragma once

#include <memory>
#include <string>

#include "io/raw/raw_io.hpp"

namespace srd {

/// As make_udp_io; and EPERM if rights are missing, ENODEV if there is no such Ethernet device.
int make_packet_io(const RawConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                   std::string& error);

/// The ring alone: 0, or errno with a sentence.
int make_packet_ring(const RingPlan& plan, std::unique_ptr<FrameRing>& ring, std::string& error);

} // namespace srd
