// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>

#include "support/alloc_guard.hpp"
#include "unit/seal/session_fixture.hpp"

using namespace srd;
using namespace srd::test;

TEST_CASE("sealed session: both ends derive the same keys, without a role")
{
    for (const Cipher cipher : {Cipher::aes_128_gcm, Cipher::chacha20_poly1305}) {
        SessionPair pair(cipher);
        for (std::size_t size = 16; size < 400; size += 13) {
            const Bytes packet = counting(size);
            CHECK(opened(*pair.b, sealed(*pair.a, packet)) == packet);
            CHECK(opened(*pair.a, sealed(*pair.b, packet)) == packet);
        }
        CHECK(pair.a->forgeries() == 0);
    }
}

TEST_CASE("sealed session: the packets of another implementation")
{
    // Of docs/protocol.md, section 13. Those of the second phase: sealed_phase_test.
    const Bytes packet = SessionPair::known_packet();
    CHECK(to_hex(sealed(*SessionPair(Cipher::aes_128_gcm).a, packet)) ==
          "000102030405060708090a0b0c0d0e0f0000000000000000"
          "245e6fe093592f0c0752a910e6e7602e0bd4bc6e0e44d523a216822033");
    CHECK(to_hex(sealed(*SessionPair(Cipher::chacha20_poly1305).a, packet)) ==
          "000102030405060708090a0b0c0d0e0f0000000000000000"
          "4e2f2118a78e980f97314c0590fc93bf913dd7206461d66cf62e4c05b2");
}

TEST_CASE("sealed session: nothing is opened by whom it was sent by")
{
    SessionPair pair(Cipher::aes_128_gcm);
    CHECK(result_of(*pair.a, sealed(*pair.a, counting(50))) == OpenResult::auth_failed);
    CHECK(pair.a->forgeries() == 1);
}

TEST_CASE("sealed session: an endpoint may talk to itself")
{
    SessionPair pair(Cipher::aes_128_gcm);
    const auto self =
        SealedSession::make(pair.hmac, {1, Cipher::aes_128_gcm, {}}, pair.side_a(), pair.side_a());
    CHECK(opened(*self, sealed(*self, counting(50))) == counting(50));
}

TEST_CASE("sealed session: everything the two have told each other counts")
{
    SessionPair pair(Cipher::aes_128_gcm);
    const KeyRing other_ring = ring_of(key_2);
    const Bytes other_address = counting(28);
    const Bytes packet = sealed(*pair.a, counting(50));
    const auto opens = [&](std::uint8_t version, Cipher cipher, const SealedSide& self,
                           const SealedSide& peer) {
        const auto session = SealedSession::make(pair.hmac, {version, cipher, {}}, self, peer);
        return result_of(*session, packet) == OpenResult::opened;
    };
    const SealedSide a = pair.side_a();
    const SealedSide b = pair.side_b();
    constexpr Cipher cipher = Cipher::aes_128_gcm;
    CHECK(opens(1, cipher, b, a));
    CHECK_FALSE(opens(2, cipher, b, a));
    CHECK_FALSE(opens(1, Cipher::chacha20_poly1305, b, a));
    for (const bool is_a : {false, true}) {
        for (int value = 0; value < 4; ++value) {
            const SealedSide& right = is_a ? a : b;
            const SealedSide wrong{value == 0 ? other_ring.sending() : right.key,
                                   right.incarnation + (value == 1 ? 1 : 0),
                                   right.connection + (value == 2 ? 1 : 0),
                                   value == 3 ? std::span<const std::byte>(other_address) : right.address};
            // The receiver's own key is only for what it sends.
            CHECK(opens(1, cipher, is_a ? b : wrong, is_a ? wrong : a) == (value == 0 && !is_a));
        }
    }
}

TEST_CASE("sealed session: each side sends with the key of its own hello")
{
    const KeyRing one = ring_of(key_1 + "\n" + key_2);
    const KeyRing two = ring_of(key_2 + "\n" + key_1);
    SessionPair pair(Cipher::aes_128_gcm);
    const SealedSide a{one.sending(), 1, 2, {}};
    const SealedSide b{two.sending(), 3, 4, {}};
    const SealedSide a_seen_by_b{two.all()[1], 1, 2, {}};
    const SealedSide b_seen_by_a{one.all()[1], 3, 4, {}};
    const auto at_a = SealedSession::make(pair.hmac, {1, Cipher::aes_128_gcm, {}}, a, b_seen_by_a);
    const auto at_b = SealedSession::make(pair.hmac, {1, Cipher::aes_128_gcm, {}}, b, a_seen_by_b);
    CHECK(opened(*at_b, sealed(*at_a, counting(50))) == counting(50));
    CHECK(opened(*at_a, sealed(*at_b, counting(50))) == counting(50));
}

