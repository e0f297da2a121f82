// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the tests of PeerLifecycle say to it, and ask it.
#pragma once

#include "unit/receive/placement_world.hpp"

namespace srd::test {

using LifecycleWorld = PlacementWorld;
inline constexpr auto bounded = PeerLifecycle::Search::bounded;

/// An operation that waits for the peer.
inline std::uint32_t submit(LifecycleWorld& world, std::uint32_t peer)
{
    Operation operation;
    operation.peer = PeerId{peer};
    operation.cookie = 77;
    SendQueue& queue = world.peer(peer).connection.queue;
    const std::uint32_t record = world.shared.outgoing.create(operation, 10, queue.message_next());
    world.shared.outgoing.submit_waiting(queue, record);
    queue.count_message();
    return record;
}
/// Why the next peer was lost.
inline Cause lost(LifecycleWorld& world)
{
    bool wanted = false;
    REQUIRE(world.shared.outgoing.poll_done(world.event, wanted));
    CHECK(world.event.kind == Event::Kind::peer_lost);
    CHECK(world.event.cookie == 0);
    return world.event.cause;
}
/// The cause of the only operation that has ended, and with it perhaps its peer.
inline Cause ended(LifecycleWorld& world)
{
    bool wanted = false;
    REQUIRE(world.shared.outgoing.poll_done(world.event, wanted));
    CHECK(world.event.cookie == 77);
    const Cause cause = world.event.cause;
    if (is_peer_failure(cause)) {
        CHECK(lost(world) == cause);
    }
    CHECK_FALSE(world.shared.outgoing.any_done());
    return cause;
}
/// A hello in a packet that bears our identifier, from the host of that number.
inline FrameResult answer_from(LifecycleWorld& world, std::uint32_t host, std::uint32_t peer,
                               wire::HelloFrame hello)
{
    hello.address.front() = std::byte(host);
    world.shared.reader.close();
    world.note = PacketNote{};
    world.note.peer = peer;
    world.shared.reader.open(world.note);
    return world.lifecycle.on_hello(hello, world.event, world.now);
}
/// The same from the peer's own host.
inline FrameResult answer(LifecycleWorld& world, std::uint32_t peer, const wire::HelloFrame& hello)
{
    const std::uint32_t host =
        peer == no_index ? 0 : static_cast<std::uint32_t>(index_of(world.peer(peer).route.id()));
    return answer_from(world, host, peer, hello);
}
inline FrameResult close(LifecycleWorld& world, std::uint32_t peer)
{
    world.shared.reader.close();
    world.note = PacketNote{};
    world.note.peer = peer;
    world.shared.reader.open(world.note);
    const FrameResult result = world.lifecycle.on_close(world.now);
    world.shared.reader.close();
    return result;
}
inline wire::HelloFrame reply(std::uint64_t connection, std::uint64_t incarnation)
{
    wire::HelloFrame hello = LifecycleWorld::hello(connection, incarnation);
    hello.flags = 0;
    return hello;
}

} // namespace srd::test
