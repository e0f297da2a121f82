// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/reassembly.hpp"

#include <cstring>

#include <srd/check.hpp>

namespace srd {

namespace {

constexpr std::uint32_t units_of(std::uint32_t bytes) noexcept
{
    return (bytes + wire::fragment_unit - 1) / wire::fragment_unit;
}

} // namespace

/// The connection's place, or one that it may take; no_index: there is none.
std::uint32_t Reassembly::find(std::uint64_t connection, Time now) const noexcept
{
    std::uint32_t free = no_index;
    for (std::uint32_t index = 0; index < places; ++index) {
        const Place& place = table_[index];
        if (place.connection == connection) {
            return index;
        }
        if (place.connection == 0 || (!place.whole && now - place.latest >= patience)) {
            free = index;
        }
    }
    return free;
}

Reassembly::Result Reassembly::add(std::uint64_t connection, std::uint32_t psn,
                                   const wire::FragmentHeader& header, std::span<const std::byte> bytes,
                                   Time now, std::span<const std::byte>& frames) noexcept
{
    SRD_DCHECK(connection != 0);
    const std::uint32_t offset = header.offset;
    const std::uint32_t total = header.total;
    const bool fits = total <= max_total && offset < total && bytes.size() <= total - offset;
    const bool is_last = fits && offset + bytes.size() == total;
    if (!fits || bytes.empty() || offset % wire::fragment_unit != 0 ||
        (!is_last && bytes.size() % wire::fragment_unit != 0)) {
        return Result::dropped;
    }
    const std::uint32_t index = find(connection, now);
    if (index == no_index || table_[index].whole) {
        return Result::dropped;
    }
    Place& place = table_[index];
    if (place.connection != connection || place.psn != psn || place.total != total ||
        now - place.latest >= round) {
        place = Place{};
        place.connection = connection;
        place.psn = psn;
        place.total = total;
        place.missing = units_of(total);
    }
    place.latest = now;
    std::memcpy(&memory_[index][offset], bytes.data(), bytes.size());
    const std::uint32_t first = offset / wire::fragment_unit;
    const std::uint32_t count = units_of(static_cast<std::uint32_t>(bytes.size()));
    for (std::uint32_t unit = first; unit < first + count; ++unit) {
        std::uint64_t& word = place.arrived[unit / 64];
        const std::uint64_t bit = std::uint64_t{1} << (unit % 64);
        place.missing -= (word & bit) == 0 ? 1U : 0U;
        word |= bit;
    }
    if (place.missing != 0) {
        return Result::kept;
    }
    place.whole = any_whole_ = true;
    frames = {memory_[index].data(), total};
    return Result::whole;
}

void Reassembly::release_whole() noexcept
{
    for (std::uint32_t index = 0; index < places; ++index) {
        if (table_[index].whole) {
            table_[index] = Place{};
        }
    }
    any_whole_ = false;
}

} // namespace srd
