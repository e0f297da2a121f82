// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The addresses that a UDP endpoint can send to, with the packet size each carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>

#include <srd/status.hpp>
#include <srd/types.hpp>

#include "io/core/notice_queue.hpp"
#include "io/core/packet_io.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

class UdpRoutes {
public:
    UdpRoutes(const SocketAddress& local, std::uint32_t max_packet, std::uint32_t max_routes) noexcept
        : local_(local), max_packet_(max_packet), max_routes_(max_routes)
    {
    }

    /// As PacketIo::resolve. `probe`: a datagram socket of the same family to ask the kernel with.
    Status resolve(const SocketAddress& wanted, int probe, RouteId& route);
    /// The route to `address`, or no_id<RouteId>.
    RouteId find(const SocketAddress& address) const noexcept;
    const SocketAddress& address(RouteId route) const noexcept { return routes_[index_of(route)].address; }
    std::uint32_t mtu(RouteId route) const noexcept { return routes_[index_of(route)].mtu; }
    /// True if the peer is on this host: the way there is loopback, whatever the address.
    bool on_this_host(RouteId route) const noexcept { return routes_[index_of(route)].on_this_host; }
    /// Asks the kernel for the route's MTU again; true if it changed.
    bool refresh_mtu(RouteId route, int probe) noexcept;
    bool contains(RouteId route) const noexcept { return index_of(route) < routes_.size(); }

private:
    struct Route {
        SocketAddress address;
        std::uint32_t mtu = 0;
        bool on_this_host = false;
    };
    struct Hash {
        std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
    };

    /// Payload bytes of the largest unfragmented datagram to `address`; 0 if there is no way to it.
    std::uint32_t query_mtu(const SocketAddress& address, int probe) const noexcept;

    SocketAddress local_;
    std::uint32_t max_packet_;
    std::uint32_t max_routes_;
    std::deque<Route> routes_; // a deque, because references to addresses must stay valid
    std::unordered_map<SocketAddress, RouteId, Hash> by_address_;
};

} // namespace srd
