// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Segments of shared memory in the hands of tests: open ones, the two ends of a ring, and two endpoints that
// have opened theirs to each other.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_segment.hpp"

#include "support/catch.hpp"
#include "support/io/shm_ends.hpp"

namespace srd::test {

inline std::string path_of(const ShmToken& token)
{
    std::string path = "/dev/shm/srd_shm.";
    for (const std::uint8_t byte : token) {
        std::array<char, 3> digits{};
        std::snprintf(digits.data(), digits.size(), "%02x", byte);
        path += digits.data();
    }
    return path;
}

inline ShmToken token_of(const std::string& path)
{
    ShmToken token{};
    const std::size_t at = path.rfind('.') + 1;
    for (std::size_t i = 0; i < token.size(); ++i) {
        token[i] = static_cast<std::uint8_t>(std::stoul(path.substr(at + 2 * i, 2), nullptr, 16));
    }
    return token;
}

/// A segment that is open.
struct OpenSegment : ShmSegment {
    explicit OpenSegment(const SocketAddress& owner = make_address("127.0.0.1", 1))
    {
        std::string error;
        const int code = open(owner, error);
        INFO(error);
        REQUIRE(code == 0);
        REQUIRE(mapping() != nullptr);
    }
};

/// Two endpoints whose packets to each other go through memory.
struct ShmPair {
    ShmEnd a;
    ShmEnd b;
    RouteId a_to_b = route_to(*a.io, *b.io);
    RouteId b_to_a = route_to(*b.io, *a.io);

    ShmPair()
    {
        REQUIRE(open_memory(a, a_to_b, {&a, &b}));
        REQUIRE(open_memory(b, b_to_a, {&a, &b}));
        poll_all({&a, &b});
    }

    /// Packets `first` to `last` - 1 from a, each of which must arrive once, in whatever order.
    bool stream(std::uint32_t first, std::uint32_t last, std::size_t length)
    {
        std::set<std::uint32_t> missing;
        for (std::uint32_t number = first; number < last; ++number) {
            missing.insert(number);
        }
        std::uint32_t next = first;
        return eventually([&] {
            while (next < last && a.send(a_to_b, next, length)) {
                ++next;
            }
            for (const std::uint32_t number : b.receive()) {
                REQUIRE(missing.erase(number) == 1);
            }
            return missing.empty();
        });
    }
};

/// A segment and a ring in it, which `receiver` reads.
struct RingWriter {
    OpenSegment segment;
    ShmPool pool;
    ShmSender sender;
    std::shared_ptr<ShmMapping> seen =
        open_shm_segment(segment.header().identity.token); ///< as the reader maps it
    std::uint32_t doorbell = shm_rings;

    RingWriter() { sender = add(); }
    ShmSender add()
    {
        std::uint32_t ring = 0;
        REQUIRE(segment.add_ring(ring));
        return {*segment.mapping(), pool, ring};
    }
    ShmControl& control() const { return segment.mapping()->control(sender.ring()); }
    bool push(std::uint32_t number, std::size_t length = 64) { return push(sender, number, length); }
    /// Every entry: packets 0, 1, ...
    void fill(std::size_t length = 64)
    {
        for (std::uint32_t number = 0; number < shm_ring_entries; ++number) {
            REQUIRE(push(number, length));
        }
    }
    static bool push(ShmSender& to, std::uint32_t number, std::size_t length)
    {
        TestPacket packet(number, length);
        return to.push(packet.to(RouteId{}, PathId{0}));
    }
};

/// Reads the rings of writers.
struct RingReader {
    OpenSegment segment;
    ShmReceiver receiver{*segment.mapping()};

    void open(RingWriter& writer, RouteId route = RouteId{1})
    {
        REQUIRE(writer.seen != nullptr);
        writer.doorbell = receiver.open(writer.seen, writer.sender.ring(), writer.sender.tail(), route);
        REQUIRE(writer.doorbell < shm_rings);
    }
    void ring(const RingWriter& writer)
    {
        segment.header().doorbells[writer.doorbell / 64].fetch_or(std::uint64_t{1} << writer.doorbell % 64);
    }
    /// The numbers of the packets of one look, which are not given back; -2: its end is elsewhere.
    std::vector<std::int64_t> hold(std::size_t limit = 64)
    {
        std::vector<RxPacket> packets(limit);
        std::vector<std::int64_t> numbers;
        for (std::size_t i = 0, count = receiver.receive(packets, Time{}); i < count; ++i) {
            numbers.push_back(packets[i].remote == nullptr ? TestPacket::number_of(packets[i]) : -2);
        }
        return numbers;
    }
    std::vector<std::int64_t> look(std::size_t limit = 64)
    {
        const std::vector<std::int64_t> numbers = hold(limit);
        receiver.release();
        return numbers;
    }
};

} // namespace srd::test
