// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/crypto/aead.hpp"

#include <cstring>
#include <new>

#include <openssl/core_names.h>

#include <srd/check.hpp>

#include "seal/crypto/crypto_library.hpp"

namespace srd {

namespace {

const unsigned char* raw(const void* bytes) noexcept
{
    return static_cast<const unsigned char*>(bytes);
}
unsigned char* raw(void* bytes) noexcept
{
    return static_cast<unsigned char*>(bytes);
}

const EVP_CIPHER* algorithm(Cipher cipher) noexcept
{
    const EVP_CIPHER* const found =
        cipher == Cipher::aes_128_gcm ? crypto().aes_128_gcm : crypto().chacha20_poly1305;
    SRD_CHECK(found != nullptr);
    return found;
}

/// The tag as a parameter of a context. The parameters themselves spare what EVP_CIPHER_CTX_ctrl() does to
/// make them: 20 ns.
struct TagParams {
    explicit TagParams(std::byte* tag) noexcept
        : params{{{OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, tag, aead_tag_size, 0},
                  {nullptr, 0, nullptr, 0, 0}}}
    {
    }

    std::array<OSSL_PARAM, 2> params;
};

} // namespace

void detail::FreeCipherContext::operator()(evp_cipher_ctx_st* context) const noexcept
{
    crypto().cipher_context_free(context);
}

AeadSealer::AeadSealer(Cipher cipher) : context_(crypto().cipher_context_new())
{
    if (context_ == nullptr ||
        crypto().encrypt_init(context_.get(), algorithm(cipher), nullptr, nullptr, nullptr) != 1) {
        throw std::bad_alloc();
    }
}

void AeadSealer::set_key(std::span<const std::byte> key) noexcept
{
    SRD_CHECK(crypto().encrypt_init(context_.get(), nullptr, nullptr, raw(key.data()), nullptr) == 1);
}

bool AeadSealer::seal(const AeadIv& iv, std::span<const std::byte> clear, std::span<const iovec> pieces,
                      std::byte* out) noexcept
{
    const CryptoFunctions& functions = crypto();
    EVP_CIPHER_CTX* const context = context_.get();
    int written = 0;
    bool done = functions.encrypt_init(context, nullptr, nullptr, nullptr, raw(iv.data())) == 1;
    if (!clear.empty()) {
        done = done && functions.encrypt_update(context, nullptr, &written, raw(clear.data()),
                                                static_cast<int>(clear.size())) == 1;
    }
    for (const iovec& piece : pieces) {
        if (piece.iov_len != 0) {
            done = done && functions.encrypt_update(context, raw(out), &written, raw(piece.iov_base),
                                                    static_cast<int>(piece.iov_len)) == 1;
            out += piece.iov_len;
        }
    }
    TagParams tag(out);
    return done && functions.encrypt_final(context, raw(out), &written) == 1 &&
           functions.cipher_get_params(context, tag.params.data()) == 1;
}

AeadOpener::AeadOpener(Cipher cipher) : context_(crypto().cipher_context_new())
{
    if (context_ == nullptr ||
        crypto().decrypt_init(context_.get(), algorithm(cipher), nullptr, nullptr, nullptr) != 1) {
        throw std::bad_alloc();
    }
}

void AeadOpener::set_key(std::span<const std::byte> key) noexcept
{
    SRD_CHECK(crypto().decrypt_init(context_.get(), nullptr, nullptr, raw(key.data()), nullptr) == 1);
}

bool AeadOpener::open(const AeadIv& iv, std::span<const std::byte> clear, std::span<const std::byte> sealed,
                      std::byte* out) noexcept
{
    if (sealed.size() < aead_tag_size) {
        return false;
    }
    const CryptoFunctions& functions = crypto();
    EVP_CIPHER_CTX* const context = context_.get();
    const std::size_t size = sealed.size() - aead_tag_size;
    std::array<std::byte, aead_tag_size> expected;
    std::memcpy(expected.data(), sealed.data() + size, aead_tag_size);
    TagParams tag(expected.data());

    int written = 0;
    bool done = functions.decrypt_init(context, nullptr, nullptr, nullptr, raw(iv.data())) == 1;
    if (!clear.empty()) {
        done = done && functions.decrypt_update(context, nullptr, &written, raw(clear.data()),
                                                static_cast<int>(clear.size())) == 1;
    }
    if (size != 0) {
        done = done && functions.decrypt_update(context, raw(out), &written, raw(sealed.data()),
                                                static_cast<int>(size)) == 1;
    }
    done = done && functions.cipher_set_params(context, tag.params.data()) == 1 &&
           functions.decrypt_final(context, raw(out) + size, &written) == 1;
    if (!done) [[unlikely]] {
        std::memset(out, 0, size); // nobody is to use what nobody has vouched for
    }
    return done;
}

} // namespace srd
