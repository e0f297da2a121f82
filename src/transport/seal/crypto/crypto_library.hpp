// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// libcrypto of OpenSSL 3, loaded when a job key is configured: who seals nothing needs no OpenSSL. What is
// built without its headers says so in words, and seals nothing.
#pragma once

#include <memory>
#include <string>

#include <srd/shared_library.hpp>

#ifdef SRD_HAVE_OPENSSL
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#endif

namespace srd {

// X(name here, function of libcrypto)
#define SRD_CRYPTO_FUNCTIONS(X)                                                                              \
    X(cipher_fetch, EVP_CIPHER_fetch)                                                                        \
    X(cipher_context_new, EVP_CIPHER_CTX_new)                                                                \
    X(cipher_context_free, EVP_CIPHER_CTX_free)                                                              \
    X(cipher_get_params, EVP_CIPHER_CTX_get_params)                                                          \
    X(cipher_set_params, EVP_CIPHER_CTX_set_params)                                                          \
    X(encrypt_init, EVP_EncryptInit_ex)                                                                      \
    X(encrypt_update, EVP_EncryptUpdate)                                                                     \
    X(encrypt_final, EVP_EncryptFinal_ex)                                                                    \
    X(decrypt_init, EVP_DecryptInit_ex)                                                                      \
    X(decrypt_update, EVP_DecryptUpdate)                                                                     \
    X(decrypt_final, EVP_DecryptFinal_ex)                                                                    \
    X(digest_fetch, EVP_MD_fetch)                                                                            \
    X(digest_context_new, EVP_MD_CTX_new)                                                                    \
    X(digest_context_free, EVP_MD_CTX_free)                                                                  \
    X(digest_init, EVP_DigestInit_ex)                                                                        \
    X(digest_update, EVP_DigestUpdate)                                                                       \
    X(digest_final, EVP_DigestFinal_ex)                                                                      \
    X(key_of_secret, EVP_PKEY_new_raw_private_key_ex)                                                        \
    X(key_of_share, EVP_PKEY_new_raw_public_key_ex)                                                          \
    X(key_share, EVP_PKEY_get_raw_public_key)                                                                \
    X(key_free, EVP_PKEY_free)                                                                               \
    X(exchange_new, EVP_PKEY_CTX_new_from_pkey)                                                              \
    X(exchange_free, EVP_PKEY_CTX_free)                                                                      \
    X(exchange_init, EVP_PKEY_derive_init)                                                                   \
    X(exchange_peer, EVP_PKEY_derive_set_peer)                                                               \
    X(exchange_derive, EVP_PKEY_derive)                                                                      \
    X(compare, CRYPTO_memcmp)                                                                                \
    X(init, OPENSSL_init_crypto)                                                                             \
    X(error_mark, ERR_set_mark)                                                                              \
    X(error_restore, ERR_pop_to_mark)

/// The functions, and the algorithms that were found. Not changed after construction; any thread may use it.
struct CryptoFunctions {
#ifdef SRD_HAVE_OPENSSL
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declarator takes none
#define SRD_X(name, function) decltype(&::function) name = nullptr;
    SRD_CRYPTO_FUNCTIONS(SRD_X)
#undef SRD_X
    EVP_CIPHER* aes_128_gcm = nullptr;
    EVP_CIPHER* chacha20_poly1305 = nullptr; ///< null: not there (FIPS 140)
    EVP_MD* sha256 = nullptr;
#endif
};

/// The library, once loaded. Its algorithms stay with it until the process ends.
class CryptoLibrary {
public:
    /// `name` is the file's: "libcrypto.so.3".
    explicit CryptoLibrary(const char* name);

    /// Why nothing can be sealed, as a sentence that says what to do. Empty: all is there.
    const std::string& error() const noexcept { return error_; }
    const CryptoFunctions& functions() const noexcept { return functions_; }
    /// Whether ChaCha20-Poly1305 is there, beside AES-128-GCM, which always is.
    bool has_chacha() const noexcept;

private:
    void fetch_algorithms(const char* name);

    std::unique_ptr<SharedLibrary> library_;
    CryptoFunctions functions_;
    std::string error_;
};

/// libcrypto.so.3, loaded by the first call, or nullptr with a sentence. Any thread. All objects of this room
/// need it to have succeeded.
const CryptoLibrary* load_crypto_library(std::string& error);

/// The functions of the library that load_crypto_library() has loaded.
const CryptoFunctions& crypto() noexcept;

} // namespace srd