TEST_CASE("sealed session: every bit of a packet counts, and a forgery changes nothing")
{
    for (const Cipher cipher : {Cipher::aes_128_gcm, Cipher::chacha20_poly1305}) {
        SessionPair pair(cipher);
        for (int i = 0; i < 1000; ++i) {
            static_cast<void>(sealed(*pair.a, counting(16)));
        }
        const Bytes packet = sealed(*pair.a, counting(116));
        REQUIRE(packet.size() == 116 + SealedSession::overhead);
        for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
            Bytes changed = packet;
            changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
            CHECK(result_of(*pair.b, changed) != OpenResult::opened);
        }
        for (std::size_t size = 0; size < packet.size(); ++size) {
            CHECK(result_of(*pair.b, {packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size)}) ==
                  (size < 40 ? OpenResult::too_short : OpenResult::auth_failed));
        }
        CHECK(pair.b->forgeries() > 0);
        CHECK(opened(*pair.b, packet) == counting(116));
        CHECK(result_of(*pair.b, packet) == OpenResult::replayed);
    }
}

TEST_CASE("sealed session: a packet is gathered from its pieces")
{
    SessionPair pair(Cipher::aes_128_gcm);
    Bytes packet = counting(3000);
    for (const std::size_t first : {16U, 17U, 40U, 1000U}) {
        for (const std::size_t second : {0U, 1U, 15U, 16U, 700U}) {
            const std::vector<iovec> pieces{{packet.data(), first},
                                            {packet.data() + first, second},
                                            {packet.data() + first + second, 3000 - first - second}};
            Bytes out(3000 + SealedSession::overhead);
            REQUIRE(pair.a->seal(pieces, out.data()) == out.size());
            Bytes apart(3000);
            REQUIRE(pair.b->open(in(out), apart.data()) == OpenResult::opened);
            CHECK(apart == packet);
        }
    }
}

TEST_CASE("sealed session: packets are opened once, as far back as the window reaches")
{
    SessionPair pair(Cipher::aes_128_gcm);
    std::vector<Bytes> packets;
    for (int i = 0; i < 5000; ++i) {
        packets.push_back(sealed(*pair.a, counting(20)));
    }
    const auto result = [&](std::size_t i) { return result_of(*pair.b, packets[i]); };
    CHECK(result(10) == OpenResult::opened);
    CHECK(result(10) == OpenResult::replayed);
    CHECK(result(5) == OpenResult::opened);
    CHECK(result(4101) == OpenResult::opened);
    CHECK(result(5) == OpenResult::too_old);
    CHECK(result(6) == OpenResult::opened);
    CHECK(result(10) == OpenResult::replayed);
    CHECK(result(4106) == OpenResult::opened);
    CHECK(result(10) == OpenResult::too_old);
    CHECK(result(11) == OpenResult::opened);
    CHECK(result(4999) == OpenResult::opened);
    CHECK(pair.b->forgeries() == 0);
}

TEST_CASE("sealed session: a counter that nobody sends costs nothing")
{
    SessionPair pair(Cipher::aes_128_gcm);
    for (const std::uint64_t counter : {SealedSession::ahead_max, std::uint64_t{1} << 22,
                                        PacketCounter::limit - 1, PacketCounter::limit, ~std::uint64_t{0}}) {
        CHECK(result_of(*pair.b, with_counter(sealed(*pair.a, counting(16)), counter)) ==
              OpenResult::too_new);
    }
    CHECK(pair.b->forgeries() == 0);
    CHECK(result_of(*pair.b, with_counter(sealed(*pair.a, counting(16)), SealedSession::ahead_max - 1)) ==
          OpenResult::auth_failed);
}

TEST_CASE("sealed session: nothing is allocated per packet")
{
    SessionPair pair(Cipher::aes_128_gcm);
    Bytes packet = counting(1000);
    Bytes out(1000 + SealedSession::overhead);
    const auto before = sim::allocation_violations();
    {
        const sim::AllocationBan ban;
        const iovec piece{packet.data(), packet.size()};
        for (int i = 0; i < 100; ++i) {
            const std::size_t size = pair.a->seal({&piece, 1}, out.data());
            static_cast<void>(pair.b->open(std::span(out).first(size)));
        }
    }
    CHECK(sim::allocation_violations() == before);
}

TEST_CASE("sealed session: without memory there is none")
{
    SessionPair pair(Cipher::aes_128_gcm);
    const sim::AllocationFailure failure(0);
    CHECK(SealedSession::make(pair.hmac, {1, Cipher::aes_128_gcm, {}}, pair.side_a(), pair.side_b()) ==
          nullptr);
}

TEST_CASE("packet counter: it stops long before it wraps")
{
    PacketCounter counter(PacketCounter::limit - 2);
    CHECK_FALSE(counter.exhausted());
    CHECK(counter.take() == PacketCounter::limit - 2);
    CHECK(counter.take() == PacketCounter::limit - 1);
    CHECK(counter.exhausted());
    CHECK(PacketCounter::limit <= std::uint64_t{1} << 63);
    CHECK(PacketCounter().take() == 0);
}

TEST_CASE("phase keys: the IV of a packet is as in QUIC")
{
    PhaseKeys keys;
    std::ranges::copy(from_hex("8822f179888ebebc9a8a0de8"), keys.iv.begin());
    CHECK(to_hex(keys.iv_of(0)) == "8822f179888ebebc9a8a0de8");
    CHECK(to_hex(keys.iv_of(0x0102030405060708)) == "8822f179898cbdb89f8c0ae0");
}
