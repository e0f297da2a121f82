// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The two ends of a ring and the pool, one step at a time: what belongs to the writer, what to the reader,
// and who is looked at.
#include <cstring>
#include <deque>
#include <numeric>
#include <random>

#include <sys/stat.h>

#include "io/shm/shm_ring.hpp"
#include "io/shm/shm_segment.hpp"
#include "support/catch.hpp"
#include "support/io/shm_segments.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// Looks after which a ring that was last heard at the first one is watched no more.
constexpr std::uint32_t looks_until_unwatched = 2U << 14U;

using Numbers = std::vector<std::int64_t>;

} // namespace

// -- Memory -----------------------------------------------------------------------

TEST_CASE("shm segment: rings have memory of their own, and there are so many of them")
{
    OpenSegment segment;
    std::uint32_t ring = 0;
    for (std::uint32_t i = 0; i < shm_rings; ++i) {
        REQUIRE(segment.add_ring(ring));
        REQUIRE(ring == i);
    }
    errno = 0;
    CHECK_FALSE(segment.add_ring(ring));
    CHECK(errno == ENOSPC);
    CHECK(reinterpret_cast<std::byte*>(segment.mapping()->entries(ring) + shm_ring_entries) <=
          segment.mapping()->block(0));
}

TEST_CASE("shm segment: what it takes of /dev/shm is what the documents say")
{
    OpenSegment segment;
    const auto kib = [path = path_of(segment.header().identity.token)] {
        struct stat status {};
        REQUIRE(::stat(path.c_str(), &status) == 0);
        return status.st_blocks / 2;
    };
    constexpr int peers = 100;
    std::uint32_t ring = 0;
    for (int i = 0; i < peers; ++i) {
        REQUIRE(segment.add_ring(ring));
        std::memset(static_cast<void*>(segment.mapping()->entries(ring)), 0,
                    shm_ring_entries * sizeof(ShmEntry));
    }
    std::memset(segment.mapping()->block(0), 0, std::size_t{shm_blocks} * shm_block_size);
    CHECK(kib() <= 520 + 4 * (peers / 32) + 24 * peers);
    CHECK(kib() > 24 * peers);
}

TEST_CASE("shm segment: its name goes with it, whatever a peer has written into it")
{
    ShmToken token{};
    {
        OpenSegment segment;
        token = segment.header().identity.token;
        REQUIRE(open_shm_segment(token) != nullptr);
        segment.header().identity.token.fill(1);
    }
    // As nothing is there, and not because what is there says another name.
    errno = 0;
    CHECK(open_shm_segment(token) == nullptr);
    CHECK(errno == ENOENT);
}

TEST_CASE(
    "shm segment: when /dev/shm is full there is no further ring, and those there are can be written to")
{
    if (skip_unless_root()) {
        return;
    }
    CHECK(with_own_shm("size=700k", [] {
              OpenSegment segment;
              std::uint32_t ring = 0;
              std::uint32_t rings = 0;
              for (; segment.add_ring(ring); ++rings) {
                  for (std::uint32_t i = 0; i < shm_ring_entries; ++i) {
                      segment.mapping()->entries(ring)[i].bytes.fill(std::byte{1});
                  }
                  segment.mapping()->control(ring).head.store(1);
              }
              return errno == ENOSPC && rings > 0 && rings < shm_rings ? 0 : 2;
          }) == 0);
}

// -- What belongs to whom ---------------------------------------------------------

TEST_CASE("shm ring: an entry is the reader's until it gives it back, and so are the blocks")
{
    RingWriter writer;
    RingReader reader;
    reader.open(writer);
    writer.fill();
    CHECK_FALSE(writer.push(99));
    reader.ring(writer);
    CHECK(reader.hold().size() == shm_ring_entries);
    CHECK_FALSE(writer.push(99)); // they are still looked at
    reader.receiver.release();
    CHECK(writer.push(99));
    CHECK(reader.look() == Numbers{99});

    std::uint32_t held = 0;
    while (writer.push(held, 60000)) {
        ++held;
    }
    REQUIRE(held > 2);
    reader.ring(writer);
    CHECK(reader.hold().size() == held);
    CHECK_FALSE(writer.push(99, 60000));
    reader.receiver.release();
    CHECK(writer.push(99, 60000));
}

