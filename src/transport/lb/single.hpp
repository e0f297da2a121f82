// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One path for everything, as a connection of TCP has it: the baseline that
// shows what spraying is for.
#pragma once

#include <algorithm>

#include "lb/path_selector.hpp"

namespace srd {

class SinglePath {
public:
    SinglePath(std::uint32_t path_count, std::uint64_t seed) noexcept
        : count_(std::clamp(path_count, 1U, max_paths)), path_(static_cast<PathId>(seed % count_))
    {
    }

    void set_open(unsigned places, std::uint16_t open) noexcept
    {
        const std::uint64_t paths = OpenPaths::paths_to(places, open);
        if ((paths >> index_of(path_) & 1) == 0) {
            path_ = path_by_chance(paths & all_paths(count_), index_of(path_));
        }
    }
    PathId next_among(std::uint64_t, Time) noexcept { return path_; }

    PathId next(Time) noexcept { return path_; }
    PathId next_avoiding(PathId, Time) noexcept { return path_; }
    PathId any(std::uint64_t) const noexcept { return path_; }
    void feedback(PathId, PathOutcome, Time) noexcept {}

private:
    std::uint32_t count_;
    PathId path_;
};

static_assert(PathSelector<SinglePath>);

} // namespace srd
