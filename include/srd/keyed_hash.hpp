// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// SipHash-2-4 (Aumasson, Bernstein 2012): a hash that nobody can compute, or tell from random numbers,
// without its key of 128 bits. Random numbers from a counter, and proofs that a message's sender knows a
// secret.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace srd {

class KeyedHash {
public:
    constexpr KeyedHash(std::uint64_t key0, std::uint64_t key1) noexcept : key0_(key0), key1_(key1) {}

    constexpr std::uint64_t operator()(std::span<const std::byte> bytes) const noexcept
    {
        State state(key0_, key1_);
        const std::uint64_t length = bytes.size();
        for (; bytes.size() >= sizeof(std::uint64_t); bytes = bytes.subspan(sizeof(std::uint64_t))) {
            state.take(word_of(bytes.first(sizeof(std::uint64_t))));
        }
        return state.finish(length << 56U | word_of(bytes));
    }
    /// Of the words' little-endian bytes.
    constexpr std::uint64_t operator()(std::span<const std::uint64_t> words) const noexcept
    {
        State state(key0_, key1_);
        for (const std::uint64_t word : words) {
            state.take(word);
        }
        return state.finish(std::uint64_t{words.size() * sizeof(std::uint64_t)} << 56U);
    }
    constexpr std::uint64_t operator()(std::uint64_t word) const noexcept
    {
        return (*this)(std::span<const std::uint64_t>(&word, 1));
    }

private:
    class State {
    public:
        constexpr State(std::uint64_t key0, std::uint64_t key1) noexcept
            : v0_(key0 ^ 0x736f6d6570736575U), v1_(key1 ^ 0x646f72616e646f6dU),
              v2_(key0 ^ 0x6c7967656e657261U), v3_(key1 ^ 0x7465646279746573U)
        {
        }
        constexpr void take(std::uint64_t word) noexcept
        {
            v3_ ^= word;
            round();
            round();
            v0_ ^= word;
        }
        /// `last`: the bytes that are left, and above them the number of all.
        constexpr std::uint64_t finish(std::uint64_t last) noexcept
        {
            take(last);
            v2_ ^= 0xff;
            for (int i = 0; i < 4; ++i) {
                round();
            }
            return v0_ ^ v1_ ^ v2_ ^ v3_;
        }

    private:
        constexpr void round() noexcept
        {
            v0_ += v1_;
            v1_ = std::rotl(v1_, 13) ^ v0_;
            v0_ = std::rotl(v0_, 32);
            v2_ += v3_;
            v3_ = std::rotl(v3_, 16) ^ v2_;
            v0_ += v3_;
            v3_ = std::rotl(v3_, 21) ^ v0_;
            v2_ += v1_;
            v1_ = std::rotl(v1_, 17) ^ v2_;
            v2_ = std::rotl(v2_, 32);
        }

        std::uint64_t v0_;
        std::uint64_t v1_;
        std::uint64_t v2_;
        std::uint64_t v3_;
    };

    /// Little-endian, of at most 8 bytes.
    static constexpr std::uint64_t word_of(std::span<const std::byte> bytes) noexcept
    {
        std::uint64_t word = 0;
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            word |= std::uint64_t{std::to_integer<std::uint8_t>(bytes[i])} << 8 * i;
        }
        return word;
    }

    std::uint64_t key0_;
    std::uint64_t key1_;
};

} // namespace srd