TEST_CASE("shm ring: a head outside what was written frees no entry")
{
    RingWriter writer;
    RingReader reader;
    reader.open(writer);
    writer.fill();
    for (const std::uint32_t head : {shm_ring_entries + 1, 1000U, 0x80000000U, 0xfffffff0U, 0xffffffffU}) {
        writer.control().head.store(head);
        CHECK_FALSE(writer.push(99));
    }
    reader.ring(writer);
    Numbers expected(shm_ring_entries);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(reader.look() == expected);
}

TEST_CASE("shm ring: what was abandoned is free again")
{
    RingWriter writer;
    writer.fill(2000);
    REQUIRE_FALSE(writer.push(99));
    writer.sender.abandon();
    RingReader reader;
    reader.open(writer);
    REQUIRE(writer.push(100));
    reader.ring(writer);
    CHECK(reader.look() == Numbers{100});
}

TEST_CASE("shm pool: no block is in two packets, none is free before its packet has been read")
{
    std::array<ShmControl, 4> rings{};
    struct Packet {
        std::uint32_t number;
        std::uint32_t first;
        std::uint32_t count;
    };
    std::array<std::deque<Packet>, 4> unread;
    std::array<std::uint32_t, 4> tails{0, 0xfffffff0U, 0x7ffffff0U, 5};
    std::array<bool, shm_blocks> used{};
    for (std::size_t i = 0; i < rings.size(); ++i) {
        rings[i].head = tails[i];
    }
    ShmPool pool;
    std::mt19937 random(1);
    unsigned allotted = 0;
    for (int step = 0; step < 20000; ++step) {
        const std::size_t at = random() % rings.size();
        if (random() % 5 < 2 && !unread[at].empty()) {
            const Packet packet = unread[at].front();
            unread[at].pop_front();
            std::fill_n(used.begin() + packet.first, packet.count, false);
            rings[at].head = packet.number + 1;
            continue;
        }
        const std::uint32_t count = 1 + random() % 8;
        const std::uint32_t first = pool.alloc(count, rings[at], tails[at]);
        if (first != shm_no_block) {
            REQUIRE(first + count <= shm_blocks);
            for (std::uint32_t block = first; block < first + count; ++block) {
                REQUIRE_FALSE(used[block]);
                used[block] = true;
            }
            unread[at].push_back({tails[at]++, first, count});
            ++allotted;
        }
    }
    CHECK(allotted > 5000);
}

TEST_CASE("shm pool: one reader that does not read leaves something to others")
{
    RingWriter writer;
    while (writer.push(1, 60000)) {
    }
    ShmSender other = writer.add();
    CHECK(RingWriter::push(other, 2, 60000));
    ShmSender third = writer.add();
    CHECK(RingWriter::push(third, 2, 8192));
}

TEST_CASE("shm ring: a reader that gives nothing back is waited for a while, then not any more")
{
    RingWriter writer;
    RingReader reader;
    reader.open(writer);
    while (writer.push(1)) {
    }
    CHECK_FALSE(writer.sender.stuck()); // it may be busy
    for (int i = 0; i < 1000 && !writer.sender.stuck(); ++i) {
        CHECK_FALSE(writer.push(1));
    }
    CHECK(writer.sender.stuck());
    reader.ring(writer);
    reader.look();
    CHECK(writer.push(1));
    CHECK_FALSE(writer.sender.stuck());
    // Who has read everything is not waited for if others hold the pool.
    reader.look();
    std::deque<ShmSender> others;
    for (std::uint32_t length = 60000; length >= 8192; length -= 4096) {
        others.push_back(writer.add());
        while (RingWriter::push(others.back(), 1, length)) {
        }
    }
    REQUIRE_FALSE(writer.push(1, 8192));
    CHECK(writer.sender.stuck());
}

// -- Who is looked at ---------------------------------------------------------------

TEST_CASE("shm ring: a packet that is written when its ring is about to be watched no more is heard")
{
    for (const bool at_the_end : {false, true}) {
        RingWriter writer;
        RingReader reader;
        reader.open(writer);
        REQUIRE(writer.push(1));
        reader.ring(writer);
        REQUIRE(reader.look() == Numbers{1});
        for (std::uint32_t look = 2; look < looks_until_unwatched; ++look) {
            REQUIRE(reader.look().empty());
        }
        REQUIRE(writer.control().watched == 1); // so the writer rings no doorbell
        if (at_the_end) {
            REQUIRE(writer.push(2));
        }
        Numbers numbers = reader.look();
        CHECK(writer.control().watched == (numbers.empty() ? 0 : 1));
        if (numbers.empty()) {
            numbers = reader.look();
        }
        CHECK(numbers == (at_the_end ? Numbers{2} : Numbers{}));
    }
}

