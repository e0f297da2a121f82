// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two engines whose packets go through memory (RouteNotice::Kind::same_host): large messages are read where
// the sender has them, and ends of packets are fetched, as long as that works, and everything arrives when it
// does not.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <vector>

#include "wire/layout.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using std::chrono::microseconds;

constexpr std::uint32_t mtu = 65507;
constexpr std::uint64_t region = EngineHost::region;

struct World : EnginePair {
    World() : EnginePair({.max_packet = mtu, .same_host = true}) {}
};

/// `change` gets the packet with the request for `message`, of one piece, and where in it both are.
std::function<bool(Bytes&)> in_request(const Bytes& message,
                                       const std::function<void(Bytes&, std::size_t, std::size_t)>& change)
{
    return [&message, change](Bytes& packet) {
        const wire::MessagePiece piece{reinterpret_cast<std::uintptr_t>(message.data()), message.size()};
        Bytes wanted(sizeof(piece));
        std::memcpy(wanted.data(), &piece, sizeof(piece));
        const auto place = std::search(packet.begin(), packet.end(), wanted.begin(), wanted.end());
        if (place == packet.end()) {
            return false;
        }
        const auto at = static_cast<std::size_t>(place - packet.begin());
        change(packet, at - sizeof(wire::SourceEpoch) - sizeof(wire::RequestFrame), at);
        return true;
    };
}

} // namespace

TEST_CASE("near: a large message is read in one go")
{
    for (const CompletionLevel level :
         {CompletionLevel::inject, CompletionLevel::transmit, CompletionLevel::delivery}) {
        World world;
        const Bytes message = pattern(1U << 20, 5);
        Bytes target(message.size());
        world.b.buffer = whole(target);
        world.send(message, level);
        world.run();
        CHECK(target == message);
        CHECK(world.b.io.reads == 1);
        CHECK(world.b.io.fetches == 0);
        CHECK(world.a.counters.tx_packets.value() < 10);
        REQUIRE(world.a.done.size() == 1);
        CHECK(world.a.done[0].kind == Event::Kind::send_done);
        CHECK(world.a.done[0].cause == Cause::none);
        REQUIRE(world.b.done.size() == 1);
        CHECK(world.a.engine.drained());
        CHECK(world.b.engine.drained());
    }
}

