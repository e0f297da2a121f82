// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_routes.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include <sys/socket.h>

#include <srd/check.hpp>

#include "io/core/ip_header.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd {

Status UdpRoutes::resolve(const SocketAddress& wanted, RouteId& route)
{
    if (wanted.family() != local_.family() || !wanted.is_unicast() || wanted.port() == 0) {
        return Status::invalid;
    }
    const SocketAddress address = here(wanted);
    const RouteId known = find(address);
    if (known != no_id<RouteId>) {
        route = known;
        return Status::ok;
    }
    if (forgotten_.empty() && routes_.size() >= max_routes_) {
        return Status::no_memory;
    }
    try {
        const Way way = way_to(address);
        if (way.mtu == 0) {
            return Status::unreachable;
        }
        if (forgotten_.empty()) {
            if (forgotten_.capacity() <= routes_.size()) {
                forgotten_.reserve(2 * routes_.size() + 1); // all of them, so that forget() cannot fail
            }
            routes_.push_back({.used = false});
            forgotten_.push_back(RouteId{static_cast<std::uint32_t>(routes_.size() - 1)});
        }
        const RouteId added = forgotten_.back();
        by_address_.emplace(address, added);
        forgotten_.pop_back();
        routes_[index_of(added)] = {
            .address = address, .mtu = payload_of(way.mtu), .on_this_host = way.on_this_host};
        route = added;
        return Status::ok;
    } catch (const std::bad_alloc&) {
        return Status::no_memory;
    }
}

UdpRoutes::Way UdpRoutes::way_to(const SocketAddress& address)
{
    const std::uint32_t ip_mtu = path_mtu(mtu_socket_, address);
    if (address.same_host(local_)) {
        constexpr std::uint32_t longest = 65535; // of an IP packet
        return {.mtu = ip_mtu != 0 ? ip_mtu : longest, .on_this_host = true};
    }
    HostRoute found;
    if (ip_mtu == 0 || query_.find(address, local_, found) != 0) {
        return {};
    }
    return {.mtu = ip_mtu, .on_this_host = found.to_this_host};
}

bool UdpRoutes::forget(RouteId route) noexcept
{
    SRD_CHECK(contains(route));
    Route& entry = routes_[index_of(route)];
    by_address_.erase(entry.address);
    entry = {.used = false};
    forgotten_.push_back(route); // there is room for all
    return true;
}

/// The scope of a link-local address is an interface of the peer; here it must be one of this host.
SocketAddress UdpRoutes::here(SocketAddress address) const noexcept
{
    if (local_.scope_id() != 0) {
        address.set_scope_id(local_.scope_id());
    }
    return address;
}

RouteId UdpRoutes::find(const SocketAddress& address) const noexcept
{
    const auto found = by_address_.find(here(address));
    return found == by_address_.end() ? no_id<RouteId> : found->second;
}

bool UdpRoutes::refresh_mtu(RouteId route) noexcept
{
    Route& entry = routes_[index_of(route)];
    const std::uint32_t ip_mtu = path_mtu(mtu_socket_, entry.address);
    if (ip_mtu == 0) {
        return false; // without an answer, or a way, it stays as it was
    }
    const std::uint32_t before = std::exchange(entry.mtu, payload_of(ip_mtu));
    if (entry.mtu < before && entry.former_mtu == 0) {
        review_later(route, before);
    }
    return entry.mtu != before;
}

RouteId UdpRoutes::review_mtu(Time now) noexcept
{
    now_ = now;
    if (reviews_.empty() || now < reviews_.front().due) [[likely]] {
        return no_id<RouteId>;
    }
    const RouteId route = reviews_.front().route;
    reviews_.pop_front();
    if (!contains(route)) {
        return no_id<RouteId>;
    }
    const bool changed = refresh_mtu(route);
    Route& entry = routes_[index_of(route)];
    const std::uint32_t former = std::exchange(entry.former_mtu, 0);
    if (entry.mtu < former) {
        review_later(route, former);
    }
    return changed ? route : no_id<RouteId>;
}

void UdpRoutes::review_later(RouteId route, std::uint32_t former_mtu) noexcept
{
    try {
        reviews_.push_back({route, now_ + review_interval});
        routes_[index_of(route)].former_mtu = former_mtu;
    } catch (const std::bad_alloc&) { // then its next packet that is too long tells
    }
}

std::uint32_t UdpRoutes::payload_of(std::uint32_t ip_mtu) const noexcept
{
    constexpr std::uint32_t least = 576; // what every host can take in (RFC 1122)
    return std::min(std::max(ip_mtu, least) - udp_overhead(local_.family()), max_packet_);
}

} // namespace srd
