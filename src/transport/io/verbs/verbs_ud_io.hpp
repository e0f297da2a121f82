// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The verbs backend: UD queue pairs of an RDMA device with RoCE v2, beside a
// whole UDP backend on the same IP address and port.
//
// Addresses are those of the UDP backend, which is the base of this one (bypass_io.hpp). How an endpoint
// learns a peer's queue pair: when it has packets for a route it asks with a datagram from socket to socket,
// and is answered with GID, queue pair number and Q_Key. Then it asks again, now through the queue pairs;
// only when that question, too, is answered (again by UDP) does the route use them, because they have been
// seen to work (verbs_routes.hpp). Until then, and whenever the peer falls silent or the device fails,
// packets take the UDP sockets: to peers without the device, with another process's queue pairs at the old
// address, behind a firewall without port 4791, while the port is down, or after its MTU shrank.
//
// Packets are intact (ICRC); their ECN mark is read from the IP header in front of them.
#pragma once

#include <memory>
#include <string>

#include <srd/counters.hpp>

#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"
#include "io/verbs/verbs_device.hpp"

namespace srd {

/// `local_address` is one of a port of the device; `path_count` are queue pairs times flow labels per route;
/// `socket_buffer` is also the registered memory for packets to receive.
struct VerbsConfig : IoOptions {
    std::string device; ///< "mlx5_0"; empty: the one that has the address
};

/// Makes the backend. Errors as make_udp_io, and ENODEV (no RoCE v2 GID for the address, or its port is
/// down), ENOSYS (no libibverbs), EACCES.
int make_verbs_io(const VerbsConfig& config, Counters& counters, std::unique_ptr<PacketIo>& io,
                  std::string& error);

} // namespace srd
