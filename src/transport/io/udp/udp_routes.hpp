// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The addresses that a UDP endpoint can send to, with the packet size each carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <unordered_map>

#include <srd/status.hpp>
#include <srd/types.hpp>

#include "io/core/notice_queue.hpp"
#include "io/core/packet_io.hpp"
#include "io/host/route_query.hpp"

namespace srd {

class UdpRoutes {
public:
    UdpRoutes(const SocketAddress& local, std::uint32_t max_packet, std::uint32_t max_routes) noexcept
        : local_(local), max_packet_(max_packet), max_routes_(max_routes)
    {
    }

    /// Opens what the kernel is asked with: 0 or errno.
    int open() noexcept { return query_.open(); }

    /// As PacketIo::resolve.
    Status resolve(const SocketAddress& wanted, RouteId& route);
    /// The route to `address`, or no_id<RouteId>.
    RouteId find(const SocketAddress& address) const noexcept;
    const SocketAddress& address(RouteId route) const noexcept { return routes_[index_of(route)].address; }
    std::uint32_t mtu(RouteId route) const noexcept { return routes_[index_of(route)].mtu; }
    /// True if the peer is on this host: the way there is loopback, whatever the address.
    bool on_this_host(RouteId route) const noexcept { return routes_[index_of(route)].on_this_host; }
    /// Asks the kernel for the route's MTU again; true if it changed. `sender_limit`: the longest IP packet
    /// that this host itself has just let through (encryption, say, needs room beside it); 0: unknown.
    bool refresh_mtu(RouteId route, std::uint32_t sender_limit = 0) noexcept;
    bool contains(RouteId route) const noexcept { return index_of(route) < routes_.size(); }

private:
    static constexpr std::uint32_t no_limit = std::numeric_limits<std::uint32_t>::max();

    struct Route {
        SocketAddress address;
        std::uint32_t mtu = 0;       // payload bytes of the longest unfragmented datagram
        std::uint32_t route_mtu = 0; // the longest IP packet, as the kernel's tables have it,
        bool on_this_host = false;
        std::uint32_t sender_limit = no_limit; // and as the kernel says when it refuses one
    };
    struct Hash {
        std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
    };

    /// Payload bytes of the longest datagram in an IP packet of `ip_mtu` bytes.
    std::uint32_t payload_of(std::uint32_t ip_mtu) const noexcept;

    SocketAddress local_;
    std::uint32_t max_packet_;
    std::uint32_t max_routes_;
    RouteQuery query_;
    std::deque<Route> routes_; // a deque, because references to addresses must stay valid
    std::unordered_map<SocketAddress, RouteId, Hash> by_address_;
};

} // namespace srd
