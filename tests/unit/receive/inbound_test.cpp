// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/inbound.hpp"
#include "send/framing.hpp"
#include "unit/receive/placement_world.hpp"
#include "wire/binding.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// Whole packets of a peer, in order.
struct World : PlacementWorld {
    void receive(const Bytes& frames)
    {
        wire::PacketHeader header;
        header.flags = wire::packet_flag::sequenced;
        header.psn = next_psn++;
        header.connection = peer(a).handshake.rx_connection();
        packet = raw(header) + frames;
        wire::bind_packet(packet);
        const RxPacket received{packet.data(), static_cast<std::uint32_t>(packet.size()), false, false, now};
        inbound.on_packets({&received, 1}, now);
    }
    bool message_comes() { return inbound.poll_event(event) && event.kind == Event::Kind::message; }

    Framing framing{shared, placement, initiator, target};
    PathSearch search{shared};
    RailSearch rails{shared};
    LocalMessages local{shared, placement, lifecycle, watch};
    Submission submission{shared, framing, initiator, lifecycle};
    AckHandler acks{shared};
    Inbound inbound{shared,    lifecycle, watch,  acks,  submission, placement,
                    initiator, target,    search, rails, local};
    std::uint32_t next_psn = hello(1, 1).first_psn;
    Bytes packet;
};

} // namespace

TEST_CASE("Inbound: messages before their turn are announced in it")
{
    World world;
    world.receive(eager(1, 10));
    CHECK_FALSE(world.message_comes());
    world.receive(eager(0, 10));
    REQUIRE(world.message_comes());
    REQUIRE(world.accept(current_message, 10) == Status::ok);
    REQUIRE(world.message_comes());
    CHECK(world.accept(world.event.message, 10) == Status::ok);
    CHECK_FALSE(world.message_comes());
}

TEST_CASE("Inbound: a message left unfinished 2^32 messages ago is not taken for one whose turn has come")
{
    World world;
    // As if number 1 had been announced, parked and never finished, and the numbers had gone round.
    const std::uint32_t stale = world.shared.incoming.create(world.peer(world.a).incoming, world.a, 1, false);
    world.message(stale).stage = RxMessage::Stage::parked;
    world.message(stale).total = 10;
    world.shared.incoming.insert(stale);
    world.receive(eager(2, 10));
    CHECK_FALSE(world.message_comes());
    world.receive(eager(0, 10));
    REQUIRE(world.message_comes());
    REQUIRE(world.accept(current_message, 10) == Status::ok);
    CHECK_FALSE(world.message_comes()); // aborted
    world.receive(eager(1, 10));        // what comes in its turn is announced all the same
    REQUIRE(world.message_comes());
    REQUIRE(world.accept(current_message, 10) == Status::ok);
    REQUIRE(world.message_comes());
    CHECK(world.accept(world.event.message, 10) == Status::ok);
}
