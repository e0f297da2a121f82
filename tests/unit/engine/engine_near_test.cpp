// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two engines whose packets go through memory (RouteNotice::Kind::near): large messages are read where the
// sender has them, and ends of packets are fetched, as long as that works, and everything arrives when it
// does not.
#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#include <srd/iov.hpp>

#include "engine.hpp"

#include "support/catch.hpp"
#include "support/gather.hpp"
#include "wire/layout.hpp"

namespace {

using namespace srd;
using std::chrono::microseconds;

constexpr std::uint32_t mtu = 65507;
constexpr std::uint64_t region = 7;

using Bytes = std::vector<std::byte>;

Bytes pattern(std::size_t length, unsigned seed)
{
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i) {
        bytes[i] = static_cast<std::byte>((i * 131 + seed) >> 3U);
    }
    return bytes;
}

void copy_pieces(std::span<const iovec> from, std::span<const iovec> into)
{
    Bytes bytes;
    test::gather(from, bytes);
    scatter(into, 0, bytes);
}

class World {
public:
    struct Side final : public ProcessMemory, public RemoteBytes {
        Side(World& owner, std::uint8_t name)
            : world(owner), address{std::byte{name}},
              engine(caps(), limits(), Tuning{}, counters, address, name)
        {
        }
        IoCaps caps()
        {
            IoCaps made;
            made.max_packet = mtu;
            made.memory = this;
            return made;
        }
        static Limits limits()
        {
            Limits made;
            made.max_peers = made.max_routes = 4;
            made.max_packet = mtu;
            made.unexpected_bytes = 1U << 20;
            return made;
        }

        std::uint32_t epoch() const noexcept override { return own_epoch; }
        Read read(RouteId, std::uint32_t epoch, std::span<const iovec> from,
                  std::span<const iovec> into) noexcept override
        {
            ++reads;
            copy_pieces(from, into);
            if (epoch != (this == &world.a ? world.b : world.a).own_epoch) {
                return Read::changed;
            }
            return world.may_read ? Read::done : Read::forbidden;
        }
        bool fetch(std::uint32_t ticket, std::span<const iovec> into) noexcept override
        {
            ++fetches;
            if (world.failing_fetches != 0) {
                --world.failing_fetches;
                return false;
            }
            copy_pieces(ends[ticket], into);
            return true;
        }

        World& world;
        std::array<std::byte, 1> address;
        Counters counters;
        Engine engine;
        PeerId peer{};
        std::uint32_t own_epoch = 1;
        unsigned reads = 0;
        unsigned fetches = 0;
        std::deque<std::vector<iovec>> ends; ///< of packets to this side, by ticket
        std::vector<Event> done;
        std::vector<MessageId> parked;
        Bytes memory = Bytes(1U << 20); ///< what writes go to
        std::vector<iovec> buffer;      ///< for the next message; empty: it is kept as unexpected
        bool served = false;            ///< a read
        bool withdrawn_first = false;   ///< a failure was reported, and take_withdrawal() was true then
    };

    World()
    {
        for (Side* side : {&a, &b}) {
            side->peer = side->engine.open_peer(RouteId{0}, mtu, now, 1);
            side->engine.on_route_notice({RouteId{0}, RouteNotice::Kind::near}, mtu, now);
        }
    }

    void run(int rounds = 3000)
    {
        for (int round = 0; round < rounds; ++round) {
            pass(a, to_a, b, to_b);
            pass(b, to_b, a, to_a);
            now += microseconds(5);
            a.engine.check_invariants();
            b.engine.check_invariants();
        }
    }

    /// From a to b.
    void send(std::span<const iovec> iov, CompletionLevel level = CompletionLevel::transmit)
    {
        Operation operation;
        operation.peer = a.peer;
        operation.level = level;
        operation.iov = iov;
        operation.cookie = 1;
        REQUIRE(a.engine.submit(operation, now) == Status::ok);
    }
    void send(const Bytes& bytes, CompletionLevel level = CompletionLevel::transmit)
    {
        const iovec whole{const_cast<std::byte*>(bytes.data()), bytes.size()};
        send({&whole, 1}, level);
    }

