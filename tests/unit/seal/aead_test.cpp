// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>

#include "seal/crypto/aead.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

AeadIv iv_of(std::string_view hex)
{
    AeadIv iv;
    std::ranges::copy(from_hex(hex), iv.begin());
    return iv;
}

/// Seals `plain` in pieces of these sizes; the rest is the last one.
Bytes seal(AeadSealer& sealer, const AeadIv& iv, const Bytes& clear, Bytes plain,
           const std::vector<std::size_t>& sizes = {})
{
    std::vector<iovec> pieces;
    std::size_t at = 0;
    for (const std::size_t size : sizes) {
        pieces.push_back({plain.data() + at, size});
        at += size;
    }
    pieces.push_back({plain.data() + at, plain.size() - at});
    Bytes out(plain.size() + aead_tag_size);
    REQUIRE(sealer.seal(iv, clear, pieces, out.data()));
    return out;
}

struct Vector {
    Cipher cipher;
    std::string key, iv, clear;
    Bytes plain;
    std::string sealed;
};

std::vector<Vector> vectors()
{
    return {
        // McGrew and Viega's, which NIST took over: test cases 1 and 4.
        {Cipher::aes_128_gcm, "00000000000000000000000000000000", "000000000000000000000000", "", Bytes(),
         "58e2fccefa7e3061367f1d57a4e7455a"},
        {Cipher::aes_128_gcm, "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"),
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
         "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
         "5bc94fbc3221a5db94fae95ae7121a47"},
        // RFC 8439, section 2.8.2.
        {Cipher::chacha20_poly1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
         "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
         of_text(
             "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
             "sunscreen would be it."),
         "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
         "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
         "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
         "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"},
    };
}

} // namespace

TEST_CASE("aead: known answers, in one piece and in several")
{
    library();
    for (const Vector& vector : vectors()) {
        AeadSealer sealer(vector.cipher);
        AeadOpener opener(vector.cipher);
        sealer.set_key(from_hex(vector.key));
        opener.set_key(from_hex(vector.key));
        const AeadIv iv = iv_of(vector.iv);
        const Bytes clear = from_hex(vector.clear);
        for (int round = 0; round < 2; ++round) { // the contexts are used again
            const Bytes sealed = seal(sealer, iv, clear, vector.plain);
            CHECK(to_hex(sealed) == vector.sealed);
            Bytes opened(vector.plain.size());
            REQUIRE(opener.open(iv, clear, sealed, opened.data()));
            CHECK(to_hex(opened) == to_hex(vector.plain));
            Bytes in_place = sealed;
            REQUIRE(opener.open(iv, clear, in_place, in_place.data()));
            CHECK(std::equal(vector.plain.begin(), vector.plain.end(), in_place.begin()));
        }
        for (std::size_t first = 0; first < vector.plain.size(); first += 7) {
            const std::size_t second = std::min<std::size_t>(21, vector.plain.size() - first);
            CHECK(to_hex(seal(sealer, iv, clear, vector.plain, {first, 0, second})) == vector.sealed);
        }
    }
}

TEST_CASE("aead: whatever differs, it is not opened, and nothing of the contents is left")
{
    library();
    decltype(&::ERR_peek_error) peek = nullptr;
    SharedLibrary("libcrypto.so.3", "").find(peek, "ERR_peek_error");
    for (const Cipher cipher : {Cipher::aes_128_gcm, Cipher::chacha20_poly1305}) {
        AeadSealer sealer(cipher);
        AeadOpener opener(cipher);
        const Bytes key = counting(key_size_of(cipher));
        sealer.set_key(key);
        opener.set_key(key);
        const Bytes clear = counting(16, 3);
        const Bytes sealed = seal(sealer, AeadIv{}, clear, counting(300, 9));
        Bytes out(300);
        REQUIRE(opener.open(AeadIv{}, clear, sealed, out.data()));

        CHECK_FALSE(opener.open(AeadIv{std::byte{1}}, clear, sealed, out.data()));
        CHECK(out == Bytes(300));
        CHECK_FALSE(opener.open(AeadIv{}, in(clear).first(15), sealed, out.data()));
        CHECK_FALSE(opener.open(AeadIv{}, {}, sealed, out.data()));
        for (std::size_t size = 0; size < sealed.size(); size += 11) {
            CHECK_FALSE(opener.open(AeadIv{}, clear, in(sealed).first(size), out.data()));
        }
        for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
            Bytes changed = sealed;
            changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
            CHECK_FALSE(opener.open(AeadIv{}, clear, changed, changed.data()));
            CHECK(std::all_of(changed.begin(), changed.begin() + 300,
                              [](std::byte byte) { return byte == std::byte{0}; }));
        }
        CHECK(opener.open(AeadIv{}, clear, sealed, out.data()));
        CHECK(out == counting(300, 9));
        CHECK(peek() == 0); // the application's TLS, in this thread, would take it for its own
    }
}

TEST_CASE("aead: a key takes the place of another")
{
    library();
    AeadSealer sealer(Cipher::aes_128_gcm);
    AeadOpener opener(Cipher::aes_128_gcm);
    sealer.set_key(counting(16, 1));
    opener.set_key(counting(16, 2));
    Bytes out(100);
    const Bytes first = seal(sealer, AeadIv{}, {}, counting(100));
    CHECK_FALSE(opener.open(AeadIv{}, {}, first, out.data()));
    opener.set_key(counting(16, 1));
    CHECK(opener.open(AeadIv{}, {}, first, out.data()));
    sealer.set_key(counting(16, 2));
    const Bytes second = seal(sealer, AeadIv{}, {}, counting(100));
    CHECK(second != first);
    CHECK_FALSE(opener.open(AeadIv{}, {}, second, out.data()));
    opener.set_key(counting(16, 2));
    CHECK(opener.open(AeadIv{}, {}, second, out.data()));
}
