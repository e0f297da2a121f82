// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The path-selection policy's interface. A policy is a small value type, one
// per peer: it hands out the path of the next packet (or burst) and is told
// what became of each.
#pragma once

#include <concepts>
#include <cstdint>

#include <srd/limits.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

namespace srd {

enum class PathOutcome : std::uint8_t {
    good,      ///< acknowledged, no congestion mark
    marked,    ///< acknowledged with a congestion mark
    lost,      ///< declared lost while later packets on other paths got through
    timed_out, ///< lost with everything around it: says little about this one path
};

// Version 14 takes a requires expression apart.
// clang-format off
template <typename T>
concept PathSelector = std::copyable<T> && std::constructible_from<T, std::uint32_t /*path_count*/, std::uint64_t /*seed*/> &&
    requires(T t, Time now, PathId path, PathOutcome outcome, std::uint64_t chance) {
        { t.next(now) } -> std::same_as<PathId>;
        /// A path other than `avoid` where there is one: for retransmissions.
        { t.next_avoiding(path, now) } -> std::same_as<PathId>;
        /// By chance, a random number: when nothing gets through, what was learned of the paths is worth nothing.
        { t.any(chance) } -> std::same_as<PathId>;
        { t.feedback(path, outcome, now) } -> std::same_as<void>;
    };
// clang-format on

} // namespace srd
