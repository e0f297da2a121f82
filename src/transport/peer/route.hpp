// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Where a peer is and what the way there takes. It outlives connections: only
// what the peer has told and answered is forgotten with one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include <srd/check.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "io/core/packet_io.hpp"
#include "peer/path_mtu.hpp"
#include "wire/frames.hpp"

namespace srd {

class Route {
public:
    Route() noexcept = default;
    /// `address_hash`: ConnectionNames'; `own`: of our backend.
    Route(const RouteInfo& info, std::uint64_t address_hash, const IoCaps& own) noexcept
        : id_(info.id), paths_(std::clamp<std::uint16_t>(info.paths, 1, own.path_count)),
          certain_(info.mtu.certain), own_max_packet_(size_of(own.max_packet)),
          route_mtu_(size_of(info.mtu.bytes)), overhead_(own.overhead), address_hash_(address_hash)
    {
        SRD_CHECK(largest_packet() > wire::min_max_packet);
        forget_peer();
    }

    RouteId id() const noexcept { return id_; }
    std::uint64_t address_hash() const noexcept { return address_hash_; }
    std::uint16_t paths() const noexcept { return paths_; }
    /// The largest packet that may be begun now, bytes. Larger ones that are under way stay as they are, and
    /// go in fragments.
    std::uint32_t mtu() const noexcept { return path_mtu_.confirmed() - overhead_; }
    /// A packet of so many bytes gets through everywhere.
    std::uint32_t base_mtu() const noexcept { return PathMtu::base - overhead_; }
    /// In bytes of what leaves the host.
    PathMtu& path_mtu() noexcept { return path_mtu_; }
    const PathMtu& path_mtu() const noexcept { return path_mtu_; }
    /// The largest packet that the way, as the backend knows it, and this host would take.
    std::uint32_t largest_packet() const noexcept { return std::min(route_mtu_, own_max_packet_); }

    /// The backend has learned another MTU. One that no packet of ours fits is not believed. True: more fits
    /// than before.
    bool set_mtu(std::uint32_t mtu, Time now) noexcept
    {
        if (mtu <= wire::min_max_packet) {
            return false;
        }
        const std::uint32_t before = std::exchange(route_mtu_, size_of(mtu));
        path_mtu_.set_ceiling(ceiling(), now);
        return route_mtu_ > before;
    }
    /// The peer's hello names the largest packet that it takes, or that it believes can reach us.
    void meet(std::uint32_t peer_max_packet, Time now) noexcept
    {
        peer_max_packet_ = size_of(peer_max_packet);
        path_mtu_.set_ceiling(ceiling(), now);
    }
    /// Another process may answer there from now on.
    void forget_peer() noexcept
    {
        peer_max_packet_ = size_of(base_mtu());
        path_mtu_ = PathMtu(ceiling(), certain_);
    }
    std::uint32_t peer_max_packet() const noexcept { return peer_max_packet_; }

    /// Packets go through memory of this host: cheap, and so quick that few are better early.
    bool same_host() const noexcept { return same_host_; }
    void set_same_host(bool same_host) noexcept { same_host_ = same_host; }

private:
    static constexpr std::uint16_t size_of(std::uint32_t bytes) noexcept
    {
        return static_cast<std::uint16_t>(std::min(bytes, max_udp_payload));
    }
    std::uint32_t ceiling() const noexcept
    {
        return std::min<std::uint32_t>(largest_packet(), peer_max_packet_) + overhead_;
    }

    RouteId id_{};
    std::uint16_t paths_ = 1;
    bool same_host_ = false;
    bool certain_ = false; ///< RouteMtu::certain
    std::uint16_t own_max_packet_ = 0;
    std::uint16_t route_mtu_ = 0;
    std::uint16_t overhead_ = 0; ///< IoCaps::overhead
    std::uint16_t peer_max_packet_ = PathMtu::base;
    PathMtu path_mtu_;
    std::uint64_t address_hash_ = 0;
};

} // namespace srd