TEST_CASE("near: a message in pieces is read into pieces, also when it comes before its buffer")
{
    for (const bool early : {false, true}) {
        World world;
        Bytes message = pattern(300'000, 6);
        const std::array<iovec, 3> pieces{{{message.data(), 1},
                                           {message.data() + 1, 99'999},
                                           {message.data() + 100'000, message.size() - 100'000}}};
        Bytes target(message.size());
        const std::vector<iovec> buffer{{target.data(), 150'000}, {target.data() + 150'000, 150'000}};
        if (!early) {
            world.b.buffer = buffer;
        }
        world.send(pieces);
        world.run();
        if (early) {
            REQUIRE(world.b.parked.size() == 1);
            CHECK(world.a.done.empty());
            Accepted outcome{};
            REQUIRE(world.b.engine.accept(world.b.parked[0], buffer, 9, outcome) == Status::ok);
            CHECK(outcome == Accepted::complete);
            world.run();
        }
        CHECK(target == message);
        CHECK(world.b.io.reads == 1);
        CHECK(world.a.done.size() == 1);
    }
}

TEST_CASE("near: a buffer that is too short gets the beginning, and a discarded message nothing")
{
    World world;
    const Bytes message = pattern(200'000, 7);
    Bytes target(1000);
    Bytes guard(10, std::byte{0x77});
    world.b.buffer = whole(target);
    world.send(message);
    world.run();
    CHECK(std::equal(target.begin(), target.end(), message.begin()));
    world.b.buffer.clear();
    world.send(message);
    world.run();
    REQUIRE(world.b.parked.size() == 1);
    world.b.engine.discard(world.b.parked[0]);
    world.run();
    CHECK(world.b.io.reads == 2);
    CHECK(world.a.done.size() == 2);
    CHECK(world.a.engine.drained());
}

TEST_CASE("near: what may not be read is granted and sent, and not tried again")
{
    for (const bool attach : {false, true}) {
        World world;
        world.b.io.may_read = false;
        world.a.io.attach = attach;
        const Bytes message = pattern(500'000, 8);
        for (unsigned round = 1; round <= 2; ++round) {
            Bytes target(message.size());
            world.b.buffer = whole(target);
            world.send(message);
            world.run();
            CHECK(target == message);
            CHECK(world.a.done.size() == round);
        }
        CHECK(world.b.io.reads == 1);
        CHECK((world.b.io.fetches != 0) == attach);
    }
}

TEST_CASE("near: memory that was taken back is not believed")
{
    World world;
    const Bytes message = pattern(100'000, 9);
    world.send(message);
    world.run();
    REQUIRE(world.b.parked.size() == 1);
    ++world.a.io.own_epoch;
    Bytes target(message.size());
    Accepted outcome{};
    REQUIRE(world.b.engine.accept(world.b.parked[0], whole(target), 9, outcome) == Status::ok);
    CHECK(outcome == Accepted::pending);
    world.run();
    CHECK(target == message);
    CHECK(world.a.done.size() == 1);
    CHECK(world.b.io.reads == 1);
    // What is sent from now on may be read.
    std::fill(target.begin(), target.end(), std::byte{0});
    world.b.buffer = whole(target);
    const std::uint64_t packets = world.a.counters.tx_packets.value();
    world.send(message);
    world.run();
    CHECK(target == message);
    CHECK(world.b.io.reads == 2);
    CHECK(world.a.counters.tx_packets.value() - packets < 10);
}

TEST_CASE("near: ends of packets that cannot be fetched come again")
{
    World world;
    world.b.io.may_read = false;
    world.b.io.failing_fetches = 5;
    const Bytes message = pattern(700'000, 10);
    Bytes target(message.size());
    world.b.buffer = whole(target);
    world.send(message);
    world.run();
    CHECK(world.b.io.failing_fetches == 0);
    CHECK(target == message);
    CHECK(world.a.done.size() == 1);

    world.b.io.failing_fetches = 3;
    world.access(OperationKind::write, message, 100);
    world.run();
    CHECK(world.b.io.failing_fetches == 0);
    CHECK(world.a.done.size() == 2);
    CHECK(std::equal(message.begin(), message.end(), world.b.memory.begin() + 100));
}

TEST_CASE("near: buffers are taken back before a failure is reported")
{
    World world;
    const Bytes message = pattern(100'000, 11);
    world.send(message); // parked: it may be read at any time
    world.run();
    world.a.io.peer = world.b.io.peer = nullptr;
    CHECK_FALSE(world.a.engine.take_revocation());
    world.a.engine.close_peer(world.a.peer, world.now);
    world.run(1);
    REQUIRE(world.a.done.size() == 1);
    CHECK(world.a.done[0].cause != Cause::none);
    CHECK(world.a.revoked_first);
}

TEST_CASE("near: the way stays near when a connection over it ends and another begins")
{
    World world;
    const Bytes message = pattern(500'000, 19);
    CHECK(world.deliver(message));
    world.a.engine.close_peer(world.a.peer, world.now);
    world.a.peer = world.a.engine.open_peer(route_info(world.a.io, RouteId{0}), world.now);
    CHECK(world.deliver(message));
    CHECK(world.b.io.reads == 2);
}

TEST_CASE("near: over a way that one of the two takes for far nothing is read")
{
    for (const bool sender : {false, true}) {
        World world;
        EngineHost& side = sender ? world.a : world.b;
        const Bytes message = pattern(500'000, 12);
        side.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::network}, mtu, world.now);
        CHECK(world.deliver(message));
        CHECK(world.b.io.reads == 0);
        side.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::same_host}, mtu, world.now);
        CHECK(world.deliver(message));
        CHECK(world.b.io.reads == 1);
    }
}

TEST_CASE("near: a message that takes long to read comes in pieces, so that others are served meanwhile")
{
    for (const std::size_t length : {std::size_t{4} << 20U, (std::size_t{4} << 20U) + 1}) {
        World world;
        CHECK(world.deliver(pattern(length, 13)));
        CHECK(world.b.io.reads == (length > 4U << 20U ? 0 : 1));
    }
}

TEST_CASE("near: a request that names a place of another length, or too many, is not believed")
{
    const Bytes message = pattern(300'000, 14);
    for (const std::size_t wrong : {message.size() - 1, message.size() + 1}) {
        World world;
        world.a.io.tamper = in_request(message, [wrong](Bytes& packet, std::size_t, std::size_t piece) {
            const wire::u64 length{wrong};
            std::memcpy(packet.data() + piece + offsetof(wire::MessagePiece, length), &length,
                        sizeof(length));
        });
        CHECK(world.deliver(message));
        CHECK(!world.a.io.tamper);
        CHECK(world.b.io.reads == 0);
    }
    for (const std::size_t pieces : {max_iov + 1, std::size_t{255}}) {
        World world;
        world.a.io.tamper =
            in_request(message, [pieces](Bytes& packet, std::size_t frame, std::size_t piece) {
                packet[frame + offsetof(wire::RequestFrame, pieces)] = static_cast<std::byte>(pieces);
                packet.resize(piece + pieces * sizeof(wire::MessagePiece), std::byte{1});
            });
        CHECK(world.deliver(message));
        CHECK(!world.a.io.tamper);
        CHECK(world.b.counters.rx_malformed.value() == 1);
        CHECK(world.b.io.reads == 1);
    }
}

TEST_CASE("near: an end of a packet that is not as long as its frame says is not taken")
{
    World world;
    world.b.io.may_read = false;
    world.a.io.short_ends = 3;
    const Bytes message = pattern(700'000, 15);
    CHECK(world.deliver(message));
    CHECK(world.a.io.short_ends == 0);
    CHECK(world.b.counters.rx_malformed.value() == 3);
    CHECK(world.a.done.size() == 1);
}

TEST_CASE("near: memory that is being read is taken back when its region closes, also if its reader has gone")
{
    for (const bool gone : {false, true}) {
        World world;
        Bytes target(500'000);
        world.access(OperationKind::read, target, 0);
        while (world.b.reads_begun == 0) {
            world.run(1);
        }
        world.b.engine.revoke(region + 1);
        CHECK_FALSE(world.b.engine.take_revocation());
        if (gone) {
            world.b.engine.close_peer(world.b.peer, world.now);
        }
        world.b.engine.revoke(region);
        CHECK(world.b.engine.take_revocation());
        world.b.io.revoke();
        world.run();
        CHECK((gone || (world.a.done.size() == 1 && world.a.done[0].cause == Cause::region_closed)));
    }
}

TEST_CASE("near: a full ring is tried again in a moment, with one packet, then with more")
{
    World world;
    world.b.io.may_read = false; // so that there are packets
    const Bytes message = pattern(1U << 20, 17);
    world.access(OperationKind::write, message, 0);
    world.run();
    REQUIRE(world.a.done.size() == 1);
    world.access(OperationKind::write, message, 0);
    Engine& engine = world.a.engine;
    std::array<TxPacket, 64> burst;
    REQUIRE(engine.poll_transmit(std::span(burst).first(2), world.now) == 2);
    engine.return_unsent(std::span(burst).first(2), world.now);
    engine.on_tx_done();
    CHECK(engine.poll_transmit(burst, world.now) == 0);
    world.now += microseconds(4);
    for (const std::size_t expected : {1U, 2U}) {
        CHECK(engine.poll_transmit(burst, world.now) == expected);
        engine.on_tx_done();
    }
}

TEST_CASE("near: a packet is sent long before it is full, so that its receiver has something to do")
{
    for (const bool near : {false, true}) {
        World world;
        if (!near) {
            world.a.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::network}, mtu, world.now);
        }
        world.b.buffer = whole(world.b.memory);
        const Bytes small = pattern(200, 18);
        world.send(small);
        world.run();
        world.send(small);
        CHECK(world.a.engine.transmit_due());
        world.run(1); // it is on its way; b's answer is not here yet
        unsigned waiting = 0;
        while (waiting < 20 && !world.a.engine.transmit_due()) {
            world.send(small);
            ++waiting;
        }
        CHECK(waiting == (near ? 5 : 20)); // 1024 bytes with their frames
    }
}
