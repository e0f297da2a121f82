// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/values.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <limits>
#include <numeric>
#include <utility>

namespace srd {
namespace {

/// Of ASCII, whatever the process's locale is.
constexpr char to_lower(char letter) noexcept
{
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

constexpr std::uint64_t kilo = 1024;
constexpr std::array<Suffix, 10> size_suffixes{{{"b", 1},
                                                {"k", kilo},
                                                {"kb", kilo},
                                                {"kib", kilo},
                                                {"m", kilo* kilo},
                                                {"mb", kilo* kilo},
                                                {"mib", kilo* kilo},
                                                {"g", kilo* kilo* kilo},
                                                {"gb", kilo* kilo* kilo},
                                                {"gib", kilo* kilo* kilo}}};

constexpr std::uint64_t nanoseconds(Duration duration) noexcept
{
    return static_cast<std::uint64_t>(duration.count());
}

constexpr std::array<Suffix, 5> time_suffixes{{{"us", nanoseconds(std::chrono::microseconds(1))},
                                               {"ms", nanoseconds(std::chrono::milliseconds(1))},
                                               {"s", nanoseconds(std::chrono::seconds(1))},
                                               {"m", nanoseconds(std::chrono::minutes(1))},
                                               {"h", nanoseconds(std::chrono::hours(1))}}};

constexpr std::array<std::pair<std::string_view, bool>, 8> switches{{{"0", false},
                                                                     {"1", true},
                                                                     {"no", false},
                                                                     {"yes", true},
                                                                     {"off", false},
                                                                     {"on", true},
                                                                     {"false", false},
                                                                     {"true", true}}};

} // namespace

bool same_text(std::string_view a, std::string_view b) noexcept
{
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char left, char right) { return to_lower(left) == to_lower(right); });
}

std::optional<std::uint64_t> to_number(std::string_view text, std::span<const Suffix> suffixes,
                                       std::uint64_t unit, std::uint64_t minimum, std::uint64_t maximum)
{
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data(), end, value);
    if (code != std::errc{}) {
        return std::nullopt;
    }
    std::string_view rest(stop, static_cast<std::size_t>(end - stop));
    std::uint64_t factor = unit;
    if (!rest.empty()) {
        rest.remove_prefix(rest.front() == ' ' ? 1 : 0);
        const auto suffix = std::find_if(suffixes.begin(), suffixes.end(),
                                         [&](const Suffix& each) { return same_text(rest, each.text); });
        if (suffix == suffixes.end()) {
            return std::nullopt;
        }
        factor = suffix->factor;
    }
    if (value > std::numeric_limits<std::uint64_t>::max() / factor) {
        return std::nullopt;
    }
    value *= factor;
    return value >= minimum && value <= maximum ? std::optional(value) : std::nullopt;
}

std::optional<std::uint64_t> to_bytes(std::string_view text, std::uint64_t minimum, std::uint64_t maximum)
{
    return to_number(text, size_suffixes, 1, minimum, maximum);
}

std::optional<Duration> to_time(std::string_view text, Duration unit, Duration minimum, Duration maximum)
{
    const auto value =
        to_number(text, time_suffixes, nanoseconds(unit), nanoseconds(minimum), nanoseconds(maximum));
    return value ? std::optional(Duration(static_cast<std::int64_t>(*value))) : std::nullopt;
}

std::optional<bool> to_switch(std::string_view text)
{
    for (const auto& [name, value] : switches) {
        if (same_text(text, name)) {
            return value;
        }
    }
    return std::nullopt;
}

std::optional<std::vector<std::string>> to_names(std::string_view text)
{
    std::vector<std::string> names;
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        if (comma == 0) {
            return std::nullopt;
        }
        names.emplace_back(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return names.empty() ? std::nullopt : std::optional(std::move(names));
}

std::optional<PortRange> to_ports(std::string_view text)
{
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) {
        return std::nullopt;
    }
    const auto first = to_number(text.substr(0, dash), {}, 1, 1, 65535);
    const auto last = to_number(text.substr(dash + 1), {}, 1, 1, 65535);
    if (!first || !last || *first > *last) {
        return std::nullopt;
    }
    return PortRange{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

std::size_t edit_distance(std::string_view a, std::string_view b)
{
    // Row by row: costs[j] is the distance of what of `a` was read to the first j letters of `b`.
    std::vector<std::size_t> costs(b.size() + 1);
    std::iota(costs.begin(), costs.end(), std::size_t{0});
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(costs[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t exchanged = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = std::exchange(costs[j + 1], std::min({exchanged, costs[j] + 1, costs[j + 1] + 1}));
        }
    }
    return costs[b.size()];
}

} // namespace srd
