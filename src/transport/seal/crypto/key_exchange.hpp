// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// X25519 (RFC 7748): a secret of two endpoints that nobody learns from what they have told each other, nor,
// once one of the two has ended, from the keys of their job. Who the other one is, it does not tell; the MAC
// of the hello in which a share travels does.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

struct evp_pkey_st; // EVP_PKEY of OpenSSL

namespace srd {

/// Of one endpoint, which has one secret for as long as it lives; one thread at a time. Needs libcrypto.
class KeyExchange {
public:
    static constexpr std::size_t size = 32; ///< bytes, of secrets, shares and what is agreed on
    /// What others are told. All zeros: there is none.
    using Share = std::array<std::byte, size>;

    /// `secret`: random; it is kept by libcrypto alone, which wipes it. Null: libcrypto has no X25519 (FIPS
    /// 140), or there is no memory. 40 us.
    static std::unique_ptr<KeyExchange> make(std::span<const std::byte, size> secret) noexcept;

    const Share& share() const noexcept { return share_; }
    /// Writes what this one and the owner of `other` have in common. False: `other` is no share of anybody's,
    /// or there is no memory. 40 us, and allocations of libcrypto's.
    bool agree(const Share& other, std::span<std::byte, size> out) const noexcept;

private:
    struct Free {
        void operator()(evp_pkey_st* key) const noexcept;
    };
    using Key = std::unique_ptr<evp_pkey_st, Free>;

    KeyExchange(Key secret, const Share& share) noexcept : secret_(std::move(secret)), share_(share) {}

    Key secret_;
    Share share_;
};

} // namespace srd
