// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The simulation's only source of chance. Own arithmetic rather than <random>'s
// distributions, so that a seed replays the same run with every standard library.
#pragma once

#include <cstdint>

namespace srd::sim {

/// One step of SplitMix64: also a good hash of a 64-bit value.
constexpr std::uint64_t mix64(std::uint64_t value) noexcept
{
    value += 0x9e3779b97f4a7c15U;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
    return value ^ (value >> 31);
}

class SimRandom {
public:
    explicit constexpr SimRandom(std::uint64_t seed) noexcept : state_(mix64(seed)) {}

    constexpr std::uint64_t next() noexcept
    {
        state_ += 0x9e3779b97f4a7c15U;
        return mix64(state_);
    }
    /// Uniform in [low, high], both included.
    constexpr std::uint64_t between(std::uint64_t low, std::uint64_t high) noexcept
    {
        const std::uint64_t span = high - low + 1;
        return span == 0 ? next() : low + next() % span;
    }
    /// True with the given probability.
    constexpr bool chance(double probability) noexcept
    {
        return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability;
    }

private:
    std::uint64_t state_;
};

} // namespace srd::sim
