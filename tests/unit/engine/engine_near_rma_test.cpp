// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access between two engines on one host: large pieces are named, and read by the other side
// where they are. What could not be read is sent, once, and no law of writes and reads changes by that.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "wire/layout.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

namespace {

using namespace srd;
using namespace srd::test;

constexpr std::uint32_t mtu = 65507;
constexpr std::size_t mebibyte = 1U << 20;

struct World : EnginePair {
    World() : EnginePair({.max_packet = mtu, .same_host = true}) { b.memory.resize(12 * mebibyte); }

    bool has(const Bytes& bytes, std::size_t at = 0) const
    {
        return std::equal(bytes.begin(), bytes.end(), b.memory.begin() + static_cast<std::ptrdiff_t>(at));
    }
    /// Completions of the initiator's, each of which was good.
    std::size_t good() const
    {
        const auto is_good = [](const Event& event) {
            return event.kind == Event::Kind::send_done && event.cause == Cause::none;
        };
        CHECK(std::all_of(a.done.begin(), a.done.end(), is_good));
        return a.done.size();
    }
    std::size_t served() const
    {
        return static_cast<std::size_t>(std::count_if(b.done.begin(), b.done.end(), [](const Event& event) {
            return event.kind == Event::Kind::read_served;
        }));
    }
    /// The only access was done well: `reader` has read it in one go where it was, and its owner sent little.
    void check_read_once(const EngineHost& reader, const EngineHost& owner) const
    {
        CHECK(reader.io.reads == 1);
        CHECK(reader.io.fetches == 0);
        CHECK(owner.counters.tx_packets.value() < 10);
        CHECK(good() == 1);
    }
    void check_idle() const
    {
        CHECK(a.engine.drained());
        CHECK(b.engine.drained());
    }
};

/// Where in the packet its frames begin.
std::size_t frames_of(const Bytes& packet)
{
    wire::PacketHeader header;
    wire::AckBlock block;
    std::memcpy(&header, packet.data(), sizeof(header));
    if ((header.flags & wire::packet_flag::has_ack) == 0) {
        return sizeof(header);
    }
    std::memcpy(&block, packet.data() + sizeof(header), sizeof(block));
    return sizeof(header) + sizeof(block) + block.words * sizeof(std::uint64_t);
}

/// The packet's first frame is of that type and has that flag: it names bytes.
bool names_bytes(const Bytes& packet, wire::FrameType type, std::uint8_t flag)
{
    const std::size_t at = frames_of(packet);
    return packet.size() > at + 1 && packet[at] == static_cast<std::byte>(type) &&
           (std::to_integer<unsigned>(packet[at + 1]) & flag) != 0;
}

} // namespace

TEST_CASE("near: a large write is read by its target in one go")
{
    for (const CompletionLevel level :
         {CompletionLevel::inject, CompletionLevel::transmit, CompletionLevel::delivery}) {
        World world;
        const Bytes bytes = pattern(mebibyte, 5);
        const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
        const RemoteRange range{100, bytes.size(), EngineHost::region};
        Operation operation;
        operation.kind = OperationKind::write;
        operation.level = level;
        operation.flags.has_data = true;
        operation.data = 4711;
        operation.iov = {&local, 1};
        operation.remote = {&range, 1};
        REQUIRE(world.submit(operation, 1) == Status::ok);
        world.run();
        CHECK(world.has(bytes, 100));
        world.check_read_once(world.b, world.a);
        CHECK(world.b.remote_writes == 1);
        CHECK(world.b.remote_data == std::vector<std::uint64_t>{4711});
        world.check_idle();
    }
}

TEST_CASE("near: a large read reads in one go, and is served when it has")
{
    World world;
    world.b.memory = pattern(2 * mebibyte, 6);
    Bytes target(mebibyte);
    world.access(OperationKind::read, target, 77);
    world.run();
    CHECK(world.has(target, 77));
    world.check_read_once(world.a, world.b);
    CHECK(world.served() == 1);
    world.check_idle();
}

