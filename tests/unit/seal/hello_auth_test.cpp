// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>

#include "seal/hello_auth.hpp"
#include "support/alloc_guard.hpp"
#include "unit/seal/seal_fixture.hpp"

using namespace srd;
using namespace srd::test;
using Result = HelloAuth::Result;

namespace {

Bytes with_trailer(HelloAuth& auth, const KeyRing& ring, Bytes packet, std::uint32_t told = 0)
{
    packet.resize(packet.size() + HelloAuth::trailer_size);
    const std::span all(packet);
    auth.append(all.first(all.size() - HelloAuth::trailer_size), all.last<HelloAuth::trailer_size>(),
                {ring.sending().id, told});
    return packet;
}

} // namespace

TEST_CASE("hello auth: what one appends, another with the key verifies")
{
    const KeyRing ring = ring_of(key_1);
    const KeyRing same = ring_of("# copied\n" + key_1);
    KeyExchange::Share share{};
    std::ranges::copy(from_hex("8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"),
                      share.begin());
    HelloAuth sender(ring, CipherOffer::prefers_aes, share);
    HelloAuth receiver(same, CipherOffer::prefers_chacha);
    const Bytes packet = with_trailer(sender, ring, counting(104));
    CHECK(std::ranges::equal(in(packet).first(104), counting(104)));
    // Computed by another implementation of docs/protocol.md, section 13.
    CHECK(to_hex(in(packet).last(56)) == "5162d9e401000000"
                                         "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
                                         "649ec400d07c34b8aeccdebe7d39c14d");
    for (int round = 0; round < 2; ++round) {
        const HelloAuth::Verified verified = receiver.verify(packet);
        REQUIRE(verified.result == Result::authentic);
        CHECK(verified.key == &same.sending());
        CHECK(verified.offer == CipherOffer::prefers_aes);
        CHECK(verified.told == 0);
        CHECK(verified.share == share);
        CHECK(verified.size == 104);
    }
}

TEST_CASE("hello auth: every bit counts")
{
    const KeyRing ring = ring_of(key_1);
    HelloAuth auth(ring, CipherOffer::prefers_aes);
    const Bytes packet = with_trailer(auth, ring, counting(104));
    for (std::size_t bit = 0; bit < packet.size() * 8; ++bit) {
        Bytes changed = packet;
        changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        const Result result = auth.verify(changed).result;
        CHECK(result != Result::authentic);
        CHECK((result == Result::unknown_key) == (bit / 8 >= 104 && bit / 8 < 108));
    }
    for (std::size_t size = 0; size < packet.size(); ++size) {
        CHECK(auth.verify(in(packet).first(size)).result != Result::authentic);
    }
    for (std::size_t size = 0; size < HelloAuth::trailer_size; ++size) {
        CHECK(auth.verify(in(packet).first(size)).result == Result::malformed);
    }
    CHECK(auth.verify(with_trailer(auth, ring, {})).size == 0);
}

TEST_CASE("hello auth: keys are replaced while both are in use")
{
    const KeyRing old_ring = ring_of(key_1);
    const KeyRing knows_both = ring_of(key_1 + "\n" + key_2);
    const KeyRing sends_new = ring_of(key_2 + "\n" + key_1);
    const KeyRing new_ring = ring_of(key_2);
    HelloAuth first(old_ring, {});
    HelloAuth second(knows_both, {});
    HelloAuth third(sends_new, {});
    HelloAuth fourth(new_ring, {});
    const auto ring_by = [&](const HelloAuth& sender) -> const KeyRing& {
        return &sender == &first    ? old_ring
               : &sender == &second ? knows_both
               : &sender == &third  ? sends_new
                                    : new_ring;
    };
    const auto takes = [&](HelloAuth& receiver, HelloAuth& sender) {
        return receiver.verify(with_trailer(sender, ring_by(sender), counting(104))).result;
    };
    CHECK(takes(first, second) == Result::authentic);
    CHECK(takes(second, first) == Result::authentic);
    CHECK(takes(second, third) == Result::authentic);
    CHECK(takes(third, second) == Result::authentic);
    CHECK(takes(third, fourth) == Result::authentic);
    CHECK(takes(fourth, third) == Result::authentic);
    CHECK(takes(first, third) == Result::unknown_key);
    CHECK(takes(fourth, second) == Result::unknown_key);
    CHECK(third.verify(with_trailer(second, knows_both, counting(104))).key == &sends_new.all()[1]);
}

TEST_CASE("hello auth: which key is used is chosen, and the receiver's is named by its lower bytes")
{
    const KeyRing ring = ring_of(key_2 + "\n" + key_1);
    HelloAuth auth(ring, {});
    Bytes packet(104 + HelloAuth::trailer_size);
    const std::span all(packet);
    auth.append(all.first(104), all.last<HelloAuth::trailer_size>(), {ring.all()[1].id, 0x12345678});
    const HelloAuth::Verified verified = auth.verify(packet);
    REQUIRE(verified.result == Result::authentic);
    CHECK(verified.key == &ring.all()[1]);
    CHECK(verified.told == 0x345678);
}

TEST_CASE("hello auth: a flood allocates nothing")
{
    const KeyRing ring = ring_of(key_1);
    HelloAuth auth(ring, CipherOffer::prefers_aes);
    Bytes packet = with_trailer(auth, ring, counting(104));
    const auto before = sim::allocation_violations();
    {
        const sim::AllocationBan ban;
        for (int i = 0; i < 100; ++i) {
            packet[3] ^= std::byte{1};
            static_cast<void>(auth.verify(packet));
        }
    }
    CHECK(sim::allocation_violations() == before);
}
