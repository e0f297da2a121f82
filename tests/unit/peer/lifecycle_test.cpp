// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How connections begin and end.
#include <algorithm>
#include <array>
#include <vector>

#include "unit/peer/lifecycle_world.hpp"

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;
using State = Handshake::State;
using World = LifecycleWorld;

TEST_CASE("PeerLifecycle: a peer is made on first use, with identifiers of its own")
{
    World world;
    const std::uint32_t one = world.lifecycle.open(World::way(5, 1400, 99), bounded, world.now);
    CHECK(world.lifecycle.open(World::way(5, 1400, 99), bounded, world.now) == one);
    CHECK(world.peer(one).route.paths() == 4); // as many as the backend has
    CHECK(world.peer(one).route.largest_packet() == 1400);
    CHECK(world.peer(one).handshake.state() == State::idle);
    const std::uint32_t two = world.lifecycle.open(World::way(6, 1400, 0), bounded, world.now);
    CHECK(world.peer(two).route.paths() == 1);
    const std::uint64_t connection = world.peer(one).handshake.rx_connection();
    CHECK(world.shared.peers.of_connection(connection) == one);
    CHECK(connection != world.peer(two).handshake.rx_connection());
    CHECK(world.peer(one).connection.window.next() != world.peer(two).connection.window.next());
    CHECK_FALSE(world.shared.peers.any_active());
    world.lifecycle.greet(one, world.now);
    CHECK(world.peer(one).handshake.hello_due());
    CHECK(world.shared.peers.first_active() == one);
    CHECK(world.shared.peers.next_timeout() <= world.now + Handshake::interval_first + 5us);
}

TEST_CASE("PeerLifecycle: an answer under our identifier establishes the connection")
{
    World world;
    const std::uint32_t peer = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    world.lifecycle.greet(peer, world.now);
    wire::HelloFrame hello = reply(66, 77);
    hello.max_packet = 1300;
    CHECK(answer(world, peer, hello) == FrameResult::stop);
    CHECK_FALSE(world.shared.reader.is_open());
    CHECK(world.peer(peer).handshake.established());
    CHECK(world.peer(peer).handshake.tx_connection() == 66);
    CHECK(world.peer(peer).route.mtu() == PathMtu::base);
    CHECK(world.peer(peer).route.path_mtu().ceiling() == 1300);
    CHECK(world.peer(peer).liveness.heard());
    CHECK(world.count.handshakes.value() == 2);    // one by the world itself
    CHECK(world.peer(peer).handshake.hello_due()); // it has kept nothing of our introduction
    CHECK_FALSE(world.peer(peer).handshake.confirmed());
    CHECK(world.receiver(peer).check(700) == Receiver::Window::fresh);
    CHECK(world.receiver(peer).check(699) == Receiver::Window::duplicate);
    Receiver quiet;
    quiet.start(700);
    world.receiver(peer) = quiet;
    answer(world, peer, hello);
    CHECK_FALSE(world.receiver(peer).ack_now());
    CHECK_FALSE(world.peer(peer).handshake.confirmed()); // by an answer to another introduction
    CHECK(world.count.handshakes.value() == 2);
    hello.flags = wire::hello_flag::met;
    answer(world, peer, hello);
    CHECK(world.peer(peer).handshake.confirmed());
    CHECK(world.peer(peer).route.path_mtu().due()); // is asked for at once
    answer(world, peer, World::hello(66, 77));      // a question
    CHECK(world.receiver(peer).questioned());
}

