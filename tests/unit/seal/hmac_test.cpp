// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/crypto/hmac.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

std::string mac_of(HmacSha256& hmac, const Bytes& message)
{
    std::array<std::byte, HmacSha256::size> mac;
    hmac.compute({message}, mac);
    return to_hex(mac);
}

} // namespace

TEST_CASE("hmac: RFC 4231")
{
    library();
    HmacSha256 hmac(Bytes(20, std::byte{0x0b}));
    CHECK(mac_of(hmac, of_text("Hi There")) ==
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac.set_key(of_text("Jefe"));
    CHECK(mac_of(hmac, of_text("what do ya want for nothing?")) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    hmac.set_key(Bytes(131, std::byte{0xaa}));
    CHECK(mac_of(hmac, of_text("Test Using Larger Than Block-Size Key - Hash Key First")) ==
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST_CASE("hmac: a context starts again by itself, and pieces are one message")
{
    library();
    HmacSha256 hmac(of_text("key"));
    const std::string whole = mac_of(hmac, counting(200));
    CHECK(mac_of(hmac, counting(200)) == whole);
    std::array<std::byte, HmacSha256::size> mac;
    hmac.compute({counting(64), {}, counting(136, 64)}, mac);
    CHECK(to_hex(mac) == whole);
    HmacSha256 moved(std::move(hmac));
    CHECK(mac_of(moved, counting(200)) == whole);
}

TEST_CASE("hmac: equal is equal in length and every bit")
{
    library();
    const Bytes bytes = counting(16);
    CHECK(is_equal_secret(bytes, counting(16)));
    CHECK_FALSE(is_equal_secret(bytes, counting(15)));
    for (std::size_t bit = 0; bit < 128; ++bit) {
        Bytes other = bytes;
        other[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CHECK_FALSE(is_equal_secret(bytes, other));
    }
}
