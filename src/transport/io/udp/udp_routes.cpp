// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_routes.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include <sys/socket.h>

#include "io/core/ip_header.hpp"

namespace srd {

Status UdpRoutes::resolve(const SocketAddress& wanted, RouteId& route)
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
    try {
        HostRoute found;
        if (query_.find(address, local_, found) != 0) {
            return Status::unreachable;
        }
        const RouteId added{static_cast<std::uint32_t>(routes_.size())};
        by_address_.emplace(address, added);
        try {
            routes_.push_back({address, payload_of(found.mtu), found.mtu, found.to_this_host});
        } catch (const std::bad_alloc&) {
            by_address_.erase(address);
            throw;
        }
        route = added;
        return Status::ok;
    } catch (const std::bad_alloc&) {
        return Status::no_memory;
    }
}

RouteId UdpRoutes::find(const SocketAddress& address) const noexcept
{
    const auto found = by_address_.find(address);
    return found == by_address_.end() ? no_id<RouteId> : found->second;
}

bool UdpRoutes::refresh_mtu(RouteId route, std::uint32_t sender_limit) noexcept
{
    Route& entry = routes_[index_of(route)];
    try {
        HostRoute found;
        query_.forget_links();
        if (query_.find(entry.address, local_, found) ==
            0) { // else there is no way now: the last answer stays
            if (entry.route_mtu != found.mtu) {
                entry.route_mtu = found.mtu;
                entry.sender_limit = no_limit; // it belonged to the way as it was
            }
        }
    } catch (const std::bad_alloc&) { // likewise
    }
    if (sender_limit != 0) {
        entry.sender_limit = sender_limit;
    }
    const std::uint32_t mtu = payload_of(std::min(entry.route_mtu, entry.sender_limit));
    return std::exchange(entry.mtu, mtu) != mtu;
}

std::uint32_t UdpRoutes::payload_of(std::uint32_t ip_mtu) const noexcept
{
    constexpr std::uint32_t least = 576; // what every host can take in (RFC 1122)
    return std::min(std::max(ip_mtu, least) - udp_overhead(local_.family()), max_packet_);
}

} // namespace srd
