// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which counters have been received: a packet is opened once. As WireGuard's and IPsec's window (RFC 6479,
// RFC 4303 section 3.4.3), with all bits in use: a ring of Size bits remembers the newest Size counters.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <srd/check.hpp>

namespace srd {

/// Counters are 64 bits and never wrap: they end long before.
template <std::uint64_t Size = 4096>
class ReplayWindow {
    static_assert(std::has_single_bit(Size) && Size >= 64);

public:
    static constexpr std::uint64_t size = Size;

    enum class Verdict : std::uint8_t {
        fresh,
        replayed, ///< received before
        too_old,  ///< so old that nobody remembers
    };

    /// One more than the highest counter that was marked; 0: none.
    std::uint64_t next() const noexcept { return next_; }

    /// Before a packet is opened: whether it is worth it.
    Verdict check(std::uint64_t counter) const noexcept
    {
        if (counter >= next_) {
            return Verdict::fresh;
        }
        if (next_ - counter > Size) {
            return Verdict::too_old;
        }
        return (ring_[word_of(counter)] & bit_of(counter)) != 0 ? Verdict::replayed : Verdict::fresh;
    }

    /// After it was opened, and only then: else a forger moves the window. `counter` is fresh.
    void mark(std::uint64_t counter) noexcept
    {
        SRD_DCHECK(check(counter) == Verdict::fresh && counter != ~std::uint64_t{0});
        if (counter >= next_) {
            clear(next_, counter);
            next_ = counter + 1;
        }
        ring_[word_of(counter)] |= bit_of(counter);
    }

private:
    static constexpr std::size_t words = Size / 64;
    static std::size_t word_of(std::uint64_t counter) noexcept { return counter / 64 % words; }
    static std::uint64_t bit_of(std::uint64_t counter) noexcept { return std::uint64_t{1} << (counter % 64); }

    /// Clears the bits of `first` to `last`.
    void clear(std::uint64_t first, std::uint64_t last) noexcept
    {
        if (last - first >= Size) {
            ring_.fill(0);
            return;
        }
        while (first <= last) {
            const std::uint64_t end = std::min(first / 64 * 64 + 63, last);
            const std::uint64_t ones = ~std::uint64_t{0} >> (63 - (end - first));
            ring_[word_of(first)] &= ~(ones << (first % 64));
            first = end + 1;
        }
    }

    std::uint64_t next_ = 0;
    std::array<std::uint64_t, words> ring_{};
};

} // namespace srd
