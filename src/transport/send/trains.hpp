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
    static constexpr Duration pause = std::chrono::seconds(10);

    /// Packets may go in batches.
    bool arrive(Time now) noexcept
    {
        if (lost_ < max_lost) {
            return true;
        }
        if (now < retry_at_) {
            return false;
        }
        lost_ = max_lost / 2;
        return true;
    }
    void on_lost(bool in_train, Time now) noexcept
    {
        if (in_train && lost_ < max_lost && ++lost_ == max_lost) {
            retry_at_ = now + pause;
        }
    }
    void on_acked(bool in_train) noexcept
    {
        if (in_train) {
            lost_ = 0;
        }
    }

private:
    std::uint8_t lost_ = 0; ///< packets of batches since one arrived
    Time retry_at_{};
};

} // namespace srd
