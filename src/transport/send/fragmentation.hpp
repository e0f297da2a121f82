// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets that were made before the MTU of the path fell. Their frames never
// change, so those that are longer now go in fragments.
//
// Law: the receiver puts one packet of ours together at a time; so one is under
// way until it is acknowledged, and the next waits.
#pragma once

#include <cstdint>

#include <srd/check.hpp>
#include <srd/wire.hpp>

#include "wire/layout.hpp"

namespace srd {

class Fragmentation {
public:
    /// Packets before psn `end` may be longer than the MTU from now on.
    void on_mtu_fallen(std::uint32_t end) noexcept
    {
        const std::uint32_t behind = end - psn();
        under_way_ = under_way_ && behind <= packet_window; // else it is history
        behind_ = static_cast<std::uint16_t>(behind);
        any_ = true;
        end_ = end;
    }
    /// False, nearly always: every packet fits.
    bool any() const noexcept { return any_; }
    /// Every packet before psn `una` is acknowledged.
    void on_progress(std::uint32_t una) noexcept
    {
        if (wire::sequence_distance(una, end_) >= 0) {
            *this = {};
        }
    }

    // -- The packet under way

    bool under_way() const noexcept { return under_way_; }
    std::uint32_t psn() const noexcept { return end_ - behind_; }
    /// Of the next fragment.
    std::uint32_t offset() const noexcept { return offset_ * wire::fragment_unit; }
    /// Not all of its fragments have been sent.
    bool more() const noexcept { return more_; }
    void begin(std::uint32_t psn) noexcept
    {
        SRD_DCHECK(any_ && end_ - psn <= packet_window);
        under_way_ = more_ = true;
        behind_ = static_cast<std::uint16_t>(end_ - psn);
        offset_ = 0;
    }
    /// All fragments before `offset` have been sent: of some of them that may be taken back.
    void sent_until(std::uint32_t offset) noexcept
    {
        more_ = true;
        offset_ = static_cast<std::uint16_t>(offset / wire::fragment_unit) & 0x1fff;
    }
    void sent_all() noexcept { more_ = false; }

private:
    std::uint32_t end_ = 0;
    std::uint16_t behind_ = 0; ///< psn() is so far before the end
    bool any_ : 1 = false;
    bool under_way_ : 1 = false;
    bool more_ : 1 = false;
    std::uint16_t offset_ : 13 = 0; ///< in units
};
static_assert(sizeof(Fragmentation) == 8);

} // namespace srd
