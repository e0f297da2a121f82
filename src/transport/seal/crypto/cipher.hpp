// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which cipher two endpoints use.
//
// AES-128-GCM is the fastest where the CPU computes AES and carry-less products (every x86 and ARM server of
// the last decade): 7 times as fast as ChaCha20-Poly1305 at 64 KiB. Without these instructions it is slow,
// and its tables tell the time; there ChaCha20-Poly1305 is right. An OpenSSL that is confined to FIPS 140 has
// no ChaCha20. So each side offers, in its hello, what it can do and likes (the offer is covered by the
// hello's authentication), and both compute the same answer from the two offers. There is no third message
// and nothing to downgrade: both ciphers are sound, the session's keys depend on which it is, and an offer
// that was changed on its way makes the hello a forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace srd {

/// The value is part of what keys are derived from.
enum class Cipher : std::uint8_t {
    aes_128_gcm = 1,
    chacha20_poly1305 = 2,
};

inline constexpr std::size_t aead_iv_size = 12;      ///< bytes, of both
inline constexpr std::size_t aead_tag_size = 16;     ///< bytes, of both
inline constexpr std::size_t aead_key_max_size = 32; ///< bytes

constexpr std::size_t key_size_of(Cipher cipher) noexcept
{
    return cipher == Cipher::aes_128_gcm ? 16 : 32;
}

/// How many packets that fail authentication a connection survives (RFC 9001, section 6.6). The first bound
/// will never be met; the second takes more than an hour at 10 Gbit/s.
constexpr std::uint64_t forgeries_limit_of(Cipher cipher) noexcept
{
    return std::uint64_t{1} << (cipher == Cipher::aes_128_gcm ? 52 : 36);
}

/// What an endpoint can do, as a hello says it. AES-128-GCM can be done by all.
enum class CipherOffer : std::uint8_t {
    aes_only = 0,
    prefers_aes = 1,    ///< can do both
    prefers_chacha = 2, ///< can do both, but the CPU has no AES
};

constexpr std::optional<CipherOffer> parse_offer(std::uint8_t value) noexcept
{
    return value <= static_cast<std::uint8_t>(CipherOffer::prefers_chacha)
               ? std::optional(static_cast<CipherOffer>(value))
               : std::nullopt;
}

/// What both sides use: ChaCha20-Poly1305 if both can and one of them prefers it. Symmetric.
constexpr Cipher agreed_cipher(CipherOffer one, CipherOffer other) noexcept
{
    const bool both_can = one != CipherOffer::aes_only && other != CipherOffer::aes_only;
    const bool one_prefers = one == CipherOffer::prefers_chacha || other == CipherOffer::prefers_chacha;
    return both_can && one_prefers ? Cipher::chacha20_poly1305 : Cipher::aes_128_gcm;
}

/// Whether this CPU has instructions for both parts of AES-GCM. Asked once, at start-up.
inline bool cpu_has_aes() noexcept
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0;
#elif defined(__aarch64__)
    return (::getauxval(AT_HWCAP) & HWCAP_AES) != 0 && (::getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
#elif defined(__powerpc64__)
    return true; // since POWER8, the first that runs little-endian
#else
    return false;
#endif
}

/// What an endpoint offers on this CPU; `can_chacha`: CryptoLibrary::has_chacha().
constexpr CipherOffer offer_of(bool has_aes, bool can_chacha) noexcept
{
    if (!can_chacha) {
        return CipherOffer::aes_only;
    }
    return has_aes ? CipherOffer::prefers_aes : CipherOffer::prefers_chacha;
}

} // namespace srd
