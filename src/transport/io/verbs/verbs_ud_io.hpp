// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The verbs backend: UD queue pairs of an RDMA device with RoCE v2, beside a
// whole UDP backend on the same IP address and port.
//
// Addresses are those of the UDP backend. How a peer's queue pair travels: whoever has packets for a
// route asks for it, with a datagram from socket to socket (`Ask` in verbs_routes.hpp), and is answered with
// GID, queue pair number and Q_Key. Then it asks again, now through the queue pairs; only
// when that, too, is answered (again by UDP) does the route use them: a way that has been
// seen to work. Until then, and whenever the peer falls silent or the device fails, packets take the UDP
// sockets: to peers without the device, with another process's queue pairs at the old address, behind a
// firewall without port 4791, while the port is down, or after its MTU shrank. Each direction is asked for by
// its own sender. The UDP backend also answers liveness probes and hears ICMP.
//
// Packets are intact (ICRC); their ECN mark is read from the IP header in front of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <sys/socket.h>

#include <srd/counters.hpp>

#include "io/core/packet_io.hpp"

namespace srd {

struct VerbsConfig {
    std::string device;            ///< "mlx5_0"; empty: the one that has the address
    SocketAddress local_address;   ///< as UdpConfig::local_address; an address of a port of the device
    std::uint16_t path_count = 64; ///< queue pairs times flow labels per route, 1..64
    std::uint32_t socket_buffer =
        8U << 20;                     ///< memory for packets to receive, registered; of the sockets as well
    std::uint32_t max_packet = 65507; ///< upper bound of every route's MTU, payload bytes
    std::uint32_t max_routes = 1U << 20;   ///< Limits::max_routes
    std::function<void(const char*)> warn; ///< gets one-line warnings that say what to do; may be empty
    std::function<void(const char*)> tell; ///< gets one line on what runs; may be empty
};

/// Makes the backend. Errors as make_udp_io, and ENODEV (no RoCE v2 GID for the address, or its port is
/// down), ENOSYS (no libibverbs), EACCES.
int make_verbs_io(const VerbsConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                  std::string& error);

} // namespace srd
