// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which packets of a sliding window have arrived: the receiver's whole memory
// of sequence numbers, and what makes delivery exactly-once.
//
//      all received       cumulative()                        highest()
//     ──────────────────┤ 0 1 1 0 1 0 0 ... 1 ├───────────────────────────
//      duplicate          └──── the window, Bits wide ────┘    beyond
//
// Sequence numbers are 32 bits and wrap; comparisons are by signed distance,
// so what lies up to 2^31 behind is a duplicate.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/check.hpp>

namespace srd {

template <unsigned Bits = 1024>
class SeqBitmap {
    static_assert(std::has_single_bit(Bits) && Bits >= 64, "a ring of whole words that divides 2^32");

public:
    static constexpr unsigned window = Bits;
    static constexpr unsigned words = Bits / 64;

    enum Mark : std::uint8_t {
        fresh,     ///< in the window and not received yet
        duplicate, ///< received before
        beyond,    ///< ahead of the window: cannot be remembered, must not be accepted
    };

    /// An empty window that starts at `first`, the next number expected.
    explicit SeqBitmap(std::uint32_t first) noexcept : base_(first), highest_(first) {}

    Mark check(std::uint32_t psn) const noexcept
    {
        const std::uint32_t distance = psn - base_;
        if (distance < Bits) {
            return bit(psn) ? duplicate : fresh;
        }
        return static_cast<std::int32_t>(distance) < 0 ? duplicate : beyond;
    }

    /// Notes the arrival of `psn`, for which check() says fresh.
    void set(std::uint32_t psn) noexcept
    {
        SRD_DCHECK(check(psn) == fresh);
        ring_[word_of(psn)] |= std::uint64_t{1} << (psn % 64);
        if (psn - base_ >= highest_ - base_) {
            highest_ = psn + 1;
        }
        if (psn == base_) {
            advance();
        }
    }

    /// The next number expected: everything before it has been received.
    std::uint32_t cumulative() const noexcept { return base_; }

    /// One more than the highest number received; cumulative() if there are no gaps.
    std::uint32_t highest() const noexcept { return highest_; }

    /// Words that tell of everything received: as many as reach the highest number, 0 if there are no gaps.
    unsigned used_words() const noexcept { return (highest_ - base_ + 63) / 64; }

    /// Writes the window as words, bit i of which (counted through the words) tells of
    /// cumulative() + i; bit 0 is therefore always clear. Returns the number of words written:
    /// used_words(), at most out.size().
    unsigned export_words(std::span<std::uint64_t> out) const noexcept
    {
        const unsigned needed = used_words();
        const unsigned count = needed < out.size() ? needed : static_cast<unsigned>(out.size());
        const unsigned shift = base_ % 64;
        unsigned from = word_of(base_);
        for (unsigned i = 0; i < count; ++i) {
            const unsigned after = (from + 1) % words;
            std::uint64_t word = ring_[from] >> shift;
            if (shift != 0) {
                word |= ring_[after] << (64 - shift);
            }
            out[i] = word;
            from = after;
        }
        return count;
    }

private:
    static unsigned word_of(std::uint32_t psn) noexcept { return (psn % Bits) / 64; }
    bool bit(std::uint32_t psn) const noexcept { return ((ring_[word_of(psn)] >> (psn % 64)) & 1) != 0; }

    // Moves the base past the received prefix and clears it, so that every bit
    // outside [base, highest) is clear when the ring comes round to it.
    void advance() noexcept
    {
        for (;;) {
            const unsigned offset = base_ % 64;
            std::uint64_t& word = ring_[word_of(base_)];
            const auto run = static_cast<unsigned>(std::countr_one(word >> offset));
            if (run == 64) {
                word = 0;
            } else {
                word &= ~(((std::uint64_t{1} << run) - 1) << offset);
            }
            base_ += run;
            if (run < 64 - offset) {
                return;
            }
        }
    }

    std::uint32_t base_;
    std::uint32_t highest_;
    std::array<std::uint64_t, words> ring_{};
};

static_assert(sizeof(SeqBitmap<1024>) <= 144, "one per peer and direction; an idle peer is to fit in 1 KiB");

} // namespace srd
