// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The UDP backend: any kernel, any NIC, no privileges.
//
// One socket receives; packets leave through up to 64 sockets, because the
// source port is the entropy that switches and multipath routes hash. Batches
// of equal packets go down as one UDP_SEGMENT call and come up as one UDP_GRO
// buffer. The datagrams never fragment (DF), except those that were built
// before the path's MTU shrank.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <srd/counters.hpp>

#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"

namespace srd {

/// `path_count` are source ports; on a loopback address there is always one. `socket_buffer` is what the
/// kernel is asked for, to receive and to send.
struct UdpConfig : IoOptions {
    /// A raw backend's ring receives this port's datagrams of up to `ring_packet` payload bytes that arrive
    /// on this interface; the socket receives all others. 0: there is no ring.
    unsigned ring_interface = 0;
    std::uint32_t ring_packet = 0;
    bool offload = true; ///< batch with UDP_SEGMENT and UDP_GRO where the kernel can
};

/// Makes the backend and binds its port. Returns 0, or a positive errno with `error` saying what
/// was wrong and what to do about it: EINVAL (address), EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE, ENFILE,
/// EAFNOSUPPORT, ENOMEM. `counters` must outlive the result. Any thread.
int make_udp_io(const UdpConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                std::string& error);

/// In a child of fork(), after close_inherited_descriptors(): endpoints made later open sockets of their own
/// instead of sharing the parent's, which are closed. Async-signal-safe but for its allocation.
void forget_udp_sockets() noexcept;

} // namespace srd
