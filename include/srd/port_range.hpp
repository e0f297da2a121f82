// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The ports that a firewall lets through, and who takes which of them.
//
// The last ports are the source ports of paths, at most half of all: every process of a user takes the same
// ones, so that they are few however many processes a host has. Endpoints receive at the others, the first
// free one. So no process's paths take the port that another one needs to receive at.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include <srd/limits.hpp>

namespace srd {

struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0; ///< inclusive; 0: all ports, as the kernel chooses

    constexpr bool empty() const noexcept { return last == 0; }
    constexpr bool contains(std::uint16_t port) const noexcept { return first <= port && port <= last; }

    /// How many source ports there are for the paths but path 0, which leaves by the receiving port.
    constexpr std::size_t sources() const noexcept
    {
        return empty() ? 0 : std::min<std::size_t>(max_paths - 1, (std::size_t{last} - first + 1) / 2);
    }
    /// The source port of `path` (0: any); paths share ports where there are more of them. 0: none.
    constexpr std::uint16_t source_port(std::size_t path) const noexcept
    {
        const std::size_t count = sources();
        return count == 0 ? std::uint16_t{0} : static_cast<std::uint16_t>(last - (path + count - 1) % count);
    }
    constexpr std::uint16_t last_receiving() const noexcept
    {
        return static_cast<std::uint16_t>(last - sources());
    }

    std::string text() const { return std::to_string(first) + '-' + std::to_string(last); }

    friend bool operator==(const PortRange&, const PortRange&) = default;
};

} // namespace srd
