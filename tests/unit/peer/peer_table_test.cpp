// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <vector>

#include "peer/peer_table.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using namespace std::chrono_literals;

const Time start{Duration(1s)};
constexpr std::uint32_t capacity = 8;

Limits limits()
{
    Limits value;
    value.max_peers = capacity;
    value.max_routes = 32;
    return value;
}

struct Table {
    std::uint32_t add(std::uint32_t route, std::uint64_t connection)
    {
        const std::uint32_t peer = table.alloc();
        REQUIRE(peer != no_index);
        IoCaps caps;
        caps.max_packet = 1500;
        table[peer].route = Route({RouteId{route}, {}, 1500}, 0, caps);
        table[peer].handshake = Handshake(connection);
        table.set_route(peer);
        table.routes().begin(RouteId{route}, table.routes().next(RouteId{route}));
        table.connect(connection, peer);
        return peer;
    }
    std::vector<std::uint32_t> expire(Time now)
    {
        std::vector<std::uint32_t> fired;
        table.expire(now, [&](std::uint32_t peer) { fired.push_back(peer); });
        std::sort(fired.begin(), fired.end());
        return fired;
    }

    PeerTable table{limits()};
};

using Peers = std::vector<std::uint32_t>;

} // namespace

TEST_CASE("PeerTable: peers are found by route, of which 0 is one")
{
    Table world;
    CHECK(world.table.of_route(RouteId{0}) == no_index);
    const std::uint32_t first = world.add(0, 100);
    const std::uint32_t last = world.add(31, 200);
    CHECK(world.table.of_route(RouteId{0}) == first);
    CHECK(world.table.of_route(RouteId{31}) == last);
    CHECK(world.table.of_route(RouteId{1}) == no_index);
    world.table.check(first);
    world.table.disconnect(100);
    world.table.release(first);
    CHECK(world.table.of_route(RouteId{0}) == no_index);
    CHECK_FALSE(world.table.live(first));
    CHECK(world.table.of_route(RouteId{31}) == last);
}

TEST_CASE("PeerTable: a peer takes no more than the documents say")
{
    CHECK(sizeof(Peer) <= 1104);
}

TEST_CASE("PeerTable: full when all records are in use")
{
    Table world;
    for (std::uint32_t i = 0; i < capacity; ++i) {
        CHECK_FALSE(world.table.full());
        world.add(i, 100 + i);
    }
    CHECK(world.table.full());
    CHECK(world.table.alloc() == no_index);
    CHECK(world.table.watermark() == capacity);
    world.table.disconnect(103);
    world.table.release(3);
    CHECK_FALSE(world.table.full());
    CHECK(world.table.alloc() == 3);
}

TEST_CASE("PeerTable: packets are their connection's, strangers' are nobody's")
{
    Table world;
    const std::uint32_t one = world.add(0, 100);
    const std::uint32_t two = world.add(1, 200);
    for (int i = 0; i < 2; ++i) {
        CHECK(world.table.of_connection(100) == one);
        CHECK(world.table.of_connection(100) == one);
        CHECK(world.table.of_connection(200) == two);
        CHECK(world.table.of_connection(0) == no_index);
        CHECK(world.table.of_connection(300) == no_index);
    }
}

TEST_CASE("PeerTable: an ended connection is nobody's, though it was the latest heard of")
{
    Table world;
    const std::uint32_t peer = world.add(0, 100);
    CHECK(world.table.of_connection(100) == peer);
    world.table.disconnect(100);
    CHECK(world.table.of_connection(100) == no_index);
    world.table[peer].handshake = Handshake(101);
    world.table.connect(101, peer);
    CHECK(world.table.of_connection(101) == peer);
    CHECK(world.table.of_connection(100) == no_index);
}

TEST_CASE("PeerTable: identifiers that meet in one place are told apart, also when one goes")
{
    constexpr std::uint64_t places = 2 * capacity;
    for (std::uint32_t gone = 0; gone < 6; ++gone) {
        Table world;
        std::vector<std::uint64_t> connections;
        for (const std::uint64_t home : {15U, 15U, 15U, 0U, 1U, 15U}) { // around the end of the table
            connections.push_back(home + places * (connections.size() + 1));
            world.add(static_cast<std::uint32_t>(connections.size()), connections.back());
        }
        world.table.disconnect(connections[gone]);
        for (std::uint32_t i = 0; i < connections.size(); ++i) {
            INFO("gone " << gone << ", looked for " << i);
            CHECK(world.table.of_connection(connections[i]) == (i == gone ? no_index : i));
        }
    }
}

