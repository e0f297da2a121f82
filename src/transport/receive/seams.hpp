// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Do the pieces of a message cover it? A count of bytes does not tell: two pieces that overlap are as long as
// two that do not, and what the second should have brought is then whatever was in the memory before.
//
// Every offset has a mark that no peer can guess. A message's sum is that of the marks at which its pieces
// end, less those at which they begin, and it must be that of one piece from 0 to `total`. If it is, then
// (but for a chance of 2^-64) every piece that ends inside the message ends where another begins and the
// other way round: the pieces, of which none goes backwards, are one chain from 0 to `total` and nothing
// else. One number per message, and the pieces come in any order.
#pragma once

#include <cstdint>

namespace srd {

class Seams {
public:
    /// `key`: random, known to nobody.
    explicit Seams(std::uint64_t key) noexcept : key_(key) {}

    /// What the piece [offset, offset + size) adds to the sum of its message.
    std::uint64_t of(std::uint64_t offset, std::uint64_t size) const noexcept
    {
        return mark(offset + size) - mark(offset);
    }
    bool cover(std::uint64_t sum, std::uint64_t total) const noexcept { return sum == of(0, total); }

private:
    /// splitmix64 of the keyed offset.
    std::uint64_t mark(std::uint64_t offset) const noexcept
    {
        std::uint64_t z = (offset ^ key_) + 0x9e3779b97f4a7c15U;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

    std::uint64_t key_;
};

} // namespace srd
