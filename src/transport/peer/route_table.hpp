// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is kept by route: its peer, and how many connections were begun with its address, which is what their
// names are made of (ConnectionNames).
//
// Strangers come without end, so a route without a peer is forgotten some day, and its count with it. Laws:
//  - No count of an address serves twice: an address whose route is not known, and may have been forgotten,
//    counts from where every forgotten one had ended (the floor) or above.
//  - An address that was told the count of its next connection (next()) may use it, whatever others do
//    meanwhile (is_promised()): until half as many peers as idle routes are kept have left. They are told one
//    that no route had reached when the promise was made, and the routes that have since are the last to be
//    forgotten.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include <srd/check.hpp>
#include <srd/intrusive_list.hpp>
#include <srd/lazy_array.hpp>
#include <srd/limits.hpp>
#include <srd/types.hpp>

namespace srd {

class RouteTable {
public:
    explicit RouteTable(const Limits& limits)
        : entries_(limits.max_routes), max_routes_(limits.max_routes), max_idle_(limits.idle_routes)
    {
        SRD_CHECK(max_idle_ >= 2);
    }

    // -- Peers

    /// The peer, or no_index.
    std::uint32_t peer(RouteId route) const noexcept
    {
        SRD_CHECK(index_of(route) < max_routes_);
        return entries_[index_of(route)].peer - 1; // 0 - 1 = no_index
    }
    void set_peer(RouteId route, std::uint32_t peer) noexcept
    {
        Entry& entry = entries_[index_of(route)];
        if (entry.idle) {
            unlist(static_cast<std::uint32_t>(route));
        }
        entry.peer = peer + 1;
    }
    /// The peer is given up. Nobody has used its latest connection, which somebody may have been told.
    void leave(RouteId route) noexcept
    {
        const auto index = static_cast<std::uint32_t>(route);
        Entry& entry = entries_[index];
        SRD_DCHECK(entry.peer != 0 && entry.generation != 0);
        entry.peer = 0;
        --entry.generation;
        entry.idle = true;
        idle_.push_back(entries_, index);
        ++idle_count_;
        if (++left_ >= max_idle_ / 2) {
            left_ = 0;
            former_promise_ = promise_;
            promise_ = highest_;
        }
    }
    /// Forgets a route that has had no peer for longest, or none: no_id<RouteId>. Call until there is none.
    RouteId forget_oldest() noexcept
    {
        if (idle_count_ <= max_idle_) {
            return no_id<RouteId>;
        }
        const std::uint32_t oldest = idle_.front();
        unlist(oldest);
        floor_ = std::max(floor_, std::exchange(entries_[oldest].generation, 0));
        return RouteId{oldest};
    }
    /// It has no peer, and is not to be forgotten some day either: none ever had it.
    bool is_fresh(RouteId route) const noexcept
    {
        return peer(route) == no_index && !entries_[index_of(route)].idle;
    }

    // -- Counts. `route`: no_id<RouteId> if the address has none.

    /// What an address is told, and what its next connection counts as if we begin it.
    std::uint32_t next(RouteId route) const noexcept { return std::max(promise_, unused(route)); }
    /// True if `is_told` holds for a count that the address may have been told and not used. The name made of
    /// it is asked for, since it is what the address shows.
    template <typename IsTold>
    bool find_promised(RouteId route, std::uint32_t& count, IsTold&& is_told) const
    {
        const std::uint32_t least = unused(route);
        for (const std::uint32_t promised : std::array{next(route), former_promise_, least}) {
            if (promised >= least && is_told(promised)) {
                count = promised;
                return true;
            }
        }
        return false;
    }
    /// A connection begins: next(), or what find_promised() has found.
    void begin(RouteId route, std::uint32_t count) noexcept
    {
        SRD_DCHECK(count >= unused(route));
        entries_[index_of(route)].generation = count + 1;
        highest_ = std::max(highest_, count + 1);
    }

private:
    struct Entry {                    // all zero at first
        std::uint32_t peer = 0;       ///< + 1; 0: none
        std::uint32_t generation = 0; ///< the least count that no connection had; 0: none ever began
        Link link{0, 0};              ///< if idle
        bool idle = false;            ///< had a peer, and is to be forgotten after those before it
    };

    /// The least count of the address that was certainly never used.
    std::uint32_t unused(RouteId route) const noexcept
    {
        const std::uint32_t own = route != no_id<RouteId> ? entries_[index_of(route)].generation : 0;
        return own != 0 ? own : floor_;
    }
    void unlist(std::uint32_t index) noexcept
    {
        idle_.erase(entries_, index);
        entries_[index].idle = false;
        --idle_count_;
    }

    LazyArray<Entry> entries_;
    std::uint32_t max_routes_;
    std::uint32_t max_idle_;
    IndexList<&Entry::link> idle_; ///< the latest at the end
    std::uint32_t idle_count_ = 0;
    std::uint32_t left_ = 0;    ///< since the promise was made
    std::uint32_t highest_ = 0; ///< no connection has ever counted as this or more
    std::uint32_t promise_ = 0;
    std::uint32_t former_promise_ = 0;
    std::uint32_t floor_ = 0; ///< no address whose route was forgotten has counted as this or more
};

} // namespace srd