TEST_CASE("PeerTable: those with something to send take turns, each once")
{
    Table world;
    CHECK_FALSE(world.table.any_active());
    for (std::uint32_t i = 0; i < 3; ++i) {
        world.table.activate(world.add(i, 100 + i));
    }
    world.table.activate(0); // it has its turn already
    CHECK(world.table.first_active() == 0);
    CHECK(world.table.last_active() == 2);
    world.table.deactivate(0);
    world.table.deactivate(0);
    CHECK(world.table.first_active() == 1);
    world.table.activate(0);
    CHECK(world.table.last_active() == 0);
    world.table.disconnect(101);
    world.table.release(1);
    CHECK(world.table.first_active() == 2);
}

TEST_CASE("PeerTable: one timer each, at the earliest of its deadlines")
{
    Table world;
    const std::uint32_t one = world.add(0, 100);
    const std::uint32_t two = world.add(1, 200);
    world.table.arm(one);
    CHECK(world.table.next_timeout() == time_never);
    world.table[one].handshake.greet(start);         // 1 ms
    world.table[one].liveness.on_wait_begins(start); // 500 ms
    world.table.arm(one);
    world.table[two].liveness.on_wait_begins(start + 10ms);
    world.table.arm(two);
    CHECK(world.expire(start + 900us).empty());
    CHECK(world.expire(start + 1100us) == Peers{one});
    CHECK(world.expire(start + 2s) == Peers{two}); // the first is not armed again by itself
    CHECK(world.expire(start + 1h).empty());
    world.table.arm(one);
    CHECK(world.expire(start + 1h + 1ms) == Peers{one}); // what is late is due at once
}

TEST_CASE("PeerTable: a deadline that has moved back is noticed when the timer fires, one that has come "
          "closer at once")
{
    Table world;
    const std::uint32_t peer = world.add(0, 100);
    world.table[peer].liveness.on_wait_begins(start); // 500 ms
    world.table.arm(peer);
    world.table[peer].liveness.on_heard(start + 400ms);
    world.table.arm(peer);
    CHECK(world.expire(start + 501ms) == Peers{peer});
    world.table.arm(peer);
    CHECK(world.expire(start + 899ms).empty());
    world.table[peer].handshake.greet(start + 894ms); // 895 ms
    world.table.arm(peer);
    CHECK(world.expire(start + 900ms) == Peers{peer});
}

TEST_CASE("PeerTable: a released peer's timer does not fire")
{
    Table world;
    const std::uint32_t peer = world.add(0, 100);
    world.table[peer].handshake.greet(start);
    world.table.arm(peer);
    world.table.disconnect(100);
    world.table.release(peer);
    CHECK(world.expire(start + 1h).empty());
}

TEST_CASE("Peer: what it waits for and what it has to say")
{
    Peer peer;
    peer.handshake = Handshake(5);
    CHECK_FALSE(peer.has_work());
    CHECK_FALSE(peer.awaits_answer());
    CHECK(peer.drained());
    CHECK(peer.deadline() == time_never);
    peer.connection.receiver.request_ack();
    CHECK_FALSE(peer.has_work()); // whoever is not met gets no acknowledgements
    peer.handshake.greet(start);
    CHECK(peer.has_work());
    CHECK(peer.is_waiting());
    CHECK(peer.deadline() == start + Handshake::interval_first);
    wire::HelloFrame hello;
    hello.connection = 1;
    peer.handshake.learn(hello, Dialect{});
    peer.handshake.establish(start);
    CHECK(peer.is_waiting()); // for a sign that the remote has a record of us
    CHECK(peer.has_work());   // the remote is told who we are
    std::array<std::byte, sizeof(hello)> room{};
    Identity identity;
    identity.incarnation = identity.address_length = 1;
    peer.handshake.write_hello(room.data(), identity, 1400, 0, 0);
    peer.handshake.confirm();
    CHECK_FALSE(peer.is_waiting());
    CHECK(peer.has_work()); // the acknowledgement
    peer.connection.receiver = Receiver{};
    CHECK_FALSE(peer.has_work());
    peer.farewells_due = 1;
    CHECK(peer.has_work());
}
