// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What people write as the values of variables. Nothing here knows a variable: text in, value out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <srd/port_range.hpp>
#include <srd/time.hpp>

namespace srd {

/// How a number may end, besides not at all.
struct Suffix {
    std::string_view text; ///< in lower case
    std::uint64_t factor;
};

/// The same letters, whatever their case.
bool same_text(std::string_view a, std::string_view b) noexcept;

/// A number of `unit`s, or of what one of `suffixes` says (a space before it is allowed), between the bounds.
std::optional<std::uint64_t> to_number(std::string_view text, std::span<const Suffix> suffixes,
                                       std::uint64_t unit, std::uint64_t minimum, std::uint64_t maximum);

/// "64", "64K", "64 KiB", "64kb": K, M and G are powers of 1024.
std::optional<std::uint64_t> to_bytes(std::string_view text, std::uint64_t minimum, std::uint64_t maximum);

/// "250us", "5s", "2m"; a number alone counts `unit`.
std::optional<Duration> to_time(std::string_view text, Duration unit, Duration minimum, Duration maximum);

/// "1", "yes", "on", "true" and their opposites.
std::optional<bool> to_switch(std::string_view text);

/// "eth0,eth1"; no name may be empty. Nothing if that is not so.
std::optional<std::vector<std::string>> to_names(std::string_view text);

/// "7000-7099": two ports, the first not above the last.
std::optional<PortRange> to_ports(std::string_view text);

/// How many letters must be added, taken away or exchanged to make `b` of `a`.
std::size_t edit_distance(std::string_view a, std::string_view b);

} // namespace srd
