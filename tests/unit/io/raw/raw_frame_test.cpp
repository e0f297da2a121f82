// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <cstring>
#include <set>

#include "io/raw/raw_frame.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct Sides {
    SocketAddress source;
    SocketAddress destination;
    std::size_t ip_header;
};

std::vector<Sides> families()
{
    return {{make_address("192.0.2.1", 7001), make_address("192.0.2.9", 7002), 20},
            {make_address("2001:db8::1", 7001), make_address("2001:db8::9", 7002), 40}};
}

constexpr MacAddress source_mac{2, 0, 0, 0, 0, 1};
constexpr MacAddress destination_mac{2, 0, 0, 0, 0, 9};

std::vector<std::byte> make_frame(const Sides& sides, TestPacket& source, PathId path = PathId{0})
{
    const FrameTemplate headers(source_mac, sides.source, sides.destination);
    std::vector<std::byte> frame(raw_overhead(sides.source.family()) + source.size());
    REQUIRE(headers.write(frame.data(), destination_mac, source.to(RouteId{0}, path)) == frame.size());
    return frame;
}

} // namespace

TEST_CASE("raw_frame: what is written is read back, whatever its length and pieces")
{
    for (const Sides& sides : families()) {
        for (const std::size_t length : {4U, 5U, 15U, 16U, 17U, 1471U, 1472U, 8952U}) {
            TestPacket source(77, length, 3);
            std::vector<std::byte> frame = make_frame(sides, source, PathId{5});
            frame.resize(std::max<std::size_t>(frame.size(), 60)); // as a NIC pads
            FrameContent content;
            REQUIRE(read_frame(frame, sides.destination, false, content) == FrameVerdict::ours);
            CHECK(content.length == length);
            CHECK_FALSE(content.marked);
            RxPacket packet;
            packet.data = content.data;
            packet.length = content.length;
            CHECK(TestPacket::number_of(packet) == 77);
        }
    }
}

TEST_CASE("raw_frame: every flipped bit behind the Ethernet header is noticed, but for what routers change")
{
    for (const Sides& sides : families()) {
        TestPacket source(3, 33);
        const std::vector<std::byte> good = make_frame(sides, source);
        const bool ipv4 = sides.ip_header == 20;
        for (std::size_t bit = 8 * ethernet_header; bit < 8 * good.size(); ++bit) {
            std::vector<std::byte> frame = good;
            frame[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
            FrameContent content;
            const std::size_t at = bit / 8 - ethernet_header;
            // IPv6 has no checksum over traffic class, flow label and hop limit.
            const bool changeable = !ipv4 && ((at == 0 && bit % 8 < 4) || (at >= 1 && at <= 3) || at == 7);
            INFO("byte " << at << " bit " << bit % 8);
            CHECK((read_frame(frame, sides.destination, false, content) == FrameVerdict::ours) == changeable);
        }
    }
}

TEST_CASE("raw_frame: frames cut short are not read beyond their end")
{
    for (const Sides& sides : families()) {
        TestPacket source(3, 33);
        const std::vector<std::byte> good = make_frame(sides, source);
        for (std::size_t length = 0; length < good.size(); ++length) {
            const std::vector<std::byte> frame(good.begin(),
                                               good.begin() + static_cast<std::ptrdiff_t>(length));
            FrameContent content;
            CHECK(read_frame(frame, sides.destination, true, content) != FrameVerdict::ours);
        }
    }
}

TEST_CASE("raw_frame: only frames to our address and port are ours")
{
    for (const Sides& sides : families()) {
        TestPacket source(3, 33);
        const std::vector<std::byte> frame = make_frame(sides, source);
        FrameContent content;
        SocketAddress other = sides.destination;
        other.set_port(7003);
        CHECK(read_frame(frame, other, false, content) == FrameVerdict::foreign);
        CHECK(read_frame(frame, sides.source, false, content) == FrameVerdict::foreign);
    }
}

TEST_CASE("raw_frame: congestion marks are read, and a checksum left to hardware is not missed")
{
    for (const Sides& sides : families()) {
        TestPacket source(3, 33);
        std::vector<std::byte> frame = make_frame(sides, source);
        const std::size_t ip = ethernet_header;
        if (sides.ip_header == 20) {
            CHECK(frame[ip + 1] == std::byte{2}); // ECT(0)
            frame[ip + 1] = std::byte{3};
            // RFC 1624: the header's checksum goes down by what the word went up.
            std::uint16_t check = 0;
            std::memcpy(&check, &frame[ip + 10], 2);
            check = htons(static_cast<std::uint16_t>(ntohs(check) - 1));
            std::memcpy(&frame[ip + 10], &check, 2);
        } else {
            CHECK((frame[ip + 1] & std::byte{0x30}) == std::byte{0x20});
            frame[ip + 1] |= std::byte{0x10};
        }
        FrameContent content;
        REQUIRE(read_frame(frame, sides.destination, false, content) == FrameVerdict::ours);
        CHECK(content.marked);

        // What a stack writes that leaves the rest to the NIC: the sum of the pseudo header.
        const std::size_t hosts = sides.ip_header == 20 ? ip + 12 : ip + 8;
        const std::size_t udp = ip + sides.ip_header;
        std::uint32_t sum = 17;
        for (std::size_t at = hosts; at < udp; at += 2) {
            sum += std::to_integer<std::uint32_t>(frame[at]) << 8 |
                   std::to_integer<std::uint32_t>(frame[at + 1]);
        }
        sum += 33 + 8;
        while (sum > 0xffff) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        const std::uint16_t partial = htons(static_cast<std::uint16_t>(sum));
        std::memcpy(&frame[udp + 6], &partial, 2);
        CHECK(read_frame(frame, sides.destination, false, content) == FrameVerdict::ours);
        frame[udp + 6] ^= std::byte{1};
        CHECK(read_frame(frame, sides.destination, false, content) == FrameVerdict::damaged);
        CHECK(read_frame(frame, sides.destination, true, content) == FrameVerdict::ours);
    }
}

TEST_CASE("raw_frame: every path has a source port of its own, the first the endpoint's")
{
    for (const Sides& sides : families()) {
        std::set<std::uint16_t> ports;
        TestPacket source(3, 33);
        for (std::uint8_t path = 0; path < 64; ++path) {
            const std::vector<std::byte> frame = make_frame(sides, source, PathId{path});
            std::uint16_t port = 0;
            std::memcpy(&port, &frame[ethernet_header + sides.ip_header], 2);
            CHECK((path != 0 || ntohs(port) == 7001));
            ports.insert(port);
            FrameContent content;
            CHECK(read_frame(frame, sides.destination, false, content) == FrameVerdict::ours);
        }
        CHECK(ports.size() == 64);
    }
}

TEST_CASE("raw_frame: source ports are in the range that is given")
{
    const PortRange range = GENERATE(PortRange{7000, 7199}, PortRange{7000, 7009}, PortRange{7001, 7001});
    for (const Sides& sides : families()) {
        const FrameTemplate headers(source_mac, sides.source, sides.destination, range);
        std::set<std::uint16_t> ports;
        for (std::uint8_t path = 0; path < 64; ++path) {
            TestPacket source(3, 33);
            std::vector<std::byte> frame(raw_overhead(sides.source.family()) + source.size());
            headers.write(frame.data(), destination_mac, source.to(RouteId{0}, PathId{path}));
            std::uint16_t port = 0;
            std::memcpy(&port, &frame[ethernet_header + sides.ip_header], 2);
            CHECK(range.contains(ntohs(port)));
            ports.insert(port);
        }
        CHECK(ports.size() == 1 + range.sources());
    }
}
