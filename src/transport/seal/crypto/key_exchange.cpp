// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/crypto/key_exchange.hpp"

#include <new>

#include "seal/crypto/crypto_library.hpp"

namespace srd {

namespace {

constexpr const char* algorithm = "X25519";

unsigned char* writable(std::span<std::byte> bytes) noexcept
{
    return reinterpret_cast<unsigned char*>(bytes.data());
}

const unsigned char* readable(std::span<const std::byte> bytes) noexcept
{
    return reinterpret_cast<const unsigned char*>(bytes.data());
}

/// What fails leaves errors in the thread's queue, which the application's TLS would find there.
class NoErrors {
public:
    NoErrors() noexcept { crypto().error_mark(); }
    NoErrors(const NoErrors&) = delete;
    NoErrors& operator=(const NoErrors&) = delete;
    ~NoErrors() { crypto().error_restore(); }
};

} // namespace

void KeyExchange::Free::operator()(evp_pkey_st* key) const noexcept
{
    crypto().key_free(key);
}

std::unique_ptr<KeyExchange> KeyExchange::make(std::span<const std::byte, size> secret) noexcept
{
    const NoErrors none;
    const CryptoFunctions& functions = crypto();
    Key key(functions.key_of_secret(nullptr, algorithm, nullptr, readable(secret), size));
    Share share{};
    std::size_t length = size;
    if (key == nullptr || functions.key_share(key.get(), writable(share), &length) != 1) {
        return nullptr;
    }
    return std::unique_ptr<KeyExchange>(new (std::nothrow) KeyExchange(std::move(key), share));
}

bool KeyExchange::agree(const Share& other, std::span<std::byte, size> out) const noexcept
{
    struct FreeContext {
        void operator()(EVP_PKEY_CTX* context) const noexcept { crypto().exchange_free(context); }
    };
    const NoErrors none;
    const CryptoFunctions& functions = crypto();
    const Key theirs(functions.key_of_share(nullptr, algorithm, nullptr, readable(other), size));
    const std::unique_ptr<EVP_PKEY_CTX, FreeContext> context(
        functions.exchange_new(nullptr, secret_.get(), nullptr));
    std::size_t length = size;
    // A share of small order leads to zeros, which libcrypto refuses (RFC 7748, section 6.1).
    return theirs != nullptr && context != nullptr && functions.exchange_init(context.get()) == 1 &&
           functions.exchange_peer(context.get(), theirs.get()) == 1 &&
           functions.exchange_derive(context.get(), writable(out), &length) == 1 && length == size;
}

} // namespace srd
