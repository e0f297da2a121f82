// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Bytes as tests write them, and what every test of sealed traffic needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "seal/crypto/crypto_library.hpp"
#include "seal/key_ring.hpp"
#include "support/catch.hpp"

namespace srd::test {

using Bytes = std::vector<std::byte>;

/// Of hexadecimal digits; what is none is skipped.
inline Bytes from_hex(std::string_view text)
{
    Bytes bytes;
    int high = -1;
    for (const char digit : text) {
        const auto at = std::string_view("0123456789abcdef").find(digit);
        if (at == std::string_view::npos) {
            continue;
        }
        if (high < 0) {
            high = static_cast<int>(at);
        } else {
            bytes.push_back(static_cast<std::byte>(high * 16 + static_cast<int>(at)));
            high = -1;
        }
    }
    return bytes;
}

inline std::string to_hex(std::span<const std::byte> bytes)
{
    std::string text;
    for (const std::byte byte : bytes) {
        const auto value = std::to_integer<unsigned>(byte);
        text += "0123456789abcdef"[value / 16];
        text += "0123456789abcdef"[value % 16];
    }
    return text;
}

inline Bytes of_text(std::string_view text)
{
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

/// `size` bytes, first, first + 1, ...
inline Bytes counting(std::size_t size, unsigned first = 0)
{
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(first + i);
    }
    return bytes;
}

inline std::span<const std::byte> in(const Bytes& bytes)
{
    return bytes;
}

/// The library that all of this needs.
inline const CryptoLibrary& library()
{
    std::string error;
    const CryptoLibrary* const loaded = load_crypto_library(error);
    INFO(error);
    REQUIRE(loaded != nullptr);
    return *loaded;
}

/// Of a key file with this text.
inline KeyRing ring_of(std::string_view text)
{
    library();
    std::string error;
    const auto secrets = JobSecrets::parse(of_text(text), error);
    INFO(error);
    REQUIRE(secrets);
    auto ring = KeyRing::make(*secrets, error);
    REQUIRE(ring);
    return std::move(*ring);
}

inline const std::string key_1 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
inline const std::string key_2 = "f0f102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

} // namespace srd::test
