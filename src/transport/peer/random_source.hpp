// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Unpredictable numbers from a seed: SipHash-2-4 (Aumasson, Bernstein 2012) of
// a counter. A peer that knows the identifiers it was given cannot compute
// those given to others, which a plain generator would allow.
#pragma once

#include <bit>
#include <cstdint>

namespace srd {

class RandomSource {
public:
    explicit RandomSource(std::uint64_t seed) noexcept
        : key0_(mix(seed)), key1_(mix(seed + 0x9e3779b97f4a7c15U))
    {
    }

    std::uint64_t next() noexcept
    {
        std::uint64_t v0 = key0_ ^ 0x736f6d6570736575U;
        std::uint64_t v1 = key1_ ^ 0x646f72616e646f6dU;
        std::uint64_t v2 = key0_ ^ 0x6c7967656e657261U;
        std::uint64_t v3 = key1_ ^ 0x7465646279746573U;
        const auto round = [&] {
            v0 += v1;
            v1 = std::rotl(v1, 13) ^ v0;
            v0 = std::rotl(v0, 32);
            v2 += v3;
            v3 = std::rotl(v3, 16) ^ v2;
            v0 += v3;
            v3 = std::rotl(v3, 21) ^ v0;
            v2 += v1;
            v1 = std::rotl(v1, 17) ^ v2;
            v2 = std::rotl(v2, 32);
        };
        for (const std::uint64_t word : {counter_++, std::uint64_t{8} << 56}) {
            v3 ^= word;
            round();
            round();
            v0 ^= word;
        }
        v2 ^= 0xff;
        round();
        round();
        round();
        round();
        return v0 ^ v1 ^ v2 ^ v3;
    }

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

    std::uint64_t key0_;
    std::uint64_t key1_;
    std::uint64_t counter_ = 0;
};

} // namespace srd
