// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/hkdf.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct Vector {
    Bytes secret, salt, info;
    std::string extracted, expanded;
};

} // namespace

TEST_CASE("hkdf: RFC 5869, appendix A")
{
    library();
    const std::vector<Vector> vectors = {
        {Bytes(22, std::byte{0x0b}), counting(13), counting(10, 0xf0),
         "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {counting(80), counting(80, 0x60), counting(80, 0xb0),
         "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
         "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {Bytes(22, std::byte{0x0b}),
         {},
         {},
         "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
    };
    HmacSha256 hmac;
    for (const Vector& vector : vectors) {
        std::array<std::byte, 32> extracted;
        hkdf_extract(hmac, vector.salt, vector.secret, extracted);
        CHECK(to_hex(extracted) == vector.extracted);
        Bytes expanded(vector.expanded.size() / 2);
        hkdf_expand(hmac, extracted, vector.info, expanded);
        CHECK(to_hex(expanded) == vector.expanded);
    }
}

TEST_CASE("hkdf: a label is what RFC 8446 makes of it")
{
    library();
    HmacSha256 hmac;
    const Bytes secret = counting(32);
    std::array<std::byte, 12> by_label;
    hkdf_expand_label(hmac, secret, "iv", of_text("ctx"), by_label);
    std::array<std::byte, 12> by_hand;
    hkdf_expand(hmac, secret, from_hex("000c 08 737264203120 6976 03 637478"), by_hand);
    CHECK(to_hex(by_label) == to_hex(by_hand));
    std::array<std::byte, 12> other;
    hkdf_expand_label(hmac, secret, "iv", {}, other);
    CHECK(to_hex(other) != to_hex(by_label));
}
