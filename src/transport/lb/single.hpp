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
        : path_(static_cast<PathId>(seed % std::clamp(path_count, 1U, max_paths)))
    {
    }

    PathId next(Time) noexcept { return path_; }
    PathId next_avoiding(PathId, Time) noexcept { return path_; }
    PathId any(std::uint64_t) const noexcept { return path_; }
    void feedback(PathId, PathOutcome, Time) noexcept {}

private:
    PathId path_;
};

static_assert(PathSelector<SinglePath>);

} // namespace srd
