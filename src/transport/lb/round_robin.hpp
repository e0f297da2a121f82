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
        : count_(static_cast<std::uint8_t>(std::clamp(path_count, 1U, max_paths))),
          next_(static_cast<std::uint8_t>(seed % count_))
    {
    }

    PathId next(Time) noexcept
    {
        const PathId path{next_};
        next_ = static_cast<std::uint8_t>((next_ + 1U) % count_);
        return path;
    }

    PathId next_avoiding(PathId avoid, Time now) noexcept
    {
        const PathId path = next(now);
        return path == avoid ? next(now) : path;
    }

    PathId any(std::uint64_t chance) const noexcept { return static_cast<PathId>(chance % count_); }

    void feedback(PathId, PathOutcome, Time) noexcept {}

private:
    std::uint8_t count_;
    std::uint8_t next_;
};

static_assert(PathSelector<RoundRobinPaths>);

} // namespace srd