TEST_CASE("PeerLifecycle: who is met by a proof is told the round trip, for it has measured none")
{
    World world;
    wire::HelloFrame hello = World::hello(66, 77);
    hello.round_trip = wire::put_round_trip(10'000);
    const std::uint64_t name = world.introduce(5, hello).connection;
    world.introduce(5, hello, name);
    const std::uint32_t peer = world.shared.peers.of_connection(name);
    REQUIRE(peer != no_index);
    const RttEstimator& rtt = world.peer(peer).connection.recovery.rtt();
    REQUIRE(rtt.valid());
    CHECK(rtt.smoothed() == Duration(static_cast<std::int64_t>(wire::get_round_trip(hello.round_trip))));
    // And it tells, when it knows.
    std::array<std::byte, 128> room{};
    Handshake asking(5);
    asking.ask();
    asking.write_hello(room.data(), world.shared.identity, 1400, 0, hello.round_trip);
    CHECK(room[3] == std::byte{hello.round_trip});
}

TEST_CASE("PeerLifecycle: an answer of somebody who lives elsewhere is none")
{
    World world;
    const std::uint32_t peer = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    world.lifecycle.greet(peer, world.now);
    CHECK(answer_from(world, 6, peer, reply(66, 77)) == FrameResult::stop);
    CHECK(world.peer(peer).handshake.greeting());
    CHECK_FALSE(world.peer(peer).handshake.knows_remote());
    CHECK(world.count.rx_misdirected.value() == 1);
}

namespace {

void send_hello(World& world, std::uint32_t peer)
{
    std::array<std::byte, 2048> room{};
    world.peer(peer).handshake.write_hello(room.data(), world.shared.identity, 1400, 0, 0);
    world.peer(peer).handshake.on_hello_sent(PathId{0});
}

} // namespace

TEST_CASE("PeerLifecycle: an answer of another process, or of another connection, ends ours")
{
    World world;
    submit(world, world.a);
    answer(world, world.a, reply(2000, 2)); // nobody was asked: it is a predecessor's, and late
    CHECK_FALSE(world.shared.outgoing.any_done());
    world.peer(world.a).handshake.ask();
    answer(world, world.a, reply(1000, 2)); // another process would have another identifier: it was changed
    CHECK_FALSE(world.shared.outgoing.any_done());
    answer(world, world.a, reply(2000, 2));
    CHECK(ended(world) == Cause::restarted);
    const std::uint32_t b = world.meet(1);
    submit(world, b);
    world.peer(b).handshake.ask();
    answer(world, b, reply(9999, 1)); // so is a question answered that was changed on the way
    CHECK_FALSE(world.shared.outgoing.any_done());
    CHECK(world.peer(b).handshake.hello_due());
    answer(world, b, reply(9999, 1)); // the same answer, twice
    CHECK_FALSE(world.shared.outgoing.any_done());
    SECTION("what is heard ends the doubt")
    {
        send_hello(world, b);
        world.lifecycle.on_heard(b, world.now);
        world.peer(b).handshake.ask();
        answer(world, b, reply(9999, 1));
        CHECK_FALSE(world.shared.outgoing.any_done());
    }
    send_hello(world, b);
    answer(world, b, reply(9999, 1));
    CHECK(ended(world) == Cause::stopped_answering);
    CHECK(world.count.peer_failures.value() == 2);
    CHECK(world.peer(b).handshake.state() == State::idle);
}

TEST_CASE("PeerLifecycle: a late proof of who lived at the address before ends nothing")
{
    World world;
    const wire::HelloFrame before = World::hello(50, 51);
    const wire::HelloFrame after = World::hello(66, 77);
    const std::uint64_t name = world.introduce(5, before).connection;
    CHECK(world.introduce(5, after).connection == name); // there is no record yet
    world.introduce(5, after, name);
    const std::uint32_t peer = world.shared.peers.of_connection(name);
    REQUIRE(peer != no_index);
    submit(world, peer);
    wire::HelloFrame proof = before;
    proof.flags |= wire::hello_flag::met;
    CHECK(answer(world, peer, proof) == FrameResult::event); // it is an introduction like any other
    HelloPacket told;
    CHECK(world.lifecycle.on_introduction(RouteId{5}, World::way(5).address, told, world.now) ==
          Introduction::answer);
    CHECK(world.peer(peer).handshake.rx_connection() == name);
    CHECK(world.peer(peer).handshake.tx_connection() == 66);
    CHECK_FALSE(world.shared.outgoing.any_done());
}

TEST_CASE("PeerLifecycle: a peer without room is not met, and asked on")
{
    World world;
    const std::uint32_t peer = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    world.lifecycle.greet(peer, world.now);
    wire::HelloFrame hello = reply(66, 77);
    hello.flags = wire::hello_flag::no_room;
    answer(world, peer, hello);
    CHECK(world.peer(peer).handshake.greeting());
    CHECK_FALSE(world.peer(peer).handshake.knows_remote());
    CHECK(world.peer(peer).handshake.refused());
    CHECK(world.count.rx_no_room.value() == 1);
}

TEST_CASE("PeerLifecycle: an introduction of a known peer that was changed on the way is not answered")
{
    World world;
    wire::HelloFrame hello = World::hello(66, 77);
    world.introduce(5, hello, world.introduce(5, hello).connection);
    CHECK(world.introduce(5, hello).connection != 0); // one of a record is
    hello.incarnation = 78;
    CHECK(world.introduce(5, hello).connection == 0);
    hello.connection = 67; // another process
    CHECK(world.introduce(5, hello).connection != 0);
}

TEST_CASE("PeerLifecycle: a restarted peer without room ends the connection, a late refusal does not")
{
    World world;
    submit(world, world.a);
    wire::HelloFrame hello = reply(1000, world.peer(world.a).handshake.remote_incarnation());
    hello.flags = wire::hello_flag::no_room;
    answer(world, world.a, hello);
    CHECK(world.peer(world.a).handshake.established());
    CHECK_FALSE(world.shared.outgoing.any_done());
    hello.incarnation = hello.incarnation + 1;
    answer(world, world.a, hello);
    CHECK_FALSE(world.shared.outgoing.any_done()); // nobody was asked
    world.peer(world.a).handshake.ask();
    answer(world, world.a, hello);
    CHECK(ended(world) == Cause::restarted);
    CHECK(world.peer(world.a).handshake.state() == State::idle);
}

TEST_CASE("PeerLifecycle: a stranger's introduction is answered, and nothing is kept of it")
{
    World world;
    const std::uint32_t records = world.shared.peers.watermark();
    const wire::HelloFrame hello = World::hello(66, 77);
    const wire::HelloFrame told = world.introduce(6, hello);
    CHECK(told.flags == 0);
    CHECK(told.connection != 0);
    CHECK(told.incarnation == world.shared.identity.incarnation);
    CHECK(world.introduce(6, hello).connection == told.connection); // our answer was lost
    CHECK(world.introduce(7, hello).connection != told.connection); // that is another address
    CHECK(world.introduce(6, hello, told.connection + 1).connection == told.connection);
    CHECK(world.shared.peers.watermark() == records);
    CHECK(world.shared.peers.of_connection(told.connection) == no_index);
    CHECK(world.count.tx_hello_answers.value() == 5); // one in the making of the world

    CHECK(world.introduce(6, hello, told.connection).connection == 0);
    const std::uint32_t peer = world.shared.peers.of_connection(told.connection);
    REQUIRE(peer != no_index);
    CHECK(world.shared.peers.of_route(RouteId{6}) == peer);
    CHECK(world.peer(peer).handshake.confirmed());
    CHECK(world.peer(peer).handshake.hello_due()); // it is told
    CHECK(world.peer(peer).handshake.tx_connection() == 66);
    CHECK(world.peer(peer).connection.window.next() == told.first_psn);
    CHECK(world.receiver(peer).check(700) == Receiver::Window::fresh);
    // What overtook its proof, or is repeated, says nothing new.
    CHECK(world.introduce(6, hello).connection == told.connection);
    // An answer to nothing.
    CHECK(answer(world, no_index, reply(66, 77)) == FrameResult::stop);
    CHECK(world.count.rx_unknown_connection.value() == 1);
}

TEST_CASE("PeerLifecycle: a forged introduction does not harm a connection that is being made, or made")
{
    World world;
    const std::uint32_t peer = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    world.lifecycle.greet(peer, world.now);
    submit(world, peer);
    const std::uint64_t name = world.peer(peer).handshake.rx_connection();
    CHECK(world.introduce(5, World::hello(666, 666)).connection == name); // is told to the address alone
    CHECK(world.peer(peer).handshake.greeting());
    CHECK_FALSE(world.peer(peer).handshake.knows_remote());
    answer(world, peer, reply(66, 77));
    const wire::HelloFrame told = world.introduce(5, World::hello(666, 666));
    CHECK(told.connection != name);
    CHECK(world.introduce(5, World::hello(666, 666), name + 1).connection == told.connection);
    CHECK(world.peer(peer).handshake.rx_connection() == name);
    CHECK(world.peer(peer).handshake.tx_connection() == 66);
    CHECK_FALSE(world.shared.outgoing.any_done());
}

TEST_CASE("PeerLifecycle: two that introduce themselves to each other agree")
{
    World world;
    const std::uint32_t peer = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    world.lifecycle.greet(peer, world.now);
    const wire::HelloFrame hello = World::hello(66, 77);
    CHECK(world.introduce(5, hello).connection == world.peer(peer).handshake.rx_connection());
    CHECK(world.peer(peer).handshake.greeting());
    wire::HelloFrame proof = hello; // it comes under the identifier that it was told
    proof.flags |= wire::hello_flag::met;
    answer(world, peer, proof);
    CHECK(world.peer(peer).handshake.confirmed());
    CHECK(world.peer(peer).handshake.tx_connection() == 66);
    CHECK(world.peer(peer).handshake.hello_due());
    answer(world, peer, reply(66, 77)); // to our introduction
    CHECK(world.peer(peer).handshake.confirmed());
    CHECK_FALSE(world.shared.outgoing.any_done());
}

TEST_CASE(
    "PeerLifecycle: another process at the address replaces a connection only when it has proved itself")
{
    World world;
    world.take(world.a, eager(0, 100));
    const std::uint32_t parked = world.park();
    world.take(world.a, eager(1, 100, 0, 30));
    world.park(); // incomplete
    submit(world, world.a);
    const std::uint64_t before = world.peer(world.a).handshake.rx_connection();
    wire::HelloFrame hello = World::hello(66, 77);
    hello.max_packet = 1300;
    hello.first_psn = 4000;
    const wire::HelloFrame told = world.introduce(0, hello);
    CHECK(told.connection != before);
    CHECK(world.introduce(0, hello).connection == told.connection); // again
    CHECK(world.shared.peers.of_connection(before) == world.a);
    CHECK_FALSE(world.shared.outgoing.any_done());

    world.now += 1s;
    CHECK(world.introduce(0, hello, told.connection).connection == 0);
    const Peer& peer = world.peer(world.a);
    CHECK(peer.handshake.established());
    CHECK(peer.handshake.rx_connection() == told.connection);
    CHECK(peer.handshake.tx_connection() == 66);
    CHECK(peer.handshake.remote_incarnation() == 77);
    CHECK(peer.route.path_mtu().ceiling() == 1300);
    CHECK(peer.route.path_mtu().due());
    CHECK(peer.connection.window.next() == told.first_psn);
    CHECK(world.receiver(world.a).check(4000) == Receiver::Window::fresh);
    CHECK(world.receiver(world.a).message_next() == 0);
    CHECK_FALSE(peer.liveness.is_silent(world.now));
    CHECK(world.shared.peers.of_connection(before) == no_index);
    CHECK(world.shared.peers.of_connection(told.connection) == world.a);
    CHECK(world.shared.peers.of_route(RouteId{0}) == world.a);
    CHECK(ended(world) == Cause::restarted);
    REQUIRE(world.placement.poll_done(world.event));
    CHECK(world.event.kind == Event::Kind::message_lost);
    CHECK(world.records(world.a) == 1); // the whole one is the application's
    REQUIRE(world.accept(MessageId{parked}, 100) == Status::ok);
    CHECK(world.buffer == filler(100));
    // Its predecessor's last words.
    CHECK(world.introduce(0, World::hello(1000, 1), before).connection != before);
    CHECK(world.peer(world.a).handshake.tx_connection() == 66);
}

TEST_CASE("PeerLifecycle: the same process with another connection has given up ours")
{
    World world;
    submit(world, world.a);
    const wire::HelloFrame hello = World::hello(66, 1);
    world.introduce(0, hello, world.introduce(0, hello).connection);
    CHECK(ended(world) == Cause::stopped_answering);
}

TEST_CASE("PeerLifecycle: a connection's end leaves nothing but the route")
{
    World world;
    const std::uint64_t before = world.peer(world.a).handshake.rx_connection();
    submit(world, world.a);
    world.peer(world.a).route.set_same_host(true);
    world.peer(world.a).connection.window.sent(
        world.shared.packets,
        [&] {
            world.peer(world.a).connection.window.add_piece(world.shared.packets, world.a, 0, 0, 10, true);
            world.shared.outgoing.framed(world.peer(world.a).connection.queue, 0, 10, 10);
            return world.peer(world.a).connection.window.first_ready();
        }(),
        world.now);
    world.lifecycle.fail(world.a, Cause::unreachable, world.now);
    CHECK(ended(world) == Cause::unreachable);
    const Peer& peer = world.peer(world.a);
    CHECK(world.shared.revocation_due);
    CHECK(world.shared.packets.in_use() == 0);
    CHECK(peer.handshake.state() == State::idle);
    CHECK(peer.handshake.rx_connection() != before);
    CHECK(world.shared.peers.of_connection(before) == no_index);
    CHECK_FALSE(peer.liveness.heard());
    CHECK(peer.route.mtu() == PathMtu::base);
    CHECK(peer.route.same_host());
    CHECK(peer.drained());
    world.shared.revocation_due = false;
    world.lifecycle.reset(world.a, Cause::removed, world.now);
    CHECK_FALSE(world.shared.revocation_due); // nothing was under way
    CHECK(world.count.peer_failures.value() == 1);
}

TEST_CASE("PeerLifecycle: a farewell fails what is owed, and is no failure otherwise")
{
    World world;
    CHECK(close(world, world.a) == FrameResult::stop);
    CHECK(world.count.peer_failures.value() == 0);
    CHECK(world.peer(world.a).handshake.state() == State::idle);
    const std::uint32_t b = world.meet(1);
    submit(world, b);
    CHECK(close(world, b) == FrameResult::stop);
    CHECK(ended(world) == Cause::closed);
    CHECK(world.count.peer_failures.value() == 1);
    CHECK(close(world, no_index) == FrameResult::malformed);
}

TEST_CASE("PeerLifecycle: a closing endpoint ends everything, and tells those it knows")
{
    World world;
    const std::uint32_t idle = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    submit(world, world.a);
    world.take(world.a, eager(0, 10));
    REQUIRE(world.accept(current_message, 10) == Status::ok);
    const std::uint64_t connection = world.peer(world.a).handshake.tx_connection();
    world.lifecycle.close(world.now);
    CHECK(ended(world) == Cause::removed);
    CHECK(world.peer(world.a).farewells_due == 3);
    CHECK(world.peer(world.a).handshake.tx_connection() == connection);
    CHECK(world.receiver(world.a).message_next() == 1); // its last word
    CHECK(world.shared.peers.first_active() == world.a);
    CHECK(world.peer(idle).farewells_due == 0);
    CHECK(world.introduce(9, World::hello(66, 77)).connection == 0);
    CHECK(world.shared.peers.of_route(RouteId{9}) == no_index);
}

TEST_CASE("PeerLifecycle: what the backend learns of a route")
{
    World world;
    using Kind = RouteNotice::Kind;
    const auto notice = [&](Kind kind, std::uint32_t mtu = 0) {
        world.lifecycle.on_route_notice({RouteId{0}, kind, world.now}, mtu, world.now);
    };
    notice(Kind::mtu_changed, 1100);
    CHECK(world.peer(world.a).route.mtu() == 1100);
    CHECK(world.peer(world.a).connection.fragmentation.any()); // what was framed before may be longer
    std::array<std::byte, sizeof(wire::HelloFrame)> room{};
    world.peer(world.a).handshake.write_hello(room.data(), world.shared.identity, 1100, 0, 0);
    notice(Kind::mtu_changed, 1400);
    CHECK(world.peer(world.a).route.path_mtu().due());
    CHECK(world.peer(world.a).handshake.hello_due()); // more may come, too: the peer is told
    notice(Kind::same_host);
    CHECK(world.peer(world.a).route.same_host());
    notice(Kind::network);
    CHECK_FALSE(world.peer(world.a).route.same_host());
    world.lifecycle.on_route_notice({RouteId{9}, Kind::unreachable, world.now}, 0, world.now); // of nobody
    submit(world, world.a);
    notice(Kind::unreachable);
    CHECK(world.peer(world.a).handshake.established()); // it may be one path of many
    const std::uint32_t stranger = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    submit(world, stranger);
    world.lifecycle.greet(stranger, world.now);
    world.lifecycle.on_route_notice({RouteId{5}, Kind::host_unreachable}, 0, world.now); // a hint
    CHECK_FALSE(world.shared.outgoing.any_done());
    world.lifecycle.on_route_notice({RouteId{5}, Kind::unreachable, world.now}, 0, world.now);
    CHECK_FALSE(world.shared.outgoing.any_done()); // a link that comes back
    world.now += way_patience;
    world.lifecycle.on_route_notice({RouteId{5}, Kind::unreachable, world.now}, 0, world.now);
    CHECK(ended(world) == Cause::unreachable);
}

TEST_CASE("PeerLifecycle: a process that is gone ends its connection after its last words")
{
    World world;
    const std::uint32_t b = world.meet(1);
    submit(world, world.a);
    for (const std::uint32_t route : {0U, 1U}) {
        for (const auto kind : {RouteNotice::Kind::port_unreachable, RouteNotice::Kind::process_gone}) {
            world.lifecycle.on_route_notice({RouteId{route}, kind, world.now}, 0, world.now);
        }
    }
    CHECK(world.lifecycle.on_timeout(world.a, world.now + Liveness::last_words_time - 1ns));
    CHECK(world.shared.peers.next_timeout() <= world.now + Liveness::last_words_time + 5us);
    CHECK_FALSE(world.lifecycle.on_timeout(world.a, world.now + Liveness::last_words_time));
    CHECK(ended(world) == Cause::refused);
    CHECK_FALSE(world.lifecycle.on_timeout(b, world.now + Liveness::last_words_time));
    CHECK(world.peer(b).handshake.state() == State::idle);
    CHECK(world.count.peer_failures.value() == 1); // it owed nothing
}

TEST_CASE("PeerLifecycle: the cause of a silent peer's end says what was known of it")
{
    for (const Cause cause : {Cause::stopped_answering, Cause::never_answered, Cause::peer_full}) {
        World world;
        const std::uint32_t peer = cause == Cause::stopped_answering
                                       ? world.a
                                       : world.lifecycle.open(World::way(5, 1400), bounded, world.now);
        submit(world, peer);
        if (cause != Cause::stopped_answering) {
            world.lifecycle.greet(peer, world.now);
        }
        if (cause == Cause::peer_full) {
            wire::HelloFrame hello = reply(66, 77);
            hello.flags = wire::hello_flag::no_room;
            answer(world, peer, hello);
        }
        for (Time now = world.now; !world.shared.outgoing.any_done(); now += 100ms) {
            REQUIRE(now - world.now < 40s);
            world.shared.questions.on_rx_drained(now);
            for (LivenessQuestions::Question question; world.shared.questions.take(question);) {
            }
            world.watch.check_silence(peer, now);
        }
        CHECK(ended(world) == cause);
    }
}
