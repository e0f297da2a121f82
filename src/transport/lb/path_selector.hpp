// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The path-selection policy's interface. A policy is a small value type, one
// per peer: it hands out the path of the next packet (or burst) and is told
// what became of each.
#pragma once

#include <bit>
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

/// The bits of so many paths.
constexpr std::uint64_t all_paths(std::uint32_t count) noexcept
{
    return ~std::uint64_t{0} >> (max_paths - count);
}
/// One of the paths `open`, by chance.
constexpr PathId path_by_chance(std::uint64_t open, std::uint64_t chance) noexcept
{
    for (auto left = chance % static_cast<unsigned>(std::popcount(open)); left != 0; --left) {
        open &= open - 1;
    }
    return static_cast<PathId>(std::countr_zero(open));
}

/// The next path in turn among `candidates`, of which there is at least one, of `count` paths. `cursor`:
/// where the turn goes on.
constexpr PathId path_in_turn(std::uint64_t candidates, std::uint32_t count, std::uint8_t& cursor) noexcept
{
    const std::uint64_t ahead = candidates & (~std::uint64_t{0} << cursor);
    const auto path = static_cast<unsigned>(std::countr_zero(ahead != 0 ? ahead : candidates));
    cursor = static_cast<std::uint8_t>((path + 1U) % count);
    return PathId(path);
}

/// Where paths lead to several places in turn, `places` of them: which places may be chosen.
class OpenPaths {
public:
    explicit constexpr OpenPaths(std::uint32_t count) noexcept : count_(static_cast<std::uint8_t>(count)) {}

    /// A bit for each place, of which there is at least one.
    constexpr void set(unsigned places, std::uint16_t open) noexcept
    {
        places_ = static_cast<std::uint8_t>(places);
        open_ = open;
    }
    std::uint32_t count() const noexcept { return count_; }
    /// A bit for each path that leads to such a place.
    constexpr std::uint64_t paths() const noexcept
    {
        return places_ == 1 ? all_paths(count_) : paths_to(places_, open_) & all_paths(count_);
    }
    static constexpr std::uint64_t paths_to(unsigned places, std::uint16_t open) noexcept
    {
        std::uint64_t first = 0; // the first place's
        for (unsigned path = 0; path < max_paths; path += places) {
            first |= std::uint64_t{1} << path;
        }
        std::uint64_t paths = 0;
        for (unsigned left = open; left != 0; left &= left - 1) {
            paths |= first << static_cast<unsigned>(std::countr_zero(left));
        }
        return paths;
    }

private:
    std::uint16_t open_ = 1;
    std::uint8_t places_ = 1;
    std::uint8_t count_;
};

// Version 14 takes a requires expression apart.
// clang-format off
template <typename T>
concept PathSelector = std::copyable<T> && std::constructible_from<T, std::uint32_t /*path_count*/, std::uint64_t /*seed*/> &&
    requires(T t, Time now, PathId path, PathOutcome outcome, std::uint64_t chance, std::uint64_t paths,
             unsigned places, std::uint16_t open) {
        { t.next(now) } -> std::same_as<PathId>;
        /// A path other than `avoid` where there is one: for retransmissions.
        { t.next_avoiding(path, now) } -> std::same_as<PathId>;
        /// By chance, a random number: when nothing gets through, what was learned of the paths is worth nothing.
        { t.any(chance) } -> std::same_as<PathId>;
        { t.feedback(path, outcome, now) } -> std::same_as<void>;
        /// Paths lead to so many places in turn; those that may be chosen from now on, a bit for each. At first
        /// there is one.
        { t.set_open(places, open) } -> std::same_as<void>;
        /// One of these, if any is open and works.
        { t.next_among(paths, now) } -> std::same_as<PathId>;
    };
// clang-format on

} // namespace srd
