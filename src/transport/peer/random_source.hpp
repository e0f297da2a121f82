// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Unpredictable numbers from a seed: a keyed hash of a counter. A peer that
// knows the identifiers it was given cannot compute those given to others,
// which a plain generator would allow.
#pragma once

#include <cstdint>

#include <srd/keyed_hash.hpp>

namespace srd {

class RandomSource {
public:
    explicit RandomSource(std::uint64_t seed) noexcept : hash_(mix(seed), mix(seed + 0x9e3779b97f4a7c15U)) {}

    std::uint64_t next() noexcept { return hash_(counter_++); }

    /// Like next(), but never 0.
    std::uint64_t next_nonzero() noexcept
    {
        std::uint64_t value = next();
        while (value == 0) {
            value = next();
        }
        return value;
    }

private:
    static std::uint64_t mix(std::uint64_t z) noexcept
    {
        z += 0x9e3779b97f4a7c15U;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

    KeyedHash hash_;
    std::uint64_t counter_ = 0;
};

} // namespace srd
