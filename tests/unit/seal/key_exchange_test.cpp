// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/crypto/key_exchange.hpp"

#include <algorithm>
#include <memory>

#include "unit/seal/session_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

std::unique_ptr<KeyExchange> exchange_of(const Bytes& secret)
{
    library();
    return KeyExchange::make(std::span(secret).first<KeyExchange::size>());
}

KeyExchange::Share share_of(const Bytes& bytes)
{
    KeyExchange::Share share{};
    std::ranges::copy(bytes, share.begin());
    return share;
}

} // namespace

TEST_CASE("key exchange: X25519 as RFC 7748 has it")
{
    const auto exchange =
        exchange_of(from_hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"));
    REQUIRE(exchange != nullptr);
    Bytes agreed(KeyExchange::size);
    REQUIRE(exchange->agree(
        share_of(from_hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")),
        std::span(agreed).first<KeyExchange::size>()));
    CHECK(to_hex(agreed) == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
}

TEST_CASE("key exchange: two agree, and a third does not")
{
    const auto a = exchange_of(counting(32));
    const auto b = exchange_of(counting(32, 32));
    const auto c = exchange_of(counting(32, 64));
    REQUIRE((a != nullptr && b != nullptr && c != nullptr));
    CHECK(to_hex(a->share()) == "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
    Bytes at_a(32);
    Bytes at_b(32);
    Bytes at_c(32);
    REQUIRE(a->agree(b->share(), std::span(at_a).first<32>()));
    REQUIRE(b->agree(a->share(), std::span(at_b).first<32>()));
    REQUIRE(c->agree(a->share(), std::span(at_c).first<32>()));
    CHECK(at_a == at_b);
    CHECK(at_a != at_c);
}

TEST_CASE("key exchange: what leads to the same for everybody is refused")
{
    const auto exchange = exchange_of(counting(32));
    REQUIRE(exchange != nullptr);
    Bytes agreed(32);
    // Points of small order: 0, 1, and one of order 8.
    for (const char* point : {"0000000000000000000000000000000000000000000000000000000000000000",
                              "0100000000000000000000000000000000000000000000000000000000000000",
                              "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"}) {
        CHECK_FALSE(exchange->agree(share_of(from_hex(point)), std::span(agreed).first<32>()));
    }
}

TEST_CASE("key exchange: the keys of a connection depend on what was agreed on, and on both shares")
{
    // Computed by another implementation of docs/protocol.md, section 13.
    const auto a = exchange_of(counting(32));
    const auto b = exchange_of(counting(32, 32));
    REQUIRE((a != nullptr && b != nullptr));
    Bytes agreed(32);
    REQUIRE(a->agree(b->share(), std::span(agreed).first<32>()));
    const SessionPair pair(Cipher::aes_128_gcm);
    SealedSide side_a = pair.side_a();
    SealedSide side_b = pair.side_b();
    side_a.share = a->share();
    side_b.share = b->share();
    const auto first_packet = [&](Cipher cipher, std::span<const std::byte> exchanged) {
        HmacSha256 hmac;
        const auto session = SealedSession::make(hmac, {1, cipher, exchanged}, side_a, side_b);
        return to_hex(in(sealed(*session, SessionPair::known_packet())).subspan(24));
    };
    CHECK(first_packet(Cipher::aes_128_gcm, agreed) ==
          "f92536082f2ab33dff992195f9cffc2508b3cc06deef1ad5268f00fbfb");
    CHECK(first_packet(Cipher::chacha20_poly1305, agreed) ==
          "91c50d0ae5efd2104b221bd91896ed9879cae6359a5c393556eca2b0de");
    // Without an exchange the shares are nothing.
    CHECK(first_packet(Cipher::aes_128_gcm, {}) ==
          "245e6fe093592f0c0752a910e6e7602e0bd4bc6e0e44d523a216822033");
    std::swap(side_a.share, side_b.share);
    CHECK(first_packet(Cipher::aes_128_gcm, agreed) !=
          "f92536082f2ab33dff992195f9cffc2508b3cc06deef1ad5268f00fbfb");
}
