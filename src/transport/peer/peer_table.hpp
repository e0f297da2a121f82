// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The peers of one engine: found by route and by connection identifier; those
// with something to send, in the order of their turns; and one timer each.
#pragma once

#include <cstddef>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/limits.hpp>
#include <srd/slab.hpp>

#include "peer/connection_table.hpp"
#include "peer/peer.hpp"
#include "peer/route_table.hpp"
#include "timing_wheel.hpp"

namespace srd {

class PeerTable {
public:
    explicit PeerTable(const Limits& limits)
        : peers_(limits.max_peers), connections_(limits.max_peers), routes_(limits),
          wheel_(limits.max_peers, Time{})
    {
    }

    Peer& operator[](std::uint32_t peer) noexcept { return peers_[peer]; }
    const Peer& operator[](std::uint32_t peer) const noexcept { return peers_[peer]; }
    bool live(std::uint32_t peer) const noexcept { return peers_.live(peer); }
    bool full() const noexcept { return peers_.in_use() == peers_.capacity(); }
    /// One more than the largest index ever in use: the bound of a walk over all.
    std::uint32_t watermark() const noexcept { return peers_.watermark(); }

    /// A record without a connection; no_index if there are too many.
    std::uint32_t alloc() noexcept { return peers_.alloc(); }
    /// Its connection must have been dropped.
    void release(std::uint32_t peer) noexcept
    {
        deactivate(peer);
        wheel_.cancel(peer);
        routes_.leave(peers_[peer].route.id());
        peers_.release(peer);
    }

    // -- Finding

    RouteTable& routes() noexcept { return routes_; }
    const RouteTable& routes() const noexcept { return routes_; }
    std::uint32_t of_route(RouteId route) const noexcept { return routes_.peer(route); }
    void set_route(std::uint32_t peer) noexcept { routes_.set_peer(peers_[peer].route.id(), peer); }

    /// Packets under `connection` are the peer's.
    void connect(std::uint64_t connection, std::uint32_t peer) noexcept
    {
        connections_.insert(connection, peer);
    }
    void disconnect(std::uint64_t connection) noexcept
    {
        connections_.erase(connection);
        last_ = no_index;
    }
    /// The peer, or no_index. Most packets come in trains: the latest is remembered.
    std::uint32_t of_connection(std::uint64_t connection) noexcept
    {
        if (connection == 0) {
            return no_index;
        }
        if (last_ == no_index || peers_[last_].handshake.rx_connection() != connection) {
            last_ = connections_.find(connection);
        }
        return last_;
    }

    // -- Turns

    /// It has something to send: it gets a turn.
    void activate(std::uint32_t peer) noexcept
    {
        if (!peers_[peer].active_) {
            peers_[peer].active_ = true;
            active_.push_back(peers_, peer);
        }
    }
    void deactivate(std::uint32_t peer) noexcept
    {
        if (peers_[peer].active_) {
            peers_[peer].active_ = false;
            active_.erase(peers_, peer);
        }
    }
    bool any_active() const noexcept { return !active_.empty(); }
    std::uint32_t first_active() const noexcept { return active_.front(); }
    std::uint32_t next_active(std::uint32_t peer) const noexcept
    {
        return IndexList<&Peer::active_link_>::next(peers_, peer);
    }
    std::uint32_t last_active() const noexcept { return active_.back(); }

    // -- Timers

    /// Keeps one timer per peer, at or before the earliest of its deadlines. A deadline that has moved back
    /// is noticed when the timer fires.
    void arm(std::uint32_t peer) noexcept
    {
        const Time deadline = peers_[peer].deadline();
        if (deadline < peers_[peer].armed_at_) {
            peers_[peer].armed_at_ = deadline;
            wheel_.arm(peer, deadline);
        }
    }
    /// What is due has to wait until `at`.
    void postpone(std::uint32_t peer, Time at) noexcept
    {
        peers_[peer].armed_at_ = at;
        wheel_.arm(peer, at);
    }
    Time next_timeout() const noexcept { return wheel_.next(); }
    /// Calls `fire(peer)` for every peer whose timer has come.
    template <typename Fire>
    void expire(Time now, Fire&& fire)
    {
        wheel_.expire(now, [&](std::uint32_t peer) {
            peers_[peer].armed_at_ = time_never;
            fire(peer);
        });
    }

    /// Aborts if the peer's entries contradict it.
    void check(std::uint32_t peer) const
    {
        const Peer& record = peers_[peer];
        SRD_CHECK(connections_.find(record.handshake.rx_connection()) == peer);
        SRD_CHECK(of_route(record.route.id()) == peer);
        // Whatever waits has something that will move it: a turn, a timer or an acknowledgement.
        SRD_CHECK(!record.connection.window.any_in_flight() || record.armed_at_ != time_never ||
                  record.active_ || record.connection.refusal.blocked());
    }

private:
    Slab<Peer> peers_;
    ConnectionTable connections_;
    RouteTable routes_;
    std::uint32_t last_ = no_index; ///< the peer of the previous packet
    IndexList<&Peer::active_link_> active_;
    TimingWheel wheel_;
};

} // namespace srd
