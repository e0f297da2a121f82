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

namespace srd {

class Fragmentation {
public:
    /// Packets before psn `end` may be longer than the MTU from now on.
    void on_mtu_fallen(std::uint32_t end) noexcept
    {
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
    std::uint32_t psn() const noexcept { return psn_; }
    std::uint32_t offset() const noexcept { return offset_; } ///< of the next fragment
    /// Not all of its fragments have been sent.
    bool more() const noexcept { return more_; }
    void begin(std::uint32_t psn) noexcept
    {
        SRD_DCHECK(any_);
        under_way_ = more_ = true;
        psn_ = psn;
        offset_ = 0;
    }
    void sent(std::uint32_t offset, bool last) noexcept
    {
        offset_ = offset;
        more_ = !last;
    }
    /// The fragment from `offset` on was not sent after all, nor any later one.
    void unsent(std::uint32_t offset) noexcept
    {
        offset_ = offset;
        more_ = true;
    }

private:
    bool any_ = false;
    bool under_way_ = false;
    bool more_ = false;
    std::uint32_t end_ = 0;
    std::uint32_t psn_ = 0;
    std::uint32_t offset_ = 0;
};

} // namespace srd
