// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Authenticated encryption with one key in one direction, by contexts of libcrypto that are kept: the key is
// set once, and a packet sets no more than its IV. Setting the key as well would cost 120 ns more.
//
// Memory: a context of OpenSSL 3.0 takes 1.1 to 1.2 KiB, most of it the tables of the key.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "seal/crypto/cipher.hpp"

struct evp_cipher_ctx_st;

namespace srd {

using AeadIv = std::array<std::byte, aead_iv_size>;

namespace detail {

struct FreeCipherContext {
    void operator()(evp_cipher_ctx_st* context) const noexcept;
};
using CipherContext = std::unique_ptr<evp_cipher_ctx_st, FreeCipherContext>;

} // namespace detail

/// Seals. One thread at a time.
class AeadSealer {
public:
    /// Without a key. Throws std::bad_alloc. `cipher` must be one that the library has.
    explicit AeadSealer(Cipher cipher);

    /// `key`: key_size_of(cipher) bytes, copied. Allocates nothing.
    void set_key(std::span<const std::byte> key) noexcept;

    /// Encrypts the pieces, one after the other, to `out`: in one pass over their bytes, so that they need
    /// not be gathered before. After their total length follows the tag, aead_tag_size bytes. `out` must not
    /// overlap the pieces. `clear` is authenticated as well, and not written. The same iv must never be used
    /// twice with a key. False: libcrypto has failed, and what is in `out` must not be sent.
    [[nodiscard]] bool seal(const AeadIv& iv, std::span<const std::byte> clear, std::span<const iovec> pieces,
                            std::byte* out) noexcept;

private:
    detail::CipherContext context_;
};

/// Opens what the other side's AeadSealer has sealed. One thread at a time.
class AeadOpener {
public:
    explicit AeadOpener(Cipher cipher); ///< as AeadSealer's
    void set_key(std::span<const std::byte> key) noexcept;

    /// `sealed`: encrypted bytes and tag. Writes the plaintext, sealed.size() - aead_tag_size bytes, to
    /// `out`, which is either sealed.data() or does not overlap. False: too short for a tag, or not what was
    /// sealed with this key, iv and `clear`; the time does not tell where it differs, and `out` holds
    /// zeros.
    [[nodiscard]] bool open(const AeadIv& iv, std::span<const std::byte> clear,
                            std::span<const std::byte> sealed, std::byte* out) noexcept;

private:
    detail::CipherContext context_;
};

} // namespace srd
