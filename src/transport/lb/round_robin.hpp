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

    PathId next(Time) noexcept { return path_in_turn(open_.paths(), open_.count(), next_); }
    PathId next_among(std::uint64_t paths, Time) noexcept
    {
        const std::uint64_t open = open_.paths();
        return path_in_turn((open & paths) != 0 ? open & paths : open, open_.count(), next_);
    }

    PathId next_avoiding(PathId avoid, Time now) noexcept
    {
        const PathId path = next(now);
        return path == avoid ? next(now) : path;
    }

    PathId any(std::uint64_t chance) const noexcept { return path_by_chance(open_.paths(), chance); }

    void feedback(PathId, PathOutcome, Time) noexcept {}

private:
    OpenPaths open_;
    std::uint8_t next_;
};

static_assert(PathSelector<RoundRobinPaths>);

} // namespace srd
