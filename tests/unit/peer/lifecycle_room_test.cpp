// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Who gets a record when all are in use.
#include <algorithm>
#include <vector>

#include "unit/peer/lifecycle_world.hpp"

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;
using World = LifecycleWorld;

TEST_CASE("PeerLifecycle: room is made of peers that have gone and left nothing")
{
    World world;
    for (std::uint32_t route = 1; route < 4; ++route) {
        world.meet(route);
    }
    REQUIRE(world.shared.peers.full());
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, world.now) == no_index); // all are there
    world.take(1, eager(0, 100));
    world.park();
    world.peer(2).pinned = true;
    for (const std::uint32_t peer : {1U, 2U}) {
        close(world, peer);
    }
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, world.now) ==
          no_index); // what stays is somebody's
    submit(world, 3);
    close(world, 3);
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, world.now) == no_index); // its event names it
    CHECK(ended(world) == Cause::closed);
    CHECK(world.lifecycle.take_released_route() == no_id<RouteId>);
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, world.now) == 3);
    CHECK(world.shared.peers.of_route(RouteId{3}) == no_index);
    CHECK(world.lifecycle.take_released_route() == no_id<RouteId>); // it is remembered for a while
    CHECK(world.count.peer_evictions.value() == 1);
}

TEST_CASE(
    "PeerLifecycle: silent peers are asked for a proof when room is wanted, and are room if they give none")
{
    World world;
    for (std::uint32_t route = 1; route < 4; ++route) {
        world.meet(route);
    }
    const Time wanted = world.now + Liveness::interval;
    world.peer(1).liveness.on_heard(wanted);
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, wanted) == no_index);
    std::vector<std::uint32_t> dead;
    for (Time now = wanted; now < wanted + 10s; now += 100ms) {
        world.shared.questions.on_rx_drained(now);
        for (LivenessQuestions::Question question; world.shared.questions.take(question);) {
        }
        for (std::uint32_t peer = 0; peer < 4; ++peer) {
            const bool was = world.peer(peer).handshake.established();
            world.watch.check_silence(peer, now);
            if (was && !world.peer(peer).handshake.established()) {
                dead.push_back(peer);
            }
        }
    }
    CHECK(dead == std::vector<std::uint32_t>{0, 2, 3}); // not the one that was heard
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, world.now) == no_index); // events name them
    for (std::size_t i = 0; i < dead.size(); ++i) {
        CHECK(lost(world) == Cause::stopped_answering);
    }
    CHECK(world.lifecycle.open(World::way(9, 1400), bounded, world.now) != no_index);
}

TEST_CASE(
    "PeerLifecycle: the application's own peer gets any record that can be given away, a stranger a near one")
{
    constexpr std::uint32_t records = 200;
    World world(records);
    while (world.shared.peers.watermark() < records) {
        world.meet(world.shared.peers.watermark());
    }
    close(world, records - 1); // behind many that are there
    CHECK(world.lifecycle.open(World::way(records, 1400), bounded, world.now) == no_index);
    CHECK(world.lifecycle.open(World::way(records, 1400), PeerLifecycle::Search::whole, world.now) ==
          records - 1);
}

TEST_CASE("PeerLifecycle: however many want a record, silent peers are asked a batch at a time")
{
    constexpr std::uint32_t records = 200;
    World world(records);
    while (world.shared.peers.watermark() < records) {
        world.meet(world.shared.peers.watermark());
    }
    const Time wanted = world.now + Liveness::interval;
    for (std::uint32_t peer = 0; peer < records; ++peer) {
        world.watch.check_silence(peer, wanted); // it owes nothing
        REQUIRE(world.peer(peer).liveness.next_timeout() == time_never);
    }
    for (int stranger = 0; stranger < 10; ++stranger) {
        CHECK(world.lifecycle.open(World::way(records, 1400), bounded, wanted) == no_index);
    }
    std::uint32_t asked = 0;
    for (std::uint32_t peer = 0; peer < records; ++peer) {
        asked += world.peer(peer).liveness.next_timeout() != time_never ? 1U : 0U;
    }
    CHECK(asked == 64);
}

TEST_CASE("PeerLifecycle: whoever introduces itself while there is no room is told so")
{
    World world;
    const std::uint64_t promised = world.introduce(9, World::hello(500, 77)).connection;
    for (std::uint32_t route = 1; route < 4; ++route) {
        world.meet(route);
    }
    for (const std::uint64_t under : {std::uint64_t{0}, promised}) { // the room was another's meanwhile
        const wire::HelloFrame refusal = world.introduce(9, World::hello(500, 77), under);
        CHECK(refusal.flags == wire::hello_flag::no_room);
        CHECK(refusal.connection != 0);
    }
    CHECK(world.shared.peers.of_route(RouteId{9}) == no_index);
    CHECK(world.lifecycle.take_released_route() == RouteId{9});
    CHECK(world.lifecycle.take_released_route() == no_id<RouteId>);
    CHECK(world.count.tx_no_room.value() == 2);
    // A successor has its predecessor's.
    const wire::HelloFrame hello = World::hello(66, 77);
    CHECK(world.introduce(0, hello, world.introduce(0, hello).connection).connection == 0);
    CHECK(world.peer(0).handshake.tx_connection() == 66);
}

TEST_CASE("PeerLifecycle: what a stranger was told it may use, though all others begin connections meanwhile")
{
    constexpr std::uint32_t all = 250;
    World world(all);
    std::vector<std::uint64_t> told(all);
    for (std::uint32_t host = 1; host < all; ++host) {
        told[host] = world.introduce(host, World::hello(1000 + host, 1)).connection;
    }
    for (std::uint32_t host = 1; host < all; ++host) {
        INFO("host " << host);
        REQUIRE(world.introduce(host, World::hello(1000 + host, 1), told[host]).connection == 0);
        CHECK(world.peer(world.shared.peers.of_route(RouteId{host})).handshake.rx_connection() == told[host]);
    }
}

TEST_CASE("PeerLifecycle: an idle record's name was told, and holds when the record is another's")
{
    World world;
    for (std::uint32_t route = 1; route < 4; ++route) {
        world.meet(route);
    }
    close(world, 3);
    const wire::HelloFrame hello = World::hello(500, 77);
    const std::uint64_t told = world.introduce(3, hello).connection;
    CHECK(told == world.peer(3).handshake.rx_connection());
    REQUIRE(world.lifecycle.open(World::way(9, 1400), bounded, world.now) == 3);
    CHECK(world.shared.peers.of_route(RouteId{3}) == no_index);
    close(world, 2);
    CHECK(world.introduce(3, hello, told).connection == 0);
    CHECK(world.peer(2).handshake.rx_connection() == told);
}
