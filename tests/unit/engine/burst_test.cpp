// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a message of a few packets looks like on the wire: one path and one size, so that a backend sends it
// with one call, and no packet more than its bytes need.
#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "wire/layout.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::uint32_t mtu = 1472;

/// Two that know each other; of b's last message to a nothing is acknowledged, if `owing`.
struct World : EnginePair {
    explicit World(bool owing) : EnginePair({.max_packet = mtu, .burst_packets = 64})
    {
        REQUIRE(deliver(pattern(10)));
        REQUIRE(deliver(pattern(10))); // what the first one owed is paid
        if (owing) {
            static const Bytes question = pattern(10);
            const iovec piece{const_cast<std::byte*>(question.data()), question.size()};
            Operation operation;
            operation.peer = b.peer;
            operation.level = CompletionLevel::none;
            operation.iov = {&piece, 1};
            REQUIRE(b.engine.submit(operation, now) == Status::ok);
            b.pass(now);
            a.pass(now);
        }
        b.io.incoming.clear();
    }

    /// What a sends of an operation on `size` bytes, as it goes over the wire.
    std::vector<Bytes> packets_of(std::size_t size, bool copied, OperationKind kind = OperationKind::message)
    {
        payload = pattern(size);
        const iovec piece{payload.data(), payload.size()};
        const RemoteRange range{0, size, EngineHost::region};
        Operation operation;
        operation.kind = kind;
        operation.copy_payload = copied;
        operation.level = copied ? CompletionLevel::none : CompletionLevel::transmit;
        operation.iov = {&piece, 1};
        if (kind != OperationKind::message) {
            operation.remote = {&range, 1};
        }
        REQUIRE(submit(operation, 1) == Status::ok);
        a.pass(now);
        std::vector<Bytes> packets;
        for (const WireIo::Packet& packet : b.io.incoming) {
            packets.push_back(packet.bytes);
        }
        return packets;
    }

    Bytes payload;
};

wire::PacketHeader header_of(const Bytes& packet)
{
    wire::PacketHeader header;
    std::memcpy(&header, packet.data(), sizeof(header));
    return header;
}

bool has_ack(const Bytes& packet)
{
    return (header_of(packet).flags & wire::packet_flag::has_ack) != 0;
}

} // namespace

TEST_CASE("burst: the packets of a message take one path, are of one size, and the last one acknowledges")
{
    for (const bool copied : {true, false}) {
        for (const OperationKind kind : {OperationKind::message, OperationKind::write}) {
            World world(true);
            const std::vector<Bytes> packets = world.packets_of(4000, copied, kind);
            REQUIRE(packets.size() == 3);
            std::set<std::uint8_t> paths;
            for (const Bytes& packet : packets) {
                paths.insert(header_of(packet).path);
                CHECK(has_ack(packet) == (&packet == &packets.back()));
            }
            CHECK(paths.size() == 1);
            CHECK(packets[0].size() == packets[1].size());
            CHECK(packets[2].size() <= packets[1].size());
        }
    }
}

TEST_CASE("burst: a packet has room for the acknowledgement that is owed, and for none that is not")
{
    constexpr std::size_t frame = sizeof(wire::PacketHeader) + sizeof(wire::MessageFrame);
    for (const bool owing : {true, false}) {
        const std::size_t fits = mtu - frame - (owing ? sizeof(wire::AckBlock) : 0);
        World world(owing);
        const std::vector<Bytes> one = world.packets_of(fits, true);
        REQUIRE(one.size() == 1);
        CHECK(one[0].size() == mtu);
        CHECK(has_ack(one[0]) == owing);
        CHECK(World(owing).packets_of(fits + 1, true).size() == 2);
    }
}

TEST_CASE("burst: messages one after the other change path when a call is full, not sooner")
{
    World world(false);
    std::vector<std::uint8_t> paths;
    for (int message = 0; message < 256; ++message) {
        for (const Bytes& packet : world.packets_of(100, true)) {
            paths.push_back(header_of(packet).path);
        }
        world.b.io.incoming.clear();
    }
    REQUIRE(paths.size() == 256);
    std::vector<std::ptrdiff_t> runs;
    for (auto from = paths.begin(); from != paths.end();) {
        const auto end = std::find_if(from, paths.end(), [&](std::uint8_t path) { return path != *from; });
        runs.push_back(end - from);
        from = end;
    }
    // The first path, which worked before, is taken twice.
    CHECK(runs == std::vector<std::ptrdiff_t>{128, 64, 64});
}
