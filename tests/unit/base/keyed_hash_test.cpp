// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <array>
#include <cstddef>
#include <span>

#include <srd/keyed_hash.hpp>

#include "peer/random_source.hpp"
#include "support/catch.hpp"

namespace {

constexpr srd::KeyedHash hash(0x0706050403020100U, 0x0f0e0d0c0b0a0908U);

/// The first `Count` of the bytes 0, 1, 2, ...
template <std::size_t Count>
constexpr std::uint64_t of_counting() noexcept
{
    std::array<std::byte, Count> bytes{};
    for (std::size_t i = 0; i < Count; ++i) {
        bytes[i] = static_cast<std::byte>(i);
    }
    return hash(std::span<const std::byte>(bytes));
}

} // namespace

TEST_CASE("KeyedHash: the published vectors of SipHash-2-4")
{
    static_assert(of_counting<0>() == 0x726fdb47dd0e0e31U);
    static_assert(of_counting<1>() == 0x74f839c593dc67fdU);
    static_assert(of_counting<8>() == 0x93f5f5799a932462U);
    CHECK(of_counting<15>() == 0xa129ca6149be45e5U);
    CHECK(of_counting<63>() == 0x958a324ceb064572U);
}

TEST_CASE("KeyedHash: words are their little-endian bytes")
{
    static_assert(hash(std::uint64_t{0x0706050403020100U}) == of_counting<8>());
    constexpr std::array<std::uint64_t, 2> words{0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
    CHECK(hash(words) == of_counting<16>());
}

TEST_CASE("RandomSource: the numbers of a seed are those of earlier versions")
{
    srd::RandomSource source(1);
    CHECK(source.next() == 0x0dae6f03e6217986U);
    CHECK(source.next() == 0x908f3030db9ac724U);
}
