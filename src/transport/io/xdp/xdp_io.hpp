// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The xdp backend: AF_XDP sockets. Needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF
// on the host; several processes on one interface also CAP_SYS_ADMIN.
//
// A receive queue belongs to one socket. An endpoint takes some queues of the
// interface; what comes in for it by others goes through the kernel to its UDP socket, which is
// slower and as good. So endpoints share an interface by sharing out its queues. Zero-copy where
// the driver has it, else copy mode; native XDP where the driver and the MTU allow, else generic.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "io/raw/raw_io.hpp"
#include "io/xdp/xdp_program.hpp"

namespace srd {

struct XdpConfig : RawConfig {
    XdpMode mode = XdpMode::any;
    std::uint32_t first_queue = 0; ///< queues below it are left to others
    std::uint32_t queue_count = 0; ///< how many queues to take, of those that are free; 0: all
};

/// As make_udp_io; and EPERM if rights are missing, ENODEV if there is no such Ethernet device, EBUSY if its
/// queues or its XDP hook are taken, ENOSYS without libxdp or AF_XDP in the kernel.
int make_xdp_io(const XdpConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                std::string& error);

/// The ring alone: 0, or errno with a sentence. `description` becomes what runs: mode, queues, copies.
int make_xdp_ring(const XdpConfig& config, const RingPlan& plan, std::unique_ptr<FrameRing>& ring,
                  std::string& description, std::string& error);

} // namespace srd
