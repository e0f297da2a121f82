// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory that lies: entries, heads, turns and messages that make no sense, from a peer that is broken
// or means harm, and peers that hold what others need.
#include <limits>

#include <srd/shm_object.hpp>

#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_routes.hpp"
#include "io/shm/shm_segment.hpp"
#include "support/catch.hpp"
#include "support/io/shm_segments.hpp"

using namespace srd;
using namespace srd::test;

TEST_CASE("shm: entries that make no sense are dropped and counted, and others are heard")
{
    ShmPair two;
    ShmEnd other;
    const RouteId other_to_b = route_to(*other.io, *two.b.io);
    REQUIRE(open_memory(other, other_to_b, {&other, &two.b}));
    poll_all({&two.b});

    const std::uint64_t before = two.b.counters.io_rx_dropped.value();
    struct Lie {
        std::uint32_t length;
        std::uint32_t block;
        std::uint32_t piece_count = 0;
    };
    const std::uint32_t huge = std::numeric_limits<std::uint32_t>::max();
    const std::array<Lie, 11> lies{{{huge, shm_no_block},
                                    {241, shm_no_block},
                                    {huge, 0},
                                    {shm_block_size + 1, shm_blocks - 1},
                                    {64, shm_blocks},
                                    {64, shm_no_block - 1},
                                    {shm_blocks * shm_block_size + 1, 0},
                                    {173, shm_no_block, 1},
                                    {240, shm_no_block, 4},
                                    {8, shm_no_block, max_iov + 1},
                                    {8, shm_no_block, huge}}};
    std::uint64_t told = 0;
    for (const std::string& path : mapped_objects()) { // in every first ring, whosever it is
        const auto segment = open_shm_segment(token_of(path));
        REQUIRE(segment != nullptr);
        ShmEntry* const entries = segment->entries(0);
        std::uint32_t tail = 0; // the highest turn
        for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
            tail = std::max(tail, entries[i].turn.load());
        }
        for (const Lie& lie : lies) {
            ShmEntry& entry = entries[tail % shm_ring_entries];
            entry.length = lie.length;
            entry.block = lie.block;
            entry.piece_count = lie.piece_count;
            entry.turn.store(++tail);
            ++told;
        }
        segment->header().doorbells[0] = ~std::uint64_t{0};
        segment->header().doorbells[15] = ~std::uint64_t{0};
    }
    CHECK(told == 3 * lies.size());
    REQUIRE(eventually([&] {
        two.b.receive();
        return two.b.counters.io_rx_dropped.value() == before + 2 * lies.size(); // two peers write to b
    }));
    // Those whom it concerns go on as well, one lost packet for each lie.
    REQUIRE(eventually([&] {
        other.send(other_to_b, 4711);
        const std::vector<std::uint32_t> numbers = two.b.receive();
        return std::count(numbers.begin(), numbers.end(), 4711U) != 0;
    }));
}

TEST_CASE("shm: entries that change while they are read lead nowhere else")
{
    const OpenSegment own;
    OpenSegment liar;
    std::uint32_t ring = 0;
    REQUIRE(liar.add_ring(ring));
    const auto segment = open_shm_segment(liar.header().identity.token);
    REQUIRE(segment != nullptr);
    ShmReceiver receiver(*own.mapping());
    const std::uint32_t doorbell = receiver.open(segment, ring, 0, RouteId{});
    std::atomic<bool> done{false};
    std::thread flips([&] {
        while (!done) {
            for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
                auto& entry = *static_cast<volatile ShmEntry*>(liar.mapping()->entries(ring) + i);
                entry.length = 100;
                entry.block = shm_no_block;
                entry.piece_count = 1;
                entry.piece_count = std::numeric_limits<std::uint32_t>::max();
                entry.length = std::numeric_limits<std::uint32_t>::max();
                entry.block = 0;
            }
        }
    });
    std::uint64_t malformed = 0;
    std::uint64_t good = 0;
    bool inside = true;
    for (std::uint32_t turn = 1; turn <= 300000; ++turn) {
        liar.mapping()->entries(ring)[(turn - 1) % shm_ring_entries].turn.store(turn);
        own.header().doorbells[doorbell / 64].store(1);
        std::array<RxPacket, 1> packets;
        good += receiver.receive(packets, Time{});
        inside = inside && (packets[0].data == nullptr || packets[0].length <= shm_blocks * shm_block_size);
        receiver.release();
        malformed += receiver.take_malformed();
    }
    done = true;
    flips.join();
    CHECK(inside);
    CHECK(good > 0);
    CHECK(malformed > 0);
    CHECK(good + malformed == 300000);
}

