// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// In the place of all that calls libcrypto, where srd is built without its headers: loading says why, and
// since that fails, nothing else is ever called.
#include <srd/check.hpp>

#include "seal/crypto/aead.hpp"
#include "seal/crypto/crypto_library.hpp"
#include "seal/crypto/hmac.hpp"
#include "seal/crypto/key_exchange.hpp"

namespace srd {

namespace {

const char* const reason = "sealing is not available: srd was built without OpenSSL; install the headers of "
                           "OpenSSL 3 (Debian: libssl-dev) and build again, or use no job key";

[[noreturn]] void unreachable() noexcept
{
    check_failed("built with OpenSSL", __FILE__, __LINE__);
}

} // namespace

CryptoLibrary::CryptoLibrary(const char* /*name*/) : error_(reason) {}
bool CryptoLibrary::has_chacha() const noexcept
{
    return false;
}

const CryptoLibrary* load_crypto_library(std::string& error)
{
    error = reason;
    return nullptr;
}

const CryptoFunctions& crypto() noexcept
{
    unreachable();
}

bool is_equal_secret(std::span<const std::byte> /*a*/, std::span<const std::byte> /*b*/) noexcept
{
    unreachable();
}

HmacSha256::HmacSha256()
{
    unreachable();
}
void HmacSha256::Free::operator()(evp_md_ctx_st* /*context*/) const noexcept {}
void HmacSha256::set_key(std::span<const std::byte> /*key*/) noexcept
{
    unreachable();
}
void HmacSha256::compute(std::initializer_list<std::span<const std::byte>> /*pieces*/,
                         std::span<std::byte, size> /*mac*/) noexcept
{
    unreachable();
}

void KeyExchange::Free::operator()(evp_pkey_st* /*key*/) const noexcept {}
std::unique_ptr<KeyExchange> KeyExchange::make(std::span<const std::byte, size> /*secret*/) noexcept
{
    unreachable();
}
bool KeyExchange::agree(const Share& /*other*/, std::span<std::byte, size> /*out*/) const noexcept
{
    unreachable();
}

void detail::FreeCipherContext::operator()(evp_cipher_ctx_st* /*context*/) const noexcept {}
AeadSealer::AeadSealer(Cipher /*cipher*/)
{
    unreachable();
}
void AeadSealer::set_key(std::span<const std::byte> /*key*/) noexcept
{
    unreachable();
}
bool AeadSealer::seal(const AeadIv& /*iv*/, std::span<const std::byte> /*clear*/,
                      std::span<const iovec> /*pieces*/, std::byte* /*out*/) noexcept
{
    unreachable();
}
AeadOpener::AeadOpener(Cipher /*cipher*/)
{
    unreachable();
}
void AeadOpener::set_key(std::span<const std::byte> /*key*/) noexcept
{
    unreachable();
}
bool AeadOpener::open(const AeadIv& /*iv*/, std::span<const std::byte> /*clear*/,
                      std::span<const std::byte> /*sealed*/, std::byte* /*out*/) noexcept
{
    unreachable();
}

} // namespace srd
