// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/crypto/crypto_library.hpp"

#include <srd/check.hpp>

namespace srd {

namespace {

const CryptoLibrary& loaded()
{
    // Never destroyed: endpoints may be closed by atexit handlers.
    static const CryptoLibrary* const once = new CryptoLibrary("libcrypto.so.3");
    return *once;
}

} // namespace

CryptoLibrary::CryptoLibrary(const char* name)
    : library_(std::make_unique<SharedLibrary>(name, "install OpenSSL 3 (Debian: libssl3) or use no job key"))
{
#define SRD_X(member, function) library_->find(functions_.member, #function);
    SRD_CRYPTO_FUNCTIONS(SRD_X)
#undef SRD_X
    if (!library_->error().empty()) {
        error_ = "sealing is not available: " + library_->error();
        return;
    }
    fetch_algorithms(name);
}

void CryptoLibrary::fetch_algorithms(const char* name)
{
    // If nobody has used the library before us, it must not clean up at exit: we may be used after that.
    static_cast<void>(functions_.init(OPENSSL_INIT_NO_ATEXIT, nullptr));
    // What is not found leaves errors in the thread's queue, which the application's TLS would find there.
    functions_.error_mark();
    functions_.aes_128_gcm = functions_.cipher_fetch(nullptr, "AES-128-GCM", nullptr);
    functions_.chacha20_poly1305 = functions_.cipher_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
    functions_.sha256 = functions_.digest_fetch(nullptr, "SHA256", nullptr);
    functions_.error_restore();
    if (functions_.aes_128_gcm == nullptr || functions_.sha256 == nullptr) {
        error_ = std::string("sealing is not available: ") + name + " is configured without " +
                 (functions_.sha256 == nullptr ? "SHA256" : "AES-128-GCM") +
                 "; see its providers in openssl.cnf, or use no job key";
    }
}

bool CryptoLibrary::has_chacha() const noexcept
{
    return functions_.chacha20_poly1305 != nullptr;
}

const CryptoLibrary* load_crypto_library(std::string& error)
{
    if (!loaded().error().empty()) {
        error = loaded().error();
        return nullptr;
    }
    return &loaded();
}

const CryptoFunctions& crypto() noexcept
{
    SRD_DCHECK(loaded().error().empty());
    return loaded().functions();
}

} // namespace srd
