// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// HMAC-SHA-256 (RFC 2104, RFC 6234) of libcrypto's SHA-256.
//
// libcrypto's own EVP_MAC would do, but a context of its HMAC cannot be started again without its key before
// OpenSSL 3.0.3 (issue 17811: the wrong MAC, without an error), and taking a key costs it an allocation and
// twice the time. Two hashes in a context that is kept take neither.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>

#include "seal/crypto/secret.hpp"

struct evp_md_ctx_st;

namespace srd {

/// True if the bytes are equal, in a time that does not depend on where they differ.
bool is_equal_secret(std::span<const std::byte> a, std::span<const std::byte> b) noexcept;

/// One context, kept, with its key. One thread at a time. Allocates when it is made and never again.
class HmacSha256 {
public:
    static constexpr std::size_t size = 32; ///< of its output, bytes

    /// Without a key. Throws std::bad_alloc.
    HmacSha256();
    explicit HmacSha256(std::span<const std::byte> key) : HmacSha256() { set_key(key); }

    /// A key of any length. Its bytes are kept in a form that is wiped at the end.
    void set_key(std::span<const std::byte> key) noexcept;
    /// The MAC of the pieces, one after the other.
    void compute(std::initializer_list<std::span<const std::byte>> pieces,
                 std::span<std::byte, size> mac) noexcept;

private:
    static constexpr std::size_t block_size = 64;
    struct Free {
        void operator()(evp_md_ctx_st* context) const noexcept;
    };

    void hash(std::span<const std::byte> prefix, std::initializer_list<std::span<const std::byte>> pieces,
              std::span<std::byte, size> out) noexcept;

    std::unique_ptr<evp_md_ctx_st, Free> context_;
    Secret<block_size> inner_;
    Secret<block_size> outer_;
};

} // namespace srd
