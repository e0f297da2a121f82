// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The way to an address, as the kernel's routing tables have it. This is the one way in which anything here
// asks about routes.
#pragma once

#include <cstdint>
#include <set>

#include <srd/address.hpp>

#include "io/host/netlink_socket.hpp"

namespace srd {

/// Where packets to an address go.
struct HostRoute {
    bool to_this_host = false; ///< the address is one of this host's: packets to it never leave it
    unsigned interface = 0;    ///< index of the interface that they leave by; loopback's if `to_this_host`
    SocketAddress next_hop;    ///< the router, or the address itself; port 0
    SocketAddress source; ///< what the kernel sends from if nobody chooses; port 0; empty: it does not say
};

/// Not thread-safe. Answers are those of the network namespace that it was opened in.
class RouteQuery {
public:
    /// 0 or errno.
    int open() noexcept { return socket_.open(); }

    /// The way from `source` (empty: any address of this host) to `destination`; their ports do not matter.
    /// 0, or errno: EINVAL (a link-local address without its link), ENETUNREACH, EHOSTUNREACH (no route), or
    /// that of the question.
    int find(const SocketAddress& destination, const SocketAddress& source, HostRoute& route);

private:
    NetlinkSocket socket_;
};

/// The address that this host would send to `destination` from, port 0; empty if there is no route. Any
/// thread.
SocketAddress source_towards(const SocketAddress& destination);

/// True if `address` is one of this host's (its port does not matter). That it can be bound says nothing:
/// net.ipv4.ip_nonlocal_bind allows that for any. Any thread.
bool is_host_address(const SocketAddress& address);

/// Indexes of the interfaces that a default route of either family in the main table leaves by. Any thread.
std::set<unsigned> default_route_interfaces();

} // namespace srd
