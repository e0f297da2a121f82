// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/crypto/hmac.hpp"

#include <new>

#include <srd/check.hpp>

#include "seal/crypto/crypto_library.hpp"

namespace srd {

bool is_equal_secret(std::span<const std::byte> a, std::span<const std::byte> b) noexcept
{
    return a.size() == b.size() && crypto().compare(a.data(), b.data(), a.size()) == 0;
}

HmacSha256::HmacSha256() : context_(crypto().digest_context_new())
{
    if (context_ == nullptr || crypto().digest_init(context_.get(), crypto().sha256, nullptr) != 1) {
        throw std::bad_alloc();
    }
    set_key({});
}

void HmacSha256::Free::operator()(evp_md_ctx_st* context) const noexcept
{
    crypto().digest_context_free(context);
}

// A context that has been initialized takes no memory any more, and SHA-256 of bytes in memory cannot fail.
void HmacSha256::hash(std::span<const std::byte> prefix,
                      std::initializer_list<std::span<const std::byte>> pieces,
                      std::span<std::byte, size> out) noexcept
{
    const CryptoFunctions& functions = crypto();
    evp_md_ctx_st* const context = context_.get();
    SRD_CHECK(functions.digest_init(context, functions.sha256, nullptr) == 1);
    SRD_CHECK(functions.digest_update(context, prefix.data(), prefix.size()) == 1);
    for (const std::span<const std::byte> piece : pieces) {
        SRD_CHECK(functions.digest_update(context, piece.data(), piece.size()) == 1);
    }
    unsigned length = 0;
    SRD_CHECK(functions.digest_final(context, reinterpret_cast<unsigned char*>(out.data()), &length) == 1);
    SRD_DCHECK(length == size);
}

void HmacSha256::set_key(std::span<const std::byte> key) noexcept
{
    Secret<size> digest;
    if (key.size() > block_size) {
        hash({}, {key}, digest.bytes());
        key = digest.bytes();
    }
    for (std::size_t i = 0; i < block_size; ++i) {
        const std::byte byte = i < key.size() ? key[i] : std::byte{0};
        inner_.bytes()[i] = byte ^ std::byte{0x36};
        outer_.bytes()[i] = byte ^ std::byte{0x5c};
    }
}

void HmacSha256::compute(std::initializer_list<std::span<const std::byte>> pieces,
                         std::span<std::byte, size> mac) noexcept
{
    hash(inner_.bytes(), pieces, mac);
    hash(outer_.bytes(), {mac}, mac);
}

} // namespace srd
