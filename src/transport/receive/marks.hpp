// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which of the packets that arrived lately bore a congestion mark, for the
// acknowledgements that tell of them. A mark is a path's, not the connection's, so
// each packet has its own.
//
// Laws:
//  - a mark is told twice: of two acknowledgements the later may arrive first, or alone;
//  - 64 psns are remembered; of those that lie further apart the earlier are forgotten, and count as
//    unmarked.
#pragma once

#include <cstdint>

#include "wire/layout.hpp"

namespace srd {

class Marks {
public:
    bool any() const noexcept { return bits_ != 0; }

    /// The packet arrived, and was marked.
    void add(std::uint32_t psn) noexcept
    {
        if (bits_ == 0) {
            first_ = psn;
        }
        const std::int32_t distance = wire::sequence_distance(psn, first_);
        if (distance <= -64 || (distance < 0 && bits_ >> (64 + distance) != 0)) {
            return;
        }
        if (distance < 0) {
            first_ = psn;
            bits_ <<= -distance;
            told_ <<= -distance;
        } else if (distance >= 64) {
            forget(static_cast<std::uint32_t>(distance) - 63);
        }
        bits_ |= std::uint64_t{1} << (psn - first_);
    }

    /// What an acknowledgement says of them.
    wire::MarkBlock tell() noexcept
    {
        const wire::MarkBlock block{first_, bits_};
        bits_ &= ~told_;
        told_ = bits_;
        return block;
    }

private:
    void forget(std::uint32_t count) noexcept
    {
        first_ += count;
        bits_ = count < 64 ? bits_ >> count : 0;
        told_ = count < 64 ? told_ >> count : 0;
    }

    std::uint32_t first_ = 0; ///< psn of bit 0
    std::uint64_t bits_ = 0;
    std::uint64_t told_ = 0; ///< of bits_: once
};

} // namespace srd