TEST_CASE("shm ring: what does not fit one look comes with the next, whether its ring is watched or not")
{
    std::deque<RingWriter> writers(12); // more than are watched
    RingReader reader;
    for (RingWriter& writer : writers) {
        reader.open(writer);
        REQUIRE(writer.push(1));
        reader.ring(writer);
    }
    REQUIRE(reader.look().size() == writers.size());
    for (RingWriter& writer : writers) {
        for (std::uint32_t number = 2; number < 6; ++number) {
            REQUIRE(writer.push(number));
        }
        if (writer.control().watched == 0) {
            reader.ring(writer);
        }
    }
    std::size_t heard = 0;
    for (std::size_t i = 0; i < 4 * writers.size(); ++i) {
        CHECK(reader.receiver.waiting());
        heard += reader.look(1).size();
    }
    CHECK(heard == 4 * writers.size());
    CHECK_FALSE(reader.receiver.waiting());
}

TEST_CASE("shm ring: whoever goes to sleep sees what is there, watched or rung")
{
    std::deque<RingWriter> writers(9);
    RingReader reader;
    for (RingWriter& writer : writers) {
        reader.open(writer);
        REQUIRE(writer.push(1));
        reader.ring(writer);
    }
    reader.look();
    REQUIRE_FALSE(reader.receiver.waiting());
    for (RingWriter& writer : writers) {
        REQUIRE(writer.push(2));
        if (writer.control().watched == 0) {
            reader.ring(writer);
        }
        CHECK(reader.receiver.waiting());
        CHECK(reader.look() == Numbers{2});
    }
}

// -- Endings ------------------------------------------------------------------------

TEST_CASE("shm ring: rings of who has gone are read to their end, and then closed")
{
    const bool closed = GENERATE(false, true);
    RingReader reader;
    auto gone = std::make_unique<RingWriter>();
    RingWriter stays;
    reader.open(*gone, RouteId{1});
    reader.open(stays, RouteId{2});
    for (RingWriter* const writer : {gone.get(), &stays}) {
        REQUIRE(writer->push(1));
        REQUIRE(writer->push(2));
        reader.ring(*writer);
    }
    REQUIRE(reader.hold(1) == Numbers{1});
    const std::weak_ptr<ShmMapping> segment = gone->seen;
    reader.receiver.orphan(RouteId{1}, stays.seen.get());
    if (closed) {
        gone.reset();
    } else {
        gone->seen.reset();
    }
    const auto come = [&] { // somebody new: what is over is closed
        RingWriter writer;
        reader.open(writer, RouteId{3});
    };
    come();
    CHECK_FALSE(segment.expired()); // packets of it are held, or wait
    reader.receiver.release();
    come();
    CHECK_FALSE(segment.expired());
    CHECK(reader.hold() == Numbers{2, 1, 2});
    come();
    CHECK_FALSE(segment.expired());
    reader.receiver.release();
    come();
    CHECK(segment.expired());
    REQUIRE(stays.push(3));
    if (stays.control().watched == 0) {
        reader.ring(stays);
    }
    CHECK(reader.look() == Numbers{3});
}

TEST_CASE("shm ring: rings of who has gone are closed without anybody new")
{
    RingReader reader;
    RingWriter orphan;
    RingWriter spared;
    auto closes = std::make_unique<RingWriter>();
    for (RingWriter* const writer : {&orphan, &spared, closes.get()}) {
        reader.open(*writer);
        REQUIRE(writer->push(1));
        reader.ring(*writer);
    }
    REQUIRE(reader.look().size() == 3);
    const std::array<std::weak_ptr<ShmMapping>, 3> segments{orphan.seen, spared.seen, closes->seen};
    reader.receiver.orphan(RouteId{1}, spared.seen.get());
    closes.reset();
    orphan.seen.reset();
    for (std::uint32_t i = 0; i < looks_until_unwatched; ++i) {
        REQUIRE(reader.look().empty());
    }
    CHECK(segments[0].expired());
    CHECK_FALSE(segments[1].expired());
    CHECK(segments[2].expired());
    CHECK_FALSE(reader.receiver.empty());
    CHECK(spared.push(2));
    reader.ring(spared);
    CHECK(reader.look() == Numbers{2});
}

