// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The addresses that a UDP endpoint can send to, with the packet size each carries. A size that has shrunk is
// asked for again now and then: its cause may be gone, and nothing tells (the kernel takes a router's word
// for ten minutes).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <srd/file_descriptor.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "io/core/notice_queue.hpp"
#include "io/core/packet_io.hpp"
#include "io/host/route_query.hpp"

namespace srd {

class UdpRoutes {
public:
    /// `query` is open; `mtu_socket` as path_mtu()'s.
    UdpRoutes(const SocketAddress& local, std::uint32_t max_packet, std::uint32_t max_routes,
              RouteQuery query, FileDescriptor mtu_socket) noexcept
        : local_(local), max_packet_(max_packet), max_routes_(max_routes), query_(std::move(query)),
          mtu_socket_(std::move(mtu_socket))
    {
    }

    /// The address in terms of this host, which has names of its own for links.
    SocketAddress here(SocketAddress address) const noexcept;
    /// As PacketIo::resolve.
    Status resolve(const SocketAddress& wanted, RouteId& route);
    /// As PacketIo::forget_route.
    bool forget(RouteId route) noexcept;
    /// As PacketIo::find.
    RouteId find(const SocketAddress& address) const noexcept;
    const SocketAddress& address(RouteId route) const noexcept { return routes_[index_of(route)].address; }
    std::uint32_t mtu(RouteId route) const noexcept { return routes_[index_of(route)].mtu; }
    /// True if the peer is on this host: the way there is loopback, whatever the address.
    bool on_this_host(RouteId route) const noexcept { return routes_[index_of(route)].on_this_host; }
    /// Asks the kernel for the route's MTU again; true if it changed.
    bool refresh_mtu(RouteId route) noexcept;
    /// Does the same for one route whose MTU has been smaller than before for a while, if there is one: the
    /// route if it changed, else no_id<RouteId>. Cheap.
    RouteId review_mtu(Time now) noexcept;
    bool contains(RouteId route) const noexcept
    {
        return index_of(route) < routes_.size() && routes_[index_of(route)].used;
    }

private:
    static constexpr Duration review_interval = std::chrono::minutes(1);

    struct Route {
        SocketAddress address{};
        std::uint32_t mtu = 0; // payload bytes of the longest unfragmented datagram
        bool on_this_host = false;
        bool used = true;             // false: forgotten
        std::uint32_t former_mtu = 0; // before it shrank; 0: it did not
    };
    struct Way {
        std::uint32_t mtu = 0; // of IP packets; 0: there is no way at the moment
        bool on_this_host = false;
    };
    struct Review {
        RouteId route{};
        Time due{};
    };
    struct Hash {
        std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
    };

    /// What the kernel says. Our own address is here, whatever becomes of the interface that has it.
    Way way_to(const SocketAddress& address);
    void review_later(RouteId route, std::uint32_t former_mtu) noexcept;
    /// Payload bytes of the longest datagram in an IP packet of `ip_mtu` bytes.
    std::uint32_t payload_of(std::uint32_t ip_mtu) const noexcept;

    SocketAddress local_;
    std::uint32_t max_packet_;
    std::uint32_t max_routes_;
    RouteQuery query_;
    FileDescriptor mtu_socket_;
    Time now_{};                     // of the last review
    std::deque<Review> reviews_;     // of the routes with former_mtu, in order
    std::deque<Route> routes_;       // a deque, because references to addresses must stay valid
    std::vector<RouteId> forgotten_; // to be used again
    std::unordered_map<SocketAddress, RouteId, Hash> by_address_;
};

} // namespace srd
