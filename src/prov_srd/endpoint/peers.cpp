// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/peers.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include <rdma/fi_errno.h>

#include "common/log.hpp"
#include "endpoint/bindings.hpp"
#include "progress/clock.hpp"

namespace srd {

void Peers::start()
{
    destinations_.resize(64);
    sources_.resize(64);
}

ssize_t Peers::find_route(fi_addr_t fi_addr, RouteId& route) noexcept
{
    if (fi_addr < destinations_.size() && destinations_[fi_addr].route != no_id<RouteId>) {
        route = destinations_[fi_addr].route;
        return 0;
    }
    SocketAddress address;
    if (!bindings_.vector()->address_of(fi_addr, address)) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "fi_addr_t %#llx is not in the address vector; insert the peer's address first",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    switch (unit_.io().resolve(address, route)) {
    case Status::ok:
        break;
    case Status::unreachable:
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "this host has no route to the address of fi_addr_t %llu",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EHOSTUNREACH;
    case Status::no_memory:
    case Status::again:
        return -FI_ENOMEM;
    case Status::invalid:
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "the address of fi_addr_t %llu is not one of this endpoint's family",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    try {
        if (fi_addr >= destinations_.size()) {
            destinations_.resize(std::max<std::size_t>(fi_addr + 1, 2 * destinations_.size()));
        }
    } catch (const std::bad_alloc&) {
        return -FI_ENOMEM;
    }
    destinations_[fi_addr].route = route;
    return 0;
}

ssize_t Peers::open_peer(fi_addr_t fi_addr, PeerId& peer) noexcept
{
    RouteId route{};
    if (const ssize_t error = find_route(fi_addr, route); error != 0) {
        return error;
    }
    const PacketIo& io = unit_.io();
    peer = unit_.engine().open_peer(route, io.route_mtu(route), clock_now(), io.route_paths(route));
    if (peer == no_id<PeerId>) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "no room for another peer; raise FI_SRD_MAX_PEERS");
        return -FI_ENOMEM;
    }
    destinations_[fi_addr].peer = peer;
    return 0;
}

void Peers::address_removed(fi_addr_t fi_addr) noexcept
{
    const UnitGuard guard(unit_);
    if (fi_addr < destinations_.size()) {
        const Destination forgotten = std::exchange(destinations_[fi_addr], Destination{});
        if (forgotten.peer != no_id<PeerId>) {
            unit_.engine().release_peer(forgotten.peer);
        }
    }
}

fi_addr_t Peers::source_of(RouteId route) noexcept
{
    const AddressVector& vector = *bindings_.vector();
    const std::uint64_t generation = vector.generation();
    const std::size_t index = index_of(route);
    if (index < sources_.size() && sources_[index].generation == generation) [[likely]] {
        return sources_[index].address;
    }
    const fi_addr_t address = vector.find(address_of(route));
    try {
        if (index >= sources_.size()) {
            sources_.resize(std::max(index + 1, 2 * sources_.size()));
        }
        sources_[index] = {.generation = generation, .address = address};
    } catch (const std::bad_alloc&) { // then it is looked up again next time
    }
    return address;
}

const SocketAddress& Peers::address_of(RouteId route) const noexcept
{
    return unit_.io().route_address(route);
}

std::string Peers::text(RouteId route) const noexcept
{
    try {
        return address_of(route).text();
    } catch (const std::bad_alloc&) {
        return "a peer"; // so short a text needs no memory
    }
}

void Peers::warn_of(RouteId route, Cause cause) const noexcept
{
    SRD_WARN_SPARSE(FI_LOG_EP_DATA, "operations with %s fail: %s", text(route).c_str(), to_string(cause));
}

} // namespace srd