TEST_CASE("shm ring: the same ring twice is the same")
{
    RingReader reader;
    RingWriter writer;
    reader.open(writer);
    const std::uint32_t doorbell = writer.doorbell;
    REQUIRE(writer.push(1));
    reader.ring(writer);
    REQUIRE(reader.look() == Numbers{1});
    reader.open(writer); // the answer was lost, and the question came again
    CHECK(writer.doorbell == doorbell);
    REQUIRE(writer.push(2));
    reader.ring(writer);
    CHECK(reader.look() == Numbers{2});
    CHECK(reader.look().empty());
}

// -- Memory of the writer's process ---------------------------------------------------

TEST_CASE("shm ring: what turns out to be another process's memory is not taken, and copies come instead")
{
    RingReader reader;
    RingWriter writer;
    reader.open(writer);
    TestPacket made(1, 60000);
    TxPacket packet = made.to(RouteId{}, PathId{0});
    packet.iov_count = 2;
    packet.stable_from = 1;
    const iovec all = packet.iov[0];
    packet.iov[0] = {all.iov_base, 100};
    packet.iov[1] = {static_cast<std::byte*>(all.iov_base) + 100, 59900};
    const auto next = [&] {
        REQUIRE(writer.sender.push(packet));
        reader.ring(writer);
        std::array<RxPacket, 1> packets;
        REQUIRE(reader.receiver.receive(packets, Time{}) == 1);
        return packets[0];
    };
    std::vector<std::byte> got(59900);
    const iovec into{got.data(), got.size()};
    const RxPacket right = next();
    REQUIRE(right.remote != nullptr);
    CHECK(right.remote->fetch(right.mapping_id, {&into, 1}));
    reader.receiver.release();

    const RxPacket wrong = next();
    REQUIRE(wrong.remote != nullptr);
    const std::uint64_t not_the_secret = writer.segment.header().secret + 1;
    writer.segment.header().secret_at = reinterpret_cast<std::uintptr_t>(&not_the_secret);
    CHECK(writer.control().copy == 0);
    CHECK_FALSE(wrong.remote->fetch(wrong.mapping_id, {&into, 1}));
    CHECK(read_process(writer.segment.header(), 0, {&into, 1}, {&into, 1}) == ProcessMemory::Read::forbidden);
    CHECK(writer.control().copy == 1);
    reader.receiver.release();
    const RxPacket copied = next();
    CHECK(copied.remote == nullptr);
    CHECK(copied.length == 60000);
    CHECK(TestPacket::number_of(copied) == 1);
    reader.receiver.release();
    for (std::uint32_t number = 0; number < shm_ring_entries; ++number) { // each entry again, for a short one
        REQUIRE(writer.push(number));
        reader.ring(writer);
        REQUIRE(reader.look() == Numbers{number});
    }
}

TEST_CASE("shm ring: pieces that change after the packet was handed out lead nowhere else")
{
    RingReader reader;
    RingWriter writer;
    reader.open(writer);
    std::vector<std::byte> bytes(20000);
    TxPacket packet;
    packet.iov_count = 2;
    packet.stable_from = 1;
    packet.iov[0] = {bytes.data(), 100};
    packet.iov[1] = {bytes.data() + 100, 19900};
    packet.length = 20000;
    REQUIRE(writer.sender.push(packet));
    reader.ring(writer);
    std::array<RxPacket, 1> packets;
    REQUIRE(reader.receiver.receive(packets, Time{}) == 1);
    REQUIRE(packets[0].remote != nullptr);
    std::vector<std::byte> got(19900);
    const iovec into{got.data(), got.size()};
    ShmEntry& entry = writer.segment.mapping()->entries(writer.sender.ring())[0];
    for (const std::uint32_t count : {0U, 5U, 1000U, 0xffffffffU}) {
        entry.piece_count = count;
        packets[0].remote->fetch(packets[0].mapping_id, {&into, 1}); // whatever it gets
    }
    entry.piece_count = 1;
    entry.split.pieces[0].length = 19899;
    CHECK_FALSE(packets[0].remote->fetch(packets[0].mapping_id, {&into, 1}));
    reader.receiver.release();
}