TEST_CASE("shm: heads and turns that make no sense send packets the other way")
{
    ShmPair two;
    const auto spoil = [](const std::function<void(ShmMapping&)>& lie) {
        for (const std::string& path : mapped_objects()) {
            const auto segment = open_shm_segment(token_of(path));
            REQUIRE(segment != nullptr);
            lie(*segment);
        }
    };
    for (const std::uint32_t head : {0x80000000U, 0xffffffffU, 1000000U}) {
        spoil([head](ShmMapping& segment) { segment.control(0).head.store(head); });
        std::set<std::uint32_t> missing;
        for (std::uint32_t number = 1; number <= 40; ++number) {
            missing.insert(number);
        }
        REQUIRE(eventually([&] {
            for (const std::uint32_t number : std::set<std::uint32_t>(missing)) {
                two.a.send(two.a_to_b, number, 2000);
            }
            for (const std::uint32_t number : two.b.receive()) {
                missing.erase(number);
            }
            return missing.empty();
        }));
    }
    spoil([](ShmMapping& segment) {
        for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
            segment.entries(0)[i].turn.store(0xdeadbeef);
        }
    });
    REQUIRE(eventually([&] {
        two.a.send(two.a_to_b, 4711);
        const std::vector<std::uint32_t> numbers = two.b.receive();
        return std::count(numbers.begin(), numbers.end(), 4711U) != 0;
    }));
}

TEST_CASE("shm: messages that make no sense open nothing and close nothing")
{
    ShmPair two;
    ShmEnd liar(false);
    const RouteId to_b = route_to(*liar.io, *two.b.io);
    const auto send = [&](const ShmMessage& message) {
        TxPacket packet;
        packet.route = to_b;
        packet.iov_count = 1;
        packet.length = sizeof(message);
        ShmMessage copy = message;
        packet.iov[0] = {&copy, sizeof(copy)};
        REQUIRE(liar.io->tx_burst({&packet, 1}) == 1);
        two.b.receive();
    };
    const auto named = [](ShmEnd& end) {
        ShmMessage message;
        const auto address = end.io->local_address().bytes();
        std::copy(address.begin(), address.end(), message.address.begin());
        message.token.fill(0x11);
        return message;
    };
    for (ShmEnd* const name : {&liar, &two.a}) {
        for (const std::uint32_t kind : {0U, 1U, 2U, 3U, 4U, 5U, 0xffffffffU}) {
            for (const std::uint32_t ring : {0U, 1023U, 1024U, 0xffffffffU}) {
                ShmMessage message = named(*name);
                message.kind = kind;
                message.ring = ring;
                message.start = 77;
                send(message);
            }
        }
    }
    two.b.receive();
    const std::uint64_t before = two.a.by_memory();
    CHECK(two.stream(1000, 1500, 64));
    CHECK(two.a.by_memory() >= before + 400);
    CHECK(mapped_objects().size() == 2);
}

TEST_CASE("shm: who holds the pool without reading delays no other")
{
    ShmEnd sender;
    std::vector<std::unique_ptr<ShmEnd>> readers;
    std::vector<RouteId> routes;
    for (int i = 0; i < 5; ++i) {
        readers.push_back(std::make_unique<ShmEnd>());
        routes.push_back(route_to(*sender.io, *readers.back()->io));
        REQUIRE(open_memory(sender, routes.back(), {&sender, readers.back().get()}));
        drain(*readers.back()->io, std::chrono::milliseconds(1));
    }
    for (std::size_t i = 0; i + 1 < readers.size(); ++i) { // none of these reads from now on
        for (int n = 0; n < 16; ++n) {
            sender.send(routes[i], 1, 60000);
        }
    }
    REQUIRE(sender.send(routes.back(), 2, 60000)); // at once, whatever way it takes
    CHECK(eventually([&] {
        const std::vector<std::uint32_t> numbers = readers.back()->receive();
        return std::find(numbers.begin(), numbers.end(), 2U) != numbers.end();
    }));
}

TEST_CASE("shm: packets of every length arrive once while the memory is short")
{
    ShmPair two;
    const std::uint64_t before = two.a.by_memory();
    for (const std::size_t length : {std::size_t{4}, std::size_t{240}, std::size_t{241}, std::size_t{8192},
                                     std::size_t{8193}, std::size_t{65507}}) {
        CHECK(two.stream(1, 400, length));
    }
    CHECK(two.a.by_memory() > before);
}
