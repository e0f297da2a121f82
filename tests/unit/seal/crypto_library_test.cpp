// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <string>

#include "seal/crypto/cipher.hpp"
#include "seal/crypto/crypto_library.hpp"
#include "support/catch.hpp"

using namespace srd;

#ifdef SRD_HAVE_OPENSSL

TEST_CASE("crypto library: it is loaded once")
{
    std::string error;
    const CryptoLibrary* const library = load_crypto_library(error);
    INFO(error);
    REQUIRE(library != nullptr);
    CHECK(library->error().empty());
    CHECK(load_crypto_library(error) == library);
    CHECK(&crypto() == &library->functions());
    CHECK(crypto().aes_128_gcm != nullptr);
    CHECK(library->has_chacha() == (crypto().chacha20_poly1305 != nullptr));
}

TEST_CASE("crypto library: one that is not there is named, with what to do")
{
    const CryptoLibrary library("libcrypto.so.999");
    CHECK(library.error().starts_with("sealing is not available: cannot load libcrypto.so.999 ("));
    CHECK(library.error().ends_with("); install OpenSSL 3 (Debian: libssl3) or use no job key"));
    CHECK_FALSE(library.has_chacha());
}

TEST_CASE("crypto library: another library is none")
{
    const CryptoLibrary library("libc.so.6");
    CHECK(library.error() == "sealing is not available: EVP_CIPHER_fetch is missing from the installed "
                             "libc.so.6; install a newer one");
}

TEST_CASE("crypto library: loading leaves no errors in the application's queue")
{
    const CryptoLibrary library("libcrypto.so.3");
    decltype(&::ERR_peek_error) peek = nullptr;
    SharedLibrary("libcrypto.so.3", "").find(peek, "ERR_peek_error");
    REQUIRE(peek != nullptr);
    CHECK(peek() == 0);
}

#else

TEST_CASE("crypto library: built without it, srd says so")
{
    std::string error;
    CHECK(load_crypto_library(error) == nullptr);
    CHECK(error ==
          "sealing is not available: srd was built without OpenSSL; install the headers of OpenSSL 3 "
          "(Debian: libssl-dev) and build again, or use no job key");
    CHECK(CryptoLibrary("libcrypto.so.3").error() == error);
}

#endif

TEST_CASE("cipher: both sides come to the same, and to what both can")
{
    using enum CipherOffer;
    for (const CipherOffer one : {aes_only, prefers_aes, prefers_chacha}) {
        for (const CipherOffer other : {aes_only, prefers_aes, prefers_chacha}) {
            CHECK(agreed_cipher(one, other) == agreed_cipher(other, one));
            const bool chacha = one != aes_only && other != aes_only && !(one == prefers_aes && other == one);
            CHECK((agreed_cipher(one, other) == Cipher::chacha20_poly1305) == chacha);
        }
        CHECK(parse_offer(static_cast<std::uint8_t>(one)) == one);
    }
    CHECK_FALSE(parse_offer(3));
    CHECK_FALSE(parse_offer(255));
}

TEST_CASE("cipher: what is offered follows the CPU, as far as the library can")
{
    CHECK(offer_of(true, true) == CipherOffer::prefers_aes);
    CHECK(offer_of(false, true) == CipherOffer::prefers_chacha);
    CHECK(offer_of(true, false) == CipherOffer::aes_only);
    CHECK(offer_of(false, false) == CipherOffer::aes_only);
    CHECK(cpu_has_aes() == cpu_has_aes());
}