    /// True if the message arrives at b in a buffer of its own.
    bool deliver(const Bytes& bytes)
    {
        Bytes target(bytes.size());
        b.buffer = {{target.data(), target.size()}};
        send(bytes);
        run();
        return target == bytes;
    }
    /// From a, of b's memory.
    void access(OperationKind kind, const Bytes& bytes, std::uint64_t address)
    {
        const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
        const RemoteRange range{address, bytes.size(), region};
        Operation operation;
        operation.kind = kind;
        operation.peer = a.peer;
        operation.iov = {&local, 1};
        operation.remote = {&range, 1};
        REQUIRE(a.engine.submit(operation, now) == Status::ok);
    }

    Time now = Time(std::chrono::seconds(1));
    bool may_read = true;
    bool attach = true; ///< lasting pieces are not copied into packets
    bool cut = false;   ///< no packet arrives any more
    unsigned failing_fetches = 0;
    unsigned short_ends = 0;            ///< so many ends of packets to b lack a byte
    std::function<bool(Bytes&)> tamper; ///< with packets to b, until it has found the right one
    Side a{*this, 1};
    Side b{*this, 2};

private:
    struct Packet {
        Bytes bytes;
        std::uint32_t ticket = 0;
        std::uint32_t remote_length = 0;
    };

    void pass(Side& side, std::deque<Packet>& in, Side& other, std::deque<Packet>& out)
    {
        const std::deque<Packet> held = std::exchange(in, {});
        std::vector<RxPacket> packets;
        for (const Packet& packet : held) {
            packets.push_back(
                {packet.bytes.data(), static_cast<std::uint32_t>(packet.bytes.size()), false, now});
            if (packet.remote_length != 0) {
                packets.back().remote = &side;
                packets.back().remote_length = packet.remote_length;
                packets.back().ticket = packet.ticket;
            }
        }
        side.engine.on_packets(packets, now);
        if (side.engine.next_timeout() <= now) {
            side.engine.on_timeout(now);
        }
        side.engine.on_rx_drained(now);
        Event event;
        while (side.engine.poll_event(event)) {
            serve(side, event);
        }
        std::array<TxPacket, 64> burst;
        const std::size_t count = side.engine.poll_transmit(burst, now);
        for (const TxPacket& packet : std::span(burst).first(count)) {
            const std::span<const iovec> pieces(packet.iov.data(), packet.iov_count);
            const std::size_t head = attach ? std::min(packet.lasting, packet.iov_count) : packet.iov_count;
            Packet made;
            test::gather(pieces.first(head), made.bytes);
            if (head < pieces.size()) {
                made.ticket = static_cast<std::uint32_t>(other.ends.size());
                made.remote_length = static_cast<std::uint32_t>(total_length(pieces.subspan(head)));
                other.ends.emplace_back(pieces.begin() + static_cast<std::ptrdiff_t>(head), pieces.end());
            }
            if (&side == &a && made.remote_length != 0 && short_ends != 0) {
                --short_ends;
                --made.remote_length;
            }
            if (&side == &a && tamper && tamper(made.bytes)) {
                tamper = {};
            }
            if (!cut) {
                out.push_back(std::move(made));
            }
        }
        side.engine.on_tx_done();
    }

    void serve(Side& side, const Event& event)
    {
        Accepted outcome{};
        switch (event.kind) {
        case Event::Kind::hello:
            side.engine.accept_hello(RouteId{0}, mtu, now, 1);
            break;
        case Event::Kind::message: {
            MessageId message = event.message;
            if (side.buffer.empty()) {
                REQUIRE(side.engine.park(message, now) == Status::ok);
                side.parked.push_back(message);
                break;
            }
            REQUIRE(side.engine.accept(message, side.buffer, 9, now, outcome) == Status::ok);
            if (outcome == Accepted::complete) {
                side.done.push_back(event);
            }
            break;
        }
        case Event::Kind::write:
            REQUIRE(event.ranges.size() == 1);
            {
                const iovec target{side.memory.data() + event.ranges[0].address, event.ranges[0].length};
                if (side.engine.place({&target, 1})) {
                    side.engine.confirm(now);
                }
            }
            break;
        case Event::Kind::read: {
            const iovec source{side.memory.data() + event.ranges[0].address, event.ranges[0].length};
            side.engine.serve({&source, 1}, region, false, 0, now);
            side.served = true;
            break;
        }
        default:
            if (event.cause != Cause::none) {
                side.withdrawn_first = side.engine.take_withdrawal();
            }
            side.done.push_back(event);
            break;
        }
    }