TEST_CASE("near: what fits one packet goes as one")
{
    World world;
    REQUIRE(world.deliver(pattern(10))); // until the peer is met packets are short
    world.a.done.clear();
    const Bytes short_one = pattern(60'000, 7);
    const Bytes longer = pattern(62'000, 7);
    world.access(OperationKind::write, short_one, 0);
    world.run();
    CHECK(world.b.io.reads == 0);
    CHECK(world.b.io.fetches == 1);
    world.access(OperationKind::write, longer, 0);
    world.run();
    CHECK(world.b.io.reads == 1);
    CHECK(world.b.io.fetches == 1);
    CHECK(world.good() == 2);
}

TEST_CASE("near: an access longer than what is read in one go takes several, range by range")
{
    for (const OperationKind kind : {OperationKind::write, OperationKind::read}) {
        World world;
        const Bytes there = pattern(9 * mebibyte, 8);
        if (kind == OperationKind::read) {
            std::copy(there.begin(), there.end(), world.b.memory.begin());
        }
        Bytes here = kind == OperationKind::write ? there : Bytes(there.size());
        const std::size_t cut = 6 * mebibyte - 5000; // one more piece, and a rest that goes in a packet
        const std::array<iovec, 3> iov{
            {{here.data(), 10}, {here.data() + 10, 700'000}, {here.data() + 700'010, here.size() - 700'010}}};
        const std::array<RemoteRange, 3> ranges{{{0, cut, EngineHost::region},
                                                 {cut, 4000, EngineHost::region},
                                                 {cut + 4000, here.size() - cut - 4000, EngineHost::region}}};
        Operation operation;
        operation.kind = kind;
        operation.iov = iov;
        operation.remote = ranges;
        REQUIRE(world.submit(operation, 1) == Status::ok);
        world.run();
        CHECK(here == there);
        CHECK(world.has(there));
        CHECK(world.good() == 1);
        const EngineHost& reader = kind == OperationKind::write ? world.b : world.a;
        CHECK(reader.io.reads >= 3);
        CHECK(reader.io.reads <= 6);
        world.check_idle();
    }
}

TEST_CASE(
    "near: one piece of an operation is read at a time, and of others as many as make one of the longest")
{
    World world;
    REQUIRE(world.deliver(pattern(10)));
    const std::uint64_t before = world.a.counters.tx_packets.value();
    const Bytes bytes = pattern(6 * mebibyte, 9);
    for (unsigned more = 0; more < 9; ++more) {
        world.access(OperationKind::write, std::span(bytes).first(mebibyte), more * mebibyte / 2);
    }
    world.a.pass(world.now);
    CHECK(world.a.counters.tx_packets.value() - before == wire::max_named / mebibyte);
    world.run();
    CHECK(world.a.done.size() == 10);
    const std::uint64_t then = world.a.counters.tx_packets.value();
    world.access(OperationKind::write, bytes, 0);
    world.access(OperationKind::write, bytes, 0);
    world.a.pass(world.now);
    CHECK(world.a.counters.tx_packets.value() - then == 1);
    world.run();
    CHECK(world.a.done.size() == 12);
    world.check_idle();
}

TEST_CASE("near: an access that may not be read is sent, and none is named again")
{
    for (const bool attach : {false, true}) {
        World world;
        world.b.io.may_read = world.a.io.may_read = false;
        world.a.io.attach = world.b.io.attach = attach;
        const Bytes bytes = pattern(2 * mebibyte + 70'000, 10);
        for (std::size_t round = 1; round <= 2; ++round) {
            std::fill(world.b.memory.begin(), world.b.memory.end(), std::byte{0});
            world.access(OperationKind::write, bytes, 0);
            world.run();
            CHECK(world.has(bytes));
            CHECK(world.b.io.reads == 1);
            CHECK(world.b.remote_writes == round);
            Bytes target(bytes.size());
            world.access(OperationKind::read, target, 0);
            world.run();
            CHECK(target == bytes);
            CHECK(world.good() == 2 * round);
            world.check_idle();
        }
        CHECK(world.a.io.reads <= 3); // as many pieces as were named before the first answer
        CHECK((world.b.io.fetches != 0) == attach);
    }
}

TEST_CASE("near: a piece that cannot be read, behind one that was, is the only one that is sent")
{
    World world;
    const Bytes bytes = pattern(wire::max_named + 3 * mebibyte, 11);
    world.access(OperationKind::write, bytes, 0);
    while (world.b.io.reads == 0) {
        world.run(1);
    }
    world.b.io.may_read = false;
    std::fill_n(world.b.memory.begin(), wire::max_named,
                std::byte{0x11}); // what was written is not written again
    world.run();
    CHECK(world.b.io.reads == 2);
    CHECK(world.good() == 1);
    CHECK(world.b.remote_writes == 1);
    CHECK(std::all_of(world.b.memory.begin(), world.b.memory.begin() + wire::max_named,
                      [](std::byte byte) { return byte == std::byte{0x11}; }));
    CHECK(std::equal(bytes.begin() + wire::max_named, bytes.end(), world.b.memory.begin() + wire::max_named));
    world.check_idle();
}

TEST_CASE("near: memory taken back since it was named is sent, and named again the next time")
{
    for (const OperationKind kind : {OperationKind::write, OperationKind::read}) {
        World world;
        const Bytes bytes = pattern(mebibyte, 12);
        std::copy(bytes.begin(), bytes.end(), world.b.memory.begin());
        EngineHost& reader = kind == OperationKind::write ? world.b : world.a;
        EngineHost& owner = kind == OperationKind::write ? world.a : world.b;
        for (unsigned round = 1; round <= 2; ++round) {
            Bytes here = kind == OperationKind::write ? bytes : Bytes(bytes.size());
            world.access(kind, here, 0);
            if (round == 1) { // between naming and reading
                owner.io.tamper = [&owner, kind](Bytes& packet) {
                    const bool found =
                        kind == OperationKind::write
                            ? names_bytes(packet, wire::FrameType::write, wire::rma_flag::named)
                            : names_bytes(packet, wire::FrameType::data, wire::data_flag::named);
                    owner.io.own_epoch += found ? 1U : 0U;
                    return found;
                };
            }
            world.run();
            REQUIRE(!owner.io.tamper);
            CHECK(here == bytes);
            CHECK(world.has(bytes));
            CHECK(world.good() == round);
            CHECK(reader.io.reads == round);
            CHECK(reader.io.fetches != 0);
            world.check_idle();
        }
    }
}

TEST_CASE("near: a write is judged before a byte of it is read")
{
    World world;
    const Bytes bytes = pattern(2 * mebibyte, 13);
    const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
    for (const RemoteRange& range :
         {RemoteRange{0, bytes.size(), 99},
          RemoteRange{world.b.memory.size() - 5, bytes.size(), EngineHost::region}}) {
        const Bytes before = world.b.memory;
        Operation operation;
        operation.kind = OperationKind::write;
        operation.flags.has_data = true;
        operation.iov = {&local, 1};
        operation.remote = {&range, 1};
        REQUIRE(world.submit(operation, 1) == Status::ok);
        world.run();
        REQUIRE(world.a.done.size() == 1);
        CHECK(world.a.done[0].cause == (range.key == 99 ? Cause::bad_key : Cause::out_of_bounds));
        CHECK(world.b.io.reads == 0);
        CHECK(world.b.memory == before);
        CHECK(world.b.remote_data.empty());
        world.a.done.clear();
        world.check_idle();
    }
}

TEST_CASE("near: a fence waits for what is read, and for what is sent instead")
{
    World world;
    world.b.io.may_read = false;
    const Bytes bytes = pattern(2 * mebibyte, 14);
    world.access(OperationKind::write, bytes, 0, 1);
    const Bytes last = pattern(100, 15);
    const iovec local{const_cast<std::byte*>(last.data()), last.size()};
    const RemoteRange range{5, last.size(), EngineHost::region};
    Operation operation;
    operation.kind = OperationKind::write;
    operation.fence = true;
    operation.iov = {&local, 1};
    operation.remote = {&range, 1};
    REQUIRE(world.submit(operation, 2) == Status::ok);
    world.run();
    REQUIRE(world.good() == 2);
    CHECK(world.a.done[0].cookie == 1);
    CHECK(world.a.done[1].cookie == 2);
    CHECK(world.has(last, 5)); // not overwritten
    world.check_idle();
}

TEST_CASE("near: packets that name bytes are lost, doubled and answered late like others")
{
    for (const bool readable : {false, true}) {
        World world;
        world.a.io.may_read = world.b.io.may_read = readable;
        world.a.io.drop = [](std::size_t number) { return number % 3 == 2; };
        world.b.io.drop = [](std::size_t number) { return number % 4 == 3; };
        const Bytes bytes = pattern(3 * mebibyte, 16);
        Bytes target(bytes.size());
        world.access(OperationKind::write, bytes, 0);
        world.run();
        world.access(OperationKind::read, target, 0);
        world.run();
        CHECK(world.good() == 2);
        CHECK(world.has(bytes));
        CHECK(target == bytes);
        CHECK(world.b.remote_writes == 1);
        CHECK(world.served() >= 1);
        world.check_idle();
    }
}

TEST_CASE("near: what was named is taken back before a failure is reported")
{
    World world;
    REQUIRE(world.deliver(pattern(10)));
    const Bytes bytes = pattern(mebibyte, 17);
    world.access(OperationKind::write, bytes, 0);
    world.a.pass(world.now);
    REQUIRE(world.b.io.incoming.size() == 1);
    CHECK_FALSE(world.a.engine.take_revocation());
    world.a.done.clear();
    world.a.engine.close_peer(world.a.peer, world.now);
    world.a.pass(world.now);
    REQUIRE(world.a.done.size() == 1);
    CHECK(world.a.done[0].cause == Cause::removed);
    CHECK(world.a.revoked_first);
    world.run();
    CHECK(world.b.remote_writes == 0);
}

TEST_CASE("near: a reader that goes while it is to read leaves nothing behind, nor one that is to say "
          "whether it did")
{
    for (const bool may_read : {false, true}) {
        for (int passes = 1; passes < 6; ++passes) {
            World world;
            REQUIRE(world.deliver(pattern(10)));
            world.a.io.may_read = may_read;
            Bytes target(mebibyte);
            world.access(OperationKind::read, target, 0);
            world.access(OperationKind::write, target, 0);
            world.run(passes);
            world.b.engine.close_peer(world.b.peer, world.now);
            world.b.engine.revoke(EngineHost::region);
            if (world.b.engine.take_revocation()) {
                world.b.io.revoke();
            }
            world.run(100);
            world.a.engine.close_peer(world.a.peer, world.now);
            world.run(100);
            world.check_idle();
        }
    }
}

TEST_CASE("near: a region that closes under a named read ends it, whether or not its reader has begun")
{
    World world;
    Bytes target(4 * mebibyte);
    world.b.revoke_at_serve = true;
    world.access(OperationKind::read, target, 0);
    world.run();
    REQUIRE(world.a.done.size() == 1);
    CHECK(world.a.done[0].cause == Cause::region_closed);
    CHECK(world.a.io.reads == 0);
    CHECK(world.served() == 0);
    world.check_idle();
}

TEST_CASE("near: names that make no sense are dropped, and the right ones come again")
{
    struct Lie {
        std::size_t at; // in the frame
        std::uint64_t value;
    };
    constexpr std::size_t piece = sizeof(wire::WriteFrame) + sizeof(wire::SourceEpoch);
    for (const Lie& lie :
         {Lie{offsetof(wire::WriteFrame, length), 0}, Lie{offsetof(wire::WriteFrame, length), 5},
          Lie{offsetof(wire::WriteFrame, length), 2}, Lie{piece + offsetof(wire::MessagePiece, length), 0},
          Lie{piece + offsetof(wire::MessagePiece, length), wire::max_named + 1},
          Lie{piece + offsetof(wire::MessagePiece, length), UINT64_MAX}}) {
        World world;
        world.a.io.tamper = [&lie](Bytes& packet) {
            if (!names_bytes(packet, wire::FrameType::write, wire::rma_flag::named)) {
                return false;
            }
            const bool is_length = lie.at == offsetof(wire::WriteFrame, length);
            std::memcpy(packet.data() + frames_of(packet) + lie.at, &lie.value, is_length ? 2 : 8);
            return true;
        };
        const Bytes bytes = pattern(500'000, 18);
        world.access(OperationKind::write, bytes, 0);
        world.run();
        CHECK(!world.a.io.tamper);
        CHECK(world.b.counters.rx_malformed.value() == 1);
        CHECK(world.b.io.reads == 1);
        CHECK(world.has(bytes));
        CHECK(world.good() == 1);
    }
}

TEST_CASE("near: over a way that one of the two takes for far accesses are sent")
{
    for (const bool initiator : {false, true}) {
        for (const OperationKind kind : {OperationKind::write, OperationKind::read}) {
            World world;
            EngineHost& side = initiator ? world.a : world.b;
            side.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::network}, mtu, world.now);
            const Bytes bytes = pattern(500'000, 19);
            std::copy(bytes.begin(), bytes.end(), world.b.memory.begin());
            Bytes here = bytes;
            world.access(kind, here, 0);
            world.run();
            CHECK(here == bytes);
            CHECK(world.has(bytes));
            CHECK(world.good() == 1);
            CHECK(world.a.io.reads + world.b.io.reads == 0);
            world.check_idle();
        }
    }
}
