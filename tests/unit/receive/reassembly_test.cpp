// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <vector>

#include "receive/reassembly.hpp"
#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;
using Result = Reassembly::Result;

namespace {

struct World {
    explicit World(std::uint32_t total) : packet(total)
    {
        for (std::uint32_t i = 0; i < total; ++i) {
            packet[i] = static_cast<std::byte>(i * 7 + i / 256);
        }
    }
    Result add(std::uint32_t offset, std::uint32_t length, std::uint32_t psn = 5,
               std::uint64_t connection = 9)
    {
        wire::FragmentHeader header;
        header.offset = offset;
        header.total = static_cast<std::uint32_t>(packet.size());
        return reassembly.add(connection, psn, header, std::span(packet).subspan(offset, length), now,
                              frames);
    }
    bool is_whole() const { return std::equal(frames.begin(), frames.end(), packet.begin(), packet.end()); }

    Reassembly reassembly;
    std::vector<std::byte> packet;
    std::span<const std::byte> frames;
    Time now{1h};
};

} // namespace

TEST_CASE("Reassembly: fragments in any order, doubled and overlapping, of several transmissions")
{
    World world(4001);
    CHECK(world.add(3200, 801) == Result::kept);
    CHECK(world.add(0, 800) == Result::kept);
    CHECK(world.add(0, 800) == Result::kept);
    CHECK(world.add(1600, 800) == Result::kept);
    CHECK(world.add(400, 1600) == Result::kept);
    CHECK(world.add(2000, 1208) == Result::whole);
    CHECK(world.is_whole());
    CHECK(world.add(0, 800) == Result::dropped); // it is still to be read
    world.reassembly.begin_burst();
    CHECK(world.add(0, 4001) == Result::whole);
}

TEST_CASE("Reassembly: the longest packet")
{
    World world(65536);
    CHECK(world.add(0, 65528) == Result::kept);
    CHECK(world.add(65528, 8) == Result::whole);
    CHECK(world.is_whole());
}

TEST_CASE("Reassembly: what is malformed changes nothing")
{
    World world(4000);
    CHECK(world.add(0, 2000) == Result::kept);
    const auto add = [&](std::uint32_t offset, std::uint32_t total, std::size_t size) {
        wire::FragmentHeader header;
        header.offset = offset;
        header.total = total;
        const std::vector<std::byte> bytes(size);
        return world.reassembly.add(9, 5, header, bytes, world.now, world.frames);
    };
    CHECK(add(0, 4000, 0) == Result::dropped);
    CHECK(add(4, 4000, 8) == Result::dropped);
    CHECK(add(0, 4000, 7) == Result::dropped);
    CHECK(add(4000, 4000, 8) == Result::dropped);
    CHECK(add(3992, 4000, 9) == Result::dropped);
    CHECK(add(0xfffffff8, 4000, 8) == Result::dropped);
    CHECK(add(0, 65537, 8) == Result::dropped);
    CHECK(add(0, 0, 8) == Result::dropped);
    CHECK(world.add(2000, 2000) == Result::whole);
    CHECK(world.is_whole());
}

TEST_CASE("Reassembly: another packet of the connection takes the place")
{
    World world(2000);
    CHECK(world.add(0, 1000, 5) == Result::kept);
    CHECK(world.add(1000, 1000, 6) == Result::kept);
    CHECK(world.add(1000, 1000, 5) == Result::kept);
    CHECK(world.add(0, 1000, 5) == Result::whole);
}

TEST_CASE("Reassembly: connections share the places, and one that has fallen silent loses its own")
{
    World world(2000);
    for (std::uint64_t connection = 1; connection <= Reassembly::places; ++connection) {
        CHECK(world.add(0, 1000, 5, connection) == Result::kept);
    }
    CHECK(world.add(0, 1000, 5, 1000) == Result::dropped);
    CHECK(world.add(1000, 1000, 5, 3) == Result::whole);
    CHECK(world.add(0, 1000, 5, 1000) == Result::dropped);
    world.reassembly.begin_burst();
    CHECK(world.add(0, 1000, 5, 1000) == Result::kept);
    world.now += Reassembly::patience;
    CHECK(world.add(0, 1000, 5, 2000) == Result::kept);
}

TEST_CASE(
    "Reassembly: what is left of a packet that came whole otherwise is not put together with a later round's")
{
    World world(1600);
    CHECK(world.add(0, 800) == Result::kept);
    world.now += Reassembly::round;
    CHECK(world.add(800, 800) == Result::kept); // the same psn, 2^32 packets later
    CHECK(world.add(0, 800) == Result::whole);
    CHECK(world.is_whole());
}