    std::deque<Packet> to_a;
    std::deque<Packet> to_b;
};

std::vector<iovec> whole(Bytes& bytes)
{
    return {{bytes.data(), bytes.size()}};
}

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
        CHECK(world.b.reads == 1);
        CHECK(world.b.fetches == 0);
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
            REQUIRE(world.b.engine.accept(world.b.parked[0], buffer, 9, world.now, outcome) == Status::ok);
            CHECK(outcome == Accepted::complete);
            world.run();
        }
        CHECK(target == message);
        CHECK(world.b.reads == 1);
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
    world.b.engine.discard(world.b.parked[0], world.now);
    world.run();
    CHECK(world.b.reads == 2);
    CHECK(world.a.done.size() == 2);
    CHECK(world.a.engine.drained());
}

TEST_CASE("near: what may not be read is granted and sent, and not tried again")
{
    for (const bool attach : {false, true}) {
        World world;
        world.may_read = false;
        world.attach = attach;
        const Bytes message = pattern(500'000, 8);
        for (unsigned round = 1; round <= 2; ++round) {
            Bytes target(message.size());
            world.b.buffer = whole(target);
            world.send(message);
            world.run();
            CHECK(target == message);
            CHECK(world.a.done.size() == round);
        }
        CHECK(world.b.reads == 1);
        CHECK((world.b.fetches != 0) == attach);
    }
}

TEST_CASE("near: memory that was taken back is not believed")
{
    World world;
    const Bytes message = pattern(100'000, 9);
    world.send(message);
    world.run();
    REQUIRE(world.b.parked.size() == 1);
    ++world.a.own_epoch;
    Bytes target(message.size());
    Accepted outcome{};
    REQUIRE(world.b.engine.accept(world.b.parked[0], whole(target), 9, world.now, outcome) == Status::ok);
    CHECK(outcome == Accepted::pending);
    world.run();
    CHECK(target == message);
    CHECK(world.a.done.size() == 1);
    CHECK(world.b.reads == 1);
    // What is sent from now on may be read.
    std::fill(target.begin(), target.end(), std::byte{0});
    world.b.buffer = whole(target);
    const std::uint64_t packets = world.a.counters.tx_packets.value();
    world.send(message);
    world.run();
    CHECK(target == message);
    CHECK(world.b.reads == 2);
    CHECK(world.a.counters.tx_packets.value() - packets < 10);
}

TEST_CASE("near: ends of packets that cannot be fetched come again")
{
    World world;
    world.may_read = false;
    world.failing_fetches = 5;
    const Bytes message = pattern(700'000, 10);
    Bytes target(message.size());
    world.b.buffer = whole(target);
    world.send(message);
    world.run();
    CHECK(world.failing_fetches == 0);
    CHECK(target == message);
    CHECK(world.a.done.size() == 1);

    world.failing_fetches = 3;
    world.access(OperationKind::write, message, 100);
    world.run();
    CHECK(world.failing_fetches == 0);
    CHECK(world.a.done.size() == 2);
    CHECK(std::equal(message.begin(), message.end(), world.b.memory.begin() + 100));
}

TEST_CASE("near: buffers are taken back before a failure is reported")
{
    World world;
    const Bytes message = pattern(100'000, 11);
    world.send(message); // parked: it may be read at any time
    world.run();
    world.cut = true;
    CHECK_FALSE(world.a.engine.take_withdrawal());
    world.a.engine.close_peer(world.a.peer, world.now);
    world.run(1);
    REQUIRE(world.a.done.size() == 1);
    CHECK(world.a.done[0].cause != Cause::none);
    CHECK(world.a.withdrawn_first);
}

TEST_CASE("near: the way stays near when a connection over it ends and another begins")
{
    World world;
    const Bytes message = pattern(500'000, 19);
    CHECK(world.deliver(message));
    world.a.engine.close_peer(world.a.peer, world.now);
    world.a.peer = world.a.engine.open_peer(RouteId{0}, mtu, world.now, 1);
    CHECK(world.deliver(message));
    CHECK(world.b.reads == 2);
}

TEST_CASE("near: over a way that one of the two takes for far nothing is read")
{
    for (const bool sender : {false, true}) {
        World world;
        World::Side& side = sender ? world.a : world.b;
        const Bytes message = pattern(500'000, 12);
        side.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::far}, mtu, world.now);
        CHECK(world.deliver(message));
        CHECK(world.b.reads == 0);
        side.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::near}, mtu, world.now);
        CHECK(world.deliver(message));
        CHECK(world.b.reads == 1);
    }
}

TEST_CASE("near: a message that takes long to read comes in pieces, so that others are served meanwhile")
{
    for (const std::size_t length : {std::size_t{4} << 20U, (std::size_t{4} << 20U) + 1}) {
        World world;
        CHECK(world.deliver(pattern(length, 13)));
        CHECK(world.b.reads == (length > 4U << 20U ? 0 : 1));
    }
}

TEST_CASE("near: a request that names a place of another length, or too many, is not believed")
{
    const Bytes message = pattern(300'000, 14);
    for (const std::size_t wrong : {message.size() - 1, message.size() + 1}) {
        World world;
        world.tamper = in_request(message, [wrong](Bytes& packet, std::size_t, std::size_t piece) {
            const wire::u64 length{wrong};
            std::memcpy(packet.data() + piece + offsetof(wire::MessagePiece, length), &length,
                        sizeof(length));
        });
        CHECK(world.deliver(message));
        CHECK(!world.tamper);
        CHECK(world.b.reads == 0);
    }
    for (const std::size_t pieces : {max_iov + 1, std::size_t{255}}) {
        World world;
        world.tamper = in_request(message, [pieces](Bytes& packet, std::size_t frame, std::size_t piece) {
            packet[frame + offsetof(wire::RequestFrame, pieces)] = static_cast<std::byte>(pieces);
            packet.resize(piece + pieces * sizeof(wire::MessagePiece), std::byte{1});
        });
        CHECK(world.deliver(message));
        CHECK(!world.tamper);
        CHECK(world.b.counters.rx_malformed.value() == 1);
        CHECK(world.b.reads == 1);
    }
}

TEST_CASE("near: an end of a packet that is not as long as its frame says is not taken")
{
    World world;
    world.may_read = false;
    world.short_ends = 3;
    const Bytes message = pattern(700'000, 15);
    CHECK(world.deliver(message));
    CHECK(world.short_ends == 0);
    CHECK(world.b.counters.rx_malformed.value() == 3);
    CHECK(world.a.done.size() == 1);
}

TEST_CASE("near: memory that is being read is taken back when its region closes, also if its reader has gone")
{
    for (const bool gone : {false, true}) {
        World world;
        Bytes target(500'000);
        world.access(OperationKind::read, target, 0);
        while (!world.b.served) {
            world.run(1);
        }
        world.b.engine.revoke(region + 1, world.now);
        CHECK_FALSE(world.b.engine.take_withdrawal());
        if (gone) {
            world.b.engine.close_peer(world.b.peer, world.now);
        }
        world.b.engine.revoke(region, world.now);
        CHECK(world.b.engine.take_withdrawal());
        world.run();
        CHECK((gone || (world.a.done.size() == 1 && world.a.done[0].cause == Cause::region_closed)));
    }
}

TEST_CASE("near: a full ring is tried again in a moment, with one packet, then with more")
{
    World world;
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
            world.a.engine.on_route_notice({RouteId{0}, RouteNotice::Kind::far}, mtu, world.now);
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
