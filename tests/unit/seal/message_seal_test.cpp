// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "seal/message_seal.hpp"
#include "support/alloc_guard.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;
using Result = MessageSeal::Result;

namespace {

constexpr MessageSeal::Nonce nonce{0x0706050403020100, 0x0f0e0d0c0b0a0908};
constexpr std::size_t clear_size = 8;

Bytes sealed(MessageSeal& seal, const Bytes& message, const MessageSeal::Nonce& used = nonce)
{
    Bytes out(message.size() + MessageSeal::overhead);
    REQUIRE(seal.seal(message, clear_size, used, out));
    return out;
}

Result result_of(MessageSeal& seal, std::span<const std::byte> message, Bytes* opened = nullptr)
{
    Bytes out(message.size() - std::min(message.size(), MessageSeal::overhead));
    const Result result = seal.open(message, clear_size, out);
    if (opened != nullptr) {
        *opened = out;
    }
    return result;
}

} // namespace

TEST_CASE("message seal: what one seals, another with the key opens")
{
    const KeyRing ring = ring_of(key_1);
    const KeyRing same = ring_of(key_2 + "\n" + key_1);
    MessageSeal one(ring);
    MessageSeal other(same);
    Bytes message = of_text("\xf5srdshm1");
    const Bytes body = counting(20);
    message.insert(message.end(), body.begin(), body.end());
    const Bytes packet = sealed(one, message);
    // Computed by another implementation of docs/protocol.md, section 13.
    CHECK(to_hex(packet) == "f573726473686d315162d9e4000102030405060708090a0b0c0d0e0f"
                            "8fa3d2a0db605c5088df28df3df4d8136989a8aec3870a5cf4b44cc8fb9d233d49d82c9e");
    Bytes opened;
    for (int round = 0; round < 2; ++round) {
        REQUIRE(result_of(other, packet, &opened) == Result::opened);
        CHECK(opened == message);
    }
    CHECK(result_of(one, sealed(other, message)) == Result::unknown_key);
    CHECK(sealed(one, message, {1, 2}) != packet);
    CHECK(result_of(other, sealed(one, message, {1, 2})) == Result::opened);
    CHECK(result_of(other, sealed(one, of_text("\xf5srdshm1"))) == Result::opened);
}

TEST_CASE("message seal: every bit counts")
{
    const KeyRing ring = ring_of(key_1);
    MessageSeal seal(ring);
    const Bytes packet = sealed(seal, counting(96));
    for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
        Bytes changed = packet;
        changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const bool in_id = bit / 8 >= clear_size && bit / 8 < clear_size + MessageSeal::key_id_size;
        CHECK(result_of(seal, changed) == (in_id ? Result::unknown_key : Result::auth_failed));
    }
    for (std::size_t size = 0; size < packet.size(); ++size) {
        CHECK(result_of(seal, in(packet).first(size)) ==
              (size < clear_size + MessageSeal::overhead ? Result::too_short : Result::auth_failed));
    }
}

TEST_CASE("message seal: nothing is allocated per message")
{
    const KeyRing ring = ring_of(key_1);
    MessageSeal seal(ring);
    Bytes message = counting(96);
    Bytes packet(96 + MessageSeal::overhead);
    Result result{};
    const auto before = sim::allocation_violations();
    {
        const sim::AllocationBan ban;
        if (seal.seal(message, clear_size, nonce, packet)) {
            result = seal.open(packet, clear_size, message);
        }
    }
    CHECK(sim::allocation_violations() == before);
    CHECK(result == Result::opened);
}
