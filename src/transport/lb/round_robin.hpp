// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Every path in turn whatever becomes of the packets: oblivious spraying, the
// baseline that shows what adaptive selection is for.
#pragma once

#include <algorithm>

#include "lb/path_selector.hpp"

namespace srd {

class RoundRobinPaths {
public:
    /// The seed sets where the turn starts, so that peers do not march in step.
    RoundRobinPaths(std::uint32_t path_count, std::uint64_t seed) noexcept
        : open_(std::clamp(path_count, 1U, max_paths)), next_(static_cast<std::uint8_t>(seed % open_.count()))
    {
    }

    void set_open(unsigned places, std::uint16_t open) noexcept { open_.set(places, open); }

    PathId next(Time) noexcept { return next_of(open_.paths()); }
    PathId next_among(std::uint64_t paths, Time) noexcept
    {
        const std::uint64_t open = open_.paths();
        return next_of((open & paths) != 0 ? open & paths : open);
    }

    PathId next_avoiding(PathId avoid, Time now) noexcept
    {
        const PathId path = next(now);
        return path == avoid ? next(now) : path;
    }

    PathId any(std::uint64_t chance) const noexcept { return path_by_chance(open_.paths(), chance); }

    void feedback(PathId, PathOutcome, Time) noexcept {}

private:
    PathId next_of(std::uint64_t paths) noexcept
    {
        const std::uint64_t ahead = paths & (~std::uint64_t{0} << next_);
        const auto path = static_cast<unsigned>(std::countr_zero(ahead != 0 ? ahead : paths));
        next_ = static_cast<std::uint8_t>((path + 1U) % open_.count());
        return PathId(path);
    }

    OpenPaths open_;
    std::uint8_t next_;
};

static_assert(PathSelector<RoundRobinPaths>);

} // namespace srd
