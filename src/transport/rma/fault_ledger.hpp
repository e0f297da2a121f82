// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The initiator's account of fault frames. A write is not answered: its
// acknowledgement says that it is placed. What could not be placed is answered
// by a fault frame, and every acknowledgement counts those made so far. So an
// initiator that has seen a higher count than it has fault frames knows that
// some are on their way, and holds completions back until they are here.
//
// Counts are 16 bits and wrap; at most packet_window * max_rma_frames are
// ever on their way.
#pragma once

#include <cstdint>

namespace srd {

class FaultLedger {
public:
    /// `first`: what both begin to count from.
    explicit FaultLedger(std::uint16_t first = 0) noexcept : seen_(first), got_(first) {}

    /// The target says, in an acknowledgement or a fault frame, that it has made so many.
    void learn(std::uint16_t made) noexcept
    {
        if (static_cast<std::int16_t>(made - seen_) > 0) {
            seen_ = made;
        }
    }
    /// A fault frame has come.
    void arrived() noexcept { ++got_; }
    /// True while some are known to be on their way.
    bool awaits() const noexcept { return static_cast<std::int16_t>(seen_ - got_) > 0; }

private:
    std::uint16_t seen_; ///< the highest count
    std::uint16_t got_;
};

} // namespace srd
