// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_routes.hpp"

#include <algorithm>
#include <new>

#include <netinet/in.h>
#include <sys/socket.h>

namespace srd {

namespace {

/// Only an address of this host can be bound to.
bool is_own_address(SocketAddress address) noexcept
{
    const FileDescriptor socket(::socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    address.set_port(0);
    return socket.valid() && ::bind(socket.get(), address.get(), address.size()) == 0;
}

} // namespace

Status UdpRoutes::resolve(const SocketAddress& wanted, int probe, RouteId& route)
{
    if (wanted.family() != local_.family() || !wanted.is_unicast() || wanted.port() == 0) {
        return Status::invalid;
    }
    SocketAddress address = wanted;
    // A link-local peer names its own interface; only ours means anything here.
    if (local_.scope_id() != 0) {
        address.set_scope_id(local_.scope_id());
    }
    const RouteId known = find(address);
    if (known != no_id<RouteId>) {
        route = known;
        return Status::ok;
    }
    if (routes_.size() >= max_routes_) {
        return Status::no_memory;
    }
    const std::uint32_t mtu = query_mtu(address, probe);
    if (mtu == 0) {
        return Status::unreachable;
    }
    const RouteId added{static_cast<std::uint32_t>(routes_.size())};
    try {
        routes_.push_back({address, mtu, is_own_address(address)});
        try {
            by_address_.emplace(address, added);
        } catch (const std::bad_alloc&) {
            routes_.pop_back();
            return Status::no_memory;
        }
    } catch (const std::bad_alloc&) {
        return Status::no_memory;
    }
    route = added;
    return Status::ok;
}

RouteId UdpRoutes::find(const SocketAddress& address) const noexcept
{
    const auto found = by_address_.find(address);
    return found == by_address_.end() ? no_id<RouteId> : found->second;
}

bool UdpRoutes::refresh_mtu(RouteId route, int probe) noexcept
{
    Route& entry = routes_[index_of(route)];
    const std::uint32_t mtu = query_mtu(entry.address, probe);
    if (mtu == 0 || mtu == entry.mtu) {
        return false; // no way at the moment: keep the last answer
    }
    entry.mtu = mtu;
    return true;
}

std::uint32_t UdpRoutes::query_mtu(const SocketAddress& address, int probe) const noexcept
{
    // Connecting a datagram socket sends nothing: it looks the route up and keeps it, MTU included.
    if (::connect(probe, address.get(), address.size()) != 0) {
        return 0;
    }
    const bool ipv4 = address.family() == AF_INET;
    int mtu = 0;
    socklen_t length = sizeof(mtu);
    if (::getsockopt(probe, ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_MTU : IPV6_MTU, &mtu, &length) != 0) {
        return 0;
    }
    const std::uint32_t overhead = udp_overhead(address.family());
    const std::uint32_t link = static_cast<std::uint32_t>(std::max(mtu, 576));
    return std::min(link - overhead, max_packet_);
}

} // namespace srd
