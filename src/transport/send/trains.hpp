// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Whether batches reach a peer. The system may carry a batch of equal packets
// (UDP_SEGMENT) a long way as one large packet, and a filter, a tunnel or a
// bridge there may drop it for its size, though each packet of it would pass.
//
// Laws:
//  - repetitions go alone, so that what a batch has lost arrives;
//  - when many packets of batches were lost in a row and not one arrived, all
//    go alone for a while, then batches are tried again. One lost path or a full
//    queue does not look so: other batches, or parts of them, arrive.
#pragma once

#include <chrono>
#include <cstdint>

#include <srd/time.hpp>

namespace srd {

class Trains {
public:
    static constexpr std::uint8_t max_lost = 64; ///< packets in a row
    static constexpr std::uint16_t pause_s = 10;

    /// Packets may go in batches.
    bool arrive(Time now) noexcept
    {
        if (lost_ < max_lost) [[likely]] {
            return true;
        }
        if (static_cast<std::uint16_t>(second_of(now) - paused_at_) < pause_s) {
            return false;
        }
        lost_ = max_lost / 2;
        return true;
    }
    void on_lost(bool in_train, Time now) noexcept
    {
        if (in_train && lost_ < max_lost && ++lost_ == max_lost) {
            paused_at_ = second_of(now);
        }
    }
    void on_acked(bool in_train) noexcept
    {
        if (in_train) {
            lost_ = 0;
        }
    }

private:
    /// 16 bits, because an idle peer is to be small. Whoever is idle for 18 hours may wait once more.
    static std::uint16_t second_of(Time now) noexcept
    {
        return static_cast<std::uint16_t>(
            std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
    }

    std::uint8_t lost_ = 0;       ///< packets of batches since one arrived
    std::uint16_t paused_at_ = 0; ///< second_of(the latest pause's begin)
};

} // namespace srd
