// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a peer says of its addresses, and what is believed of it.
#include <array>

#include "peer/rail_search.hpp"
#include "support/parts_world.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;

constexpr std::array<std::byte, 2 * rail_size> addresses{std::byte{1}};

IoCaps caps_with_rails()
{
    IoCaps caps = parts_caps();
    caps.path_count = 64;
    caps.rail_count = 3;
    caps.rails = addresses;
    return caps;
}

/// We have three addresses; the peer says what it says.
struct World : PartsWorld {
    explicit World(std::uint64_t features = feature::all, const IoCaps& caps = caps_with_rails())
        : PartsWorld(parts_limits(), caps)
    {
        wire::HelloFrame frame = hello(1001, 1);
        frame.oldest = frame.newest = base_version;
        frame.features = features;
        REQUIRE(introduce(1, frame, introduce(1, frame).connection).connection == 0);
        a = shared.peers.of_route(RouteId{1});
        shared.peers.deactivate(a);
    }
    FrameResult say(std::uint8_t flags, std::uint8_t way, std::uint64_t nonce, std::size_t told = 2)
    {
        wire::RailsWord word;
        word.frame.flags = flags;
        word.frame.way = way;
        word.frame.count = static_cast<std::uint8_t>(told);
        word.frame.nonce = nonce;
        word.addresses = std::span(addresses).first(told * rail_size);
        note = PacketNote{};
        note.peer = a;
        shared.reader.close();
        shared.reader.open(note);
        return search.on_rails(word, event, now);
    }
    std::uint64_t nonce(std::uint8_t way)
    {
        return shared.names.rail_nonce(shared.peers[a].handshake.rx_connection(), way);
    }
    Rails& rails() { return shared.peers[a].rails; }
    std::uint64_t proven() const { return count.rails_proven.value(); }

    RailSearch search{shared};
    std::uint32_t a = 0;
};

} // namespace

TEST_CASE("RailSearch: what the peer tells first counts, and is asked for until then")
{
    World world;
    CHECK(world.rails().next_timeout() <= world.now);
    world.search.on_timeout(world.a, world.now);
    CHECK(world.rails().any_due());
    CHECK(world.say(0, 0, 77) == FrameResult::event);
    CHECK(world.event.kind == Event::Kind::rails);
    CHECK(world.event.peer == PeerId{world.a});
    CHECK(world.event.payload.size() == 2 * rail_size);
    CHECK(world.say(0, 0, 78) == FrameResult::event); // nobody has answered the event
    world.search.told(world.a, 3, 0x1ff, world.now);
    CHECK(world.say(0, 1, 79) == FrameResult::stop);
    CHECK(world.rails().ways() == 9);
    // All three questions are answered.
    const std::uint64_t connection = world.shared.peers[world.a].handshake.rx_connection();
    for (const std::uint64_t nonce : {77U, 78U, 79U}) {
        const auto owed = world.shared.owed_rails.take(connection);
        REQUIRE(owed.has_value());
        CHECK(owed->nonce == nonce);
    }
}

TEST_CASE("RailSearch: a way is open when its own question is answered, and by nothing else")
{
    World world;
    world.say(0, 0, 1);
    world.search.told(world.a, 3, 0x1ff, world.now);
    CHECK_FALSE(world.rails().several());
    constexpr std::uint8_t answer = wire::question_flag::answer;
    world.say(answer, 4, world.nonce(4) ^ 1);
    world.say(answer, 4, world.nonce(0)); // which the peer has seen
    world.say(answer, 4, 0);
    world.say(0, 4, world.nonce(4)); // no answer
    CHECK(world.rails().open() == 1);
    CHECK(world.proven() == 0);
    world.say(answer, 4, world.nonce(4));
    CHECK(world.rails().open() == 0b10001);
    world.say(answer, 4, world.nonce(4));
    world.say(answer, 12, world.nonce(12)); // there is none of that number
    CHECK(world.rails().open() == 0b10001);
    CHECK(world.proven() == 1);
    // Packets take both now, and no others.
    for (int i = 0; i < 200; ++i) {
        const unsigned way =
            world.rails().way_of(world.shared.peers[world.a].connection.paths.next(world.now));
        CHECK((way == 0 || way == 4));
    }
}

TEST_CASE("RailSearch: who has one address, and an older release, are neither asked nor heard")
{
    const bool old = GENERATE(false, true);
    World world(old ? feature::open_hello : feature::all, old ? caps_with_rails() : parts_caps());
    CHECK(world.rails().next_timeout() == time_never);
    CHECK(world.say(0, 0, 7) == FrameResult::malformed);
    CHECK_FALSE(world.rails().any_due());
}

TEST_CASE("RailSearch: a new connection with the peer begins with nothing")
{
    World world;
    world.say(0, 0, 1);
    world.search.told(world.a, 3, 0x1ff, world.now);
    world.say(wire::question_flag::answer, 4, world.nonce(4));
    REQUIRE(world.rails().several());
    world.lifecycle.fail(world.a, Cause::stopped_answering, world.now);
    CHECK_FALSE(world.rails().several());
    CHECK_FALSE(world.rails().is_told());
    CHECK(world.rails().way_of(PathId{13}) == 0);
}
