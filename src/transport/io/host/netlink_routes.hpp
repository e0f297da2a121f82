// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the kernel knows of the way to a peer, for backends that write their own
// Ethernet headers: does the route leave through our interface, who is the next
// hop, and which hardware address has it. Learnt by asking once and kept current
// by listening to the kernel's announcements. Nothing here makes the kernel look for a neighbour: a
// packet sent through its own stack does that.
#pragma once

#include <cstdint>
#include <deque>
#include <unordered_map>

#include <srd/address.hpp>

#include "io/host/mac_address.hpp"
#include "io/host/netlink_socket.hpp"
#include "io/host/route_query.hpp"

namespace srd {

/// A next hop on our link.
struct Neighbour {
    SocketAddress address; ///< port 0
    MacAddress mac{};
    bool usable = false; ///< the kernel has a hardware address for it
    bool stale = false;  ///< but has not heard from it for a while: a packet through the kernel makes it ask
};

class NetlinkRoutes {
public:
    NetlinkRoutes(unsigned interface, const SocketAddress& local) noexcept
        : interface_(interface), local_(local)
    {
    }

    /// Opens the sockets and reads the link. Returns 0 or errno.
    int open();

    /// The next hop to `destination`, or nullptr if the way does not leave through our interface (the
    /// peer is on this host, behind another interface, or not reachable). Valid as long as this object.
    Neighbour* next_hop(const SocketAddress& destination);

    /// Takes in the kernel's announcements. Never blocks.
    void poll();
    /// Changes whenever next_hop() may answer otherwise than before.
    std::uint32_t generation() const noexcept { return generation_; }
    /// Readable when poll() has something to do.
    int fd() const noexcept { return announcements_.fd(); }

    bool link_up() const noexcept { return link_up_; }
    std::uint32_t link_mtu() const noexcept { return link_mtu_; } ///< bytes, IP header included
    const MacAddress& link_mac() const noexcept { return link_mac_; }
    bool link_is_ethernet() const noexcept { return link_is_ethernet_; }

private:
    struct Hash {
        std::size_t operator()(const SocketAddress& address) const noexcept { return address.hash(); }
    };

    void query_link();
    void query_neighbour(Neighbour& neighbour);
    void on_message(const nlmsghdr& message);
    void on_link(const nlmsghdr& message);
    void on_neighbour(const nlmsghdr& message);
    void forget();

    unsigned interface_;
    SocketAddress local_;
    NetlinkSocket requests_;
    NetlinkSocket announcements_;
    RouteQuery routes_;
    std::uint32_t generation_ = 1;
    bool link_up_ = false;
    bool link_is_ethernet_ = false;
    std::uint32_t link_mtu_ = 0;
    MacAddress link_mac_{};
    std::deque<Neighbour> neighbours_;
    std::unordered_map<SocketAddress, Neighbour*, Hash> by_address_;
};

} // namespace srd
