// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Where a peer is and what the way there takes. It outlives connections: only
// the peer's own limit, which its hello names, is forgotten with one.
#pragma once

#include <algorithm>
#include <cstdint>

#include <srd/check.hpp>
#include <srd/types.hpp>

#include "wire/frames.hpp"

namespace srd {

class Route {
public:
    /// Until a peer has said how large a packet it takes, packets to it are no larger than this: what fits
    /// the smallest MTU of IPv6 (1280 bytes, RFC 8200, with its header and UDP's).
    static constexpr std::uint32_t unmet_max_packet = 1280 - 40 - 8;

    Route() noexcept = default;
    /// `mtu`: PacketIo::route_mtu(); `own_max_packet`: IoCaps::max_packet; `paths`: at least 1.
    Route(RouteId id, std::uint32_t mtu, std::uint32_t own_max_packet, std::uint16_t paths) noexcept
        : id_(id), paths_(paths), own_max_packet_(own_max_packet), route_mtu_(mtu)
    {
        SRD_CHECK(std::min(mtu, own_max_packet) > wire::min_max_packet);
        update();
    }

    RouteId id() const noexcept { return id_; }
    std::uint16_t paths() const noexcept { return paths_; }
    /// The largest packet that may be begun now, bytes. Larger ones that are under way stay as they are: a
    /// backend carries them in fragments.
    std::uint32_t mtu() const noexcept { return mtu_; }
    /// The largest packet that the way and this host would take.
    std::uint32_t largest_packet() const noexcept { return std::min(route_mtu_, own_max_packet_); }
    /// Bytes of frames that fit one packet, beside an acknowledgement.
    std::uint32_t frame_capacity() const noexcept { return mtu_ - wire::packet_overhead; }

    /// The backend has learned another MTU. One that no packet of ours fits is not believed.
    void set_mtu(std::uint32_t mtu) noexcept
    {
        if (mtu > wire::min_max_packet) {
            route_mtu_ = mtu;
            update();
        }
    }
    /// The peer's hello names the largest packet that it takes.
    void meet(std::uint32_t peer_max_packet) noexcept
    {
        peer_max_packet_ = peer_max_packet;
        update();
    }
    /// Another process may answer there from now on.
    void forget_peer() noexcept { meet(unmet_max_packet); }
    std::uint32_t peer_max_packet() const noexcept { return peer_max_packet_; }

    /// Packets go through memory of this host: cheap, and so quick that few are better early.
    bool same_host() const noexcept { return same_host_; }
    void set_same_host(bool same_host) noexcept { same_host_ = same_host; }

private:
    void update() noexcept { mtu_ = std::min(largest_packet(), peer_max_packet_); }

    RouteId id_{};
    std::uint16_t paths_ = 1;
    bool same_host_ = false;
    std::uint32_t mtu_ = 0;
    std::uint32_t own_max_packet_ = 0;
    std::uint32_t route_mtu_ = 0;
    std::uint32_t peer_max_packet_ = unmet_max_packet;
};

} // namespace srd
