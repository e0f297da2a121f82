// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Between libfabric's names of peers (fi_addr_t) and the engine's (RouteId,
// PeerId).
//
// Laws:
//  - A fi_addr_t gets a route when it is first used and a peer when something is
//    first sent to it; both are forgotten when the address vector removes it.
//  - A route that the application has named stays; that of a stranger goes when its peer has gone.
//  - A source is looked up in the vector once per change of the vector.
//
// Threading: the endpoint's lock; address_removed() takes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

#include <srd/types.hpp>

#include "endpoint/progress_unit.hpp"
#include "objects/av.hpp"

namespace srd {

class Bindings;

class Peers final : public AvObserver {
public:
    Peers(ProgressUnit& unit, const Bindings& bindings) noexcept : unit_(unit), bindings_(bindings) {}

    /// Before the first use. Throws std::bad_alloc.
    void start() SRD_REQUIRES(endpoint_lock);

    /// The peer of `fi_addr`, made on first use. 0 or a negative fi_errno, with a line; -FI_EAGAIN, without
    /// one, while this host has no route to it at the moment.
    ssize_t find_peer(fi_addr_t fi_addr, PeerId& peer) noexcept SRD_REQUIRES(endpoint_lock)
    {
        if (fi_addr < destinations_.size() && destinations_[fi_addr].peer != no_id<PeerId>) [[likely]] {
            peer = destinations_[fi_addr].peer;
            return 0;
        }
        return open_peer(fi_addr, peer);
    }
    /// The same for its route.
    ssize_t find_route(fi_addr_t fi_addr, RouteId& route) noexcept SRD_REQUIRES(endpoint_lock);
    /// The fi_addr_t of a sender, FI_ADDR_NOTAVAIL if it is not in the vector.
    fi_addr_t source_of(RouteId route) noexcept SRD_REQUIRES(endpoint_lock);

    /// Good as long as the backend.
    const SocketAddress& address_of(RouteId route) const noexcept SRD_REQUIRES(endpoint_lock);
    /// For people.
    std::string text(RouteId route) const noexcept SRD_REQUIRES(endpoint_lock);
    /// An operation with the peer failed. That the peer did is said, once; everything else is for the log.
    void failed(RouteId route, Cause cause) const noexcept SRD_REQUIRES(endpoint_lock);

    // -- For the progress unit: what the engine tells of peers, and only the user can be told -----

    /// Event::Kind::peer_lost: what was injected has completed, and no completion can say that it failed.
    void on_lost(const Event& event) const noexcept SRD_REQUIRES(endpoint_lock);
    void on_waiting(const Event& event) const noexcept SRD_REQUIRES(endpoint_lock);
    void on_mtu_found(const Event& event) const noexcept SRD_REQUIRES(endpoint_lock);

    /// The engine has no use for it any more. It stays if the application has named it.
    void on_route_released(RouteId route) noexcept SRD_REQUIRES(endpoint_lock);

    /// The peer itself stays until it goes: it may go on sending to us, and fi_av_remove() must not cut a
    /// conversation that does not need the vector.
    void address_removed(fi_addr_t fi_addr) noexcept override;

private:
    struct Destination {
        RouteId route = no_id<RouteId>;
        PeerId peer = no_id<PeerId>;
    };
    struct KnownSource {
        std::uint64_t generation = 0; ///< of the address vector when it was looked up
        fi_addr_t address = FI_ADDR_NOTAVAIL;
    };
    ssize_t open_peer(fi_addr_t fi_addr, PeerId& peer) noexcept SRD_REQUIRES(endpoint_lock);
    ssize_t no_way_to(const SocketAddress& address) noexcept SRD_REQUIRES(endpoint_lock);

    ProgressUnit& unit_;
    const Bindings& bindings_;
    std::vector<Destination> destinations_ SRD_GUARDED_BY(endpoint_lock); ///< by fi_addr_t
    std::vector<KnownSource> sources_ SRD_GUARDED_BY(endpoint_lock);      ///< by RouteId; only with FI_SOURCE
    std::vector<bool>
        named_ SRD_GUARDED_BY(endpoint_lock);           ///< routes that were found for a fi_addr_t: they stay
    Time no_way_since_ SRD_GUARDED_BY(endpoint_lock){}; ///< to addresses not used before
};

} // namespace srd
