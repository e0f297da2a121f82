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
#include <functional>
#include <memory>
#include <string>

#include <sys/socket.h>

#include <srd/counters.hpp>

#include "io/core/packet_io.hpp"

namespace srd {

struct UdpConfig {
    /// One of this host's addresses, not a wildcard; port 0: any free one.
    SocketAddress local_address;
    std::uint16_t path_count = 64;          ///< source ports per route, 1..64; on a loopback address always 1
    std::uint32_t socket_buffer = 8U << 20; ///< wanted size of the receive and send buffers, bytes
    std::uint32_t max_packet = 65507;       ///< upper bound of every route's MTU, payload bytes
    std::uint32_t max_routes = 1U << 20;    ///< Limits::max_routes
    /// A backend with rings of its own takes our port's datagrams of up to `ring_packet` payload bytes that
    /// come in by this interface; the socket takes all others. 0: nobody else does.
    unsigned ring_interface = 0;
    std::uint32_t ring_packet = 0;
    bool offload = true;                   ///< batch with UDP_SEGMENT and UDP_GRO where the kernel can
    std::function<void(const char*)> warn; ///< gets one-line warnings that say what to do; may be empty
};

/// Makes the backend and binds its port. Returns 0, or a positive errno with `error` saying what
/// was wrong and what to do about it: EINVAL (address), EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE, ENFILE,
/// EAFNOSUPPORT, ENOMEM. `counters` must outlive the result. Any thread.
int make_udp_io(const UdpConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                std::string& error);

} // namespace srd
