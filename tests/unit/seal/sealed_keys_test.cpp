// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Job keys that are replaced while two endpoints meet: both derive a connection's keys from the same two.
#include <memory>

#include "seal/endpoint_seals.hpp"
#include "unit/seal/session_fixture.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::uint32_t nobody = ~std::uint32_t{0}; ///< has no record

std::shared_ptr<const KeyRing> shared_ring(const std::string& text)
{
    return std::make_shared<const KeyRing>(ring_of(text));
}

struct World {
    /// `a_exchanges`, `b_exchanges`: take part in the exchange of keys.
    explicit World(bool a_exchanges = true, bool b_exchanges = true)
        : a(shared_ring(key_1 + "\n" + key_2), CipherOffer::prefers_aes, exchange(a_exchanges, 1)),
          b(shared_ring(key_1 + "\n" + key_2), CipherOffer::prefers_aes, exchange(b_exchanges, 2))
    {
    }
    static std::unique_ptr<const KeyExchange> exchange(bool takes_part, unsigned number)
    {
        const Bytes secret = counting(KeyExchange::size, number);
        return takes_part ? KeyExchange::make(std::span(secret).first<KeyExchange::size>()) : nullptr;
    }

    EndpointSeals a;
    EndpointSeals b;
    const EndpointSeals::Side side_a{1, 2, {}};
    const EndpointSeals::Side side_b{3, 4, {}};

    /// What a hello of `from` to its peer, or in answer to `answered`, proves to `to`.
    static HelloProof hello(EndpointSeals& from, EndpointSeals& to, std::uint32_t peer,
                            const HelloProof& answered = {})
    {
        Bytes packet(104 + EndpointSeals::trailer_size);
        from.append_trailer(std::span(packet).first(104), &packet[104], from.keys_of(peer, answered));
        return to.verify(packet);
    }
    static void change_places(EndpointSeals& seals) { seals.replace(shared_ring(key_2 + "\n" + key_1)); }
    bool understand()
    {
        const Bytes known = SessionPair::known_packet();
        return opened(*b.session(0), sealed(*a.session(0), known)) == known &&
               opened(*a.session(0), sealed(*b.session(0), known)) == known;
    }
};

} // namespace

TEST_CASE("sealed keys: an answer of which nobody remembers anything binds the one who gave it")
{
    World world;
    world.b.prepare(0);
    const HelloProof answer = World::hello(world.a, world.b, nobody, World::hello(world.b, world.a, 0));
    World::change_places(world.a);
    REQUIRE(world.b.begin(0, 2, world.side_b, world.side_a, answer));
    World::change_places(world.b);
    REQUIRE(world.a.begin(0, 2, world.side_a, world.side_b, World::hello(world.b, world.a, 0)));
    CHECK(world.understand());
}

TEST_CASE("sealed keys: keys are exchanged if both take part in it, and cannot be without")
{
    for (const bool a : {false, true}) {
        for (const bool b : {false, true}) {
            World world(a, b);
            const HelloProof of_a = World::hello(world.a, world.b, 0);
            const HelloProof of_b = World::hello(world.b, world.a, 0);
            REQUIRE(world.a.begin(0, 2, world.side_a, world.side_b, of_b));
            REQUIRE(world.b.begin(0, 2, world.side_b, world.side_a, of_a));
            CHECK(world.understand());
            // Whoever knows all that was said, and the job's key, but neither secret.
            HelloProof without = of_a;
            without.share = {};
            REQUIRE(world.a.begin(0, 2, world.side_a, world.side_b, of_b));
            REQUIRE(world.b.begin(0, 2, world.side_b, world.side_a, without));
            CHECK(world.understand() == !(a && b));
        }
    }
    World world;
    HelloProof no_share = World::hello(world.b, world.a, 0);
    no_share.share = {std::byte{1}}; // a point of small order
    CHECK_FALSE(world.a.begin(0, 2, world.side_a, world.side_b, no_share));
    CHECK(world.a.session(0) == nullptr);
}

TEST_CASE("sealed keys: a record's hellos bear one key, also when both introduce themselves")
{
    World world;
    world.a.prepare(0);
    world.b.prepare(0);
    const HelloProof of_a = World::hello(world.a, world.b, 0);
    World::change_places(world.a);
    const HelloProof of_b = World::hello(world.b, world.a, 0);
    const HelloProof to_a = World::hello(world.b, world.a, 0, of_a);
    const HelloProof to_b = World::hello(world.a, world.b, 0, of_b);
    REQUIRE(world.a.begin(0, 2, world.side_a, world.side_b, to_a));
    REQUIRE(world.b.begin(0, 2, world.side_b, world.side_a, to_b));
    CHECK(world.understand());
}

TEST_CASE("sealed keys: a connection goes on without the key it was made under, and a new one needs another")
{
    World world;
    world.b.prepare(0);
    const HelloProof answer = World::hello(world.a, world.b, nobody, World::hello(world.b, world.a, 0));
    REQUIRE(world.b.begin(0, 2, world.side_b, world.side_a, answer));
    const HelloProof proof = World::hello(world.b, world.a, 0);
    REQUIRE(world.a.begin(0, 2, world.side_a, world.side_b, proof));
    const HelloProof late = World::hello(world.b, world.a, 0);
    world.a.replace(shared_ring(key_2));
    CHECK(world.understand());
    CHECK_FALSE(world.a.has_met_unknown_key());
    CHECK(World::hello(world.b, world.a, 0).key == nullptr);
    CHECK(world.a.has_met_unknown_key());
    HelloProof gone;
    gone.key = &world.a.keys().sending();
    gone.told = late.told;
    CHECK_FALSE(world.a.begin(0, 2, world.side_a, world.side_b, gone));
}
