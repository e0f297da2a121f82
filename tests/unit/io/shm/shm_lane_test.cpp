// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The two ends of a lane: messages of every length in order, what is full and what is free again, what the
// writer learns of its reader, and what a faulty writer cannot do.
#include <array>
#include <deque>
#include <functional>
#include <optional>
#include <random>

#include "io/shm/shm_lane.hpp"
#include "io/shm/shm_segment.hpp"
#include "support/alloc_guard.hpp"
#include "support/catch.hpp"
#include "support/io/shm_segments.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// A lane with both ends mapped, as in two processes.
struct Lane {
    Lane()
    {
        std::uint32_t ring = 0;
        REQUIRE(segment.add_ring(ring));
        const ShmToken token = segment.header().identity.token;
        ShmLaneMapping own;
        REQUIRE(own.map(token, ring));
        writer.emplace(std::move(own), *segment.mapping(), ring);
        writer->offer();
        open_reader();
    }
    void open_reader()
    {
        ShmLaneMapping theirs;
        REQUIRE(theirs.map(segment.header().identity.token, 0));
        reader = ShmLaneReader(std::move(theirs), *segment.mapping(), 0);
    }

    LocalRoad::Sent send(std::uint32_t sequence, std::vector<std::byte> bytes = {},
                         std::uint32_t connection = 7)
    {
        const iovec piece{bytes.data(), bytes.size()};
        const LocalMessage message{.connection = connection,
                                   .sequence = sequence,
                                   .tag = sequence * 3ULL,
                                   .data = sequence * 5ULL,
                                   .tagged = sequence % 2 == 0,
                                   .has_data = sequence % 3 == 0};
        return writer->send(message, std::span(&piece, 1), static_cast<std::uint32_t>(bytes.size()));
    }
    /// The next message is `sequence`, with these bytes.
    void expect(std::uint32_t sequence, const std::vector<std::byte>& bytes = {})
    {
        REQUIRE(reader.ready());
        LocalRoad::Arrived message;
        REQUIRE(reader.read(message));
        CHECK(message.sequence == sequence);
        CHECK(message.tag == sequence * 3ULL);
        CHECK(message.data == sequence * 5ULL);
        CHECK(message.tagged == (sequence % 2 == 0));
        CHECK(message.has_data == (sequence % 3 == 0));
        CHECK(std::equal(bytes.begin(), bytes.end(), message.payload.begin(), message.payload.end()));
        reader.pop();
    }
    ShmLaneEntry& entry(std::uint32_t number)
    {
        ShmLaneMapping again;
        REQUIRE(again.map(segment.header().identity.token, 0));
        kept.push_back(std::move(again));
        return kept.back().lane().entries[number % shm_lane_entries];
    }

    OpenSegment segment;
    std::optional<ShmLaneWriter> writer;
    ShmLaneReader reader;
    std::deque<ShmLaneMapping> kept;
};

/// A writer of packets and messages, whose messages are empty.
struct LaneWriter : RingWriter {
    LaneWriter()
    {
        ShmLaneMapping own;
        REQUIRE(own.map(segment.header().identity.token, sender.ring()));
        lane.emplace(std::move(own), *segment.mapping(), sender.ring());
        lane->offer();
    }
    bool write(std::uint32_t sequence)
    {
        return lane->send({.connection = 7, .sequence = sequence}, {}, 0) == LocalRoad::Sent::done;
    }
    std::optional<ShmLaneWriter> lane;
};

std::vector<std::byte> bytes_of(std::uint32_t sequence, std::size_t length)
{
    std::vector<std::byte> bytes(length);
    std::mt19937 random(sequence);
    for (std::byte& byte : bytes) {
        byte = static_cast<std::byte>(random());
    }
    return bytes;
}

} // namespace

TEST_CASE("shm lane: messages of every length come in order, unchanged, over many laps")
{
    Lane lane;
    std::mt19937 random(1);
    std::deque<std::pair<std::uint32_t, std::size_t>> under_way;
    std::uint32_t next = 0;
    while (next < 5000) {
        const std::size_t length =
            random() % 4 == 0 ? random() % (LocalRoad::max_message + 1) : random() % 200;
        if (lane.send(next, bytes_of(next, length)) == LocalRoad::Sent::done) {
            under_way.emplace_back(next++, length);
        }
        for (std::size_t i = random() % 4; i > 0 && !under_way.empty(); --i) {
            lane.expect(under_way.front().first, bytes_of(under_way.front().first, under_way.front().second));
            under_way.pop_front();
        }
    }
    for (const auto& [sequence, length] : under_way) {
        lane.expect(sequence, bytes_of(sequence, length));
    }
    CHECK_FALSE(lane.reader.ready());
    CHECK(lane.writer->all_taken());
}

TEST_CASE("shm lane: it is full after so many messages or bytes, and one that was taken makes room")
{
    const std::size_t length = GENERATE(std::size_t{0}, std::size_t{LocalRoad::max_message});
    Lane lane;
    std::uint32_t sent = 0;
    while (lane.send(sent, bytes_of(sent, length)) == LocalRoad::Sent::done) {
        ++sent;
    }
    CHECK(sent == (length == 0 ? shm_lane_entries : shm_lane_lines / shm_lines_of(LocalRoad::max_message)));
    lane.expect(0, bytes_of(0, length));
    CHECK(lane.send(sent, bytes_of(sent, length)) == LocalRoad::Sent::done);
    CHECK(lane.send(sent + 1, bytes_of(0, length)) == LocalRoad::Sent::full);
}

TEST_CASE("shm lane: a reader that does not read for long is taken not to run, until it reads")
{
    Lane lane;
    std::uint32_t sent = 0;
    while (lane.send(sent) == LocalRoad::Sent::done) {
        ++sent;
    }
    LocalRoad::Sent last = LocalRoad::Sent::full;
    for (int i = 0; i < 10000 && last == LocalRoad::Sent::full; ++i) {
        last = lane.send(sent);
    }
    CHECK(last == LocalRoad::Sent::closed);
    lane.expect(0);
    CHECK(lane.send(sent) == LocalRoad::Sent::done);
    CHECK(lane.send(sent + 1) == LocalRoad::Sent::full); // with all patience again
}

TEST_CASE("shm lane: the writer learns what was taken, of this connection only")
{
    Lane lane;
    CHECK(lane.writer->taken(7, 42) == 42); // nothing was
    REQUIRE(lane.send(100) == LocalRoad::Sent::done);
    REQUIRE(lane.send(103) == LocalRoad::Sent::done); // those between took another way
    CHECK(lane.writer->taken(7, 42) == 42);
    CHECK(lane.writer->stalled() == false); // for the first time
    CHECK(lane.writer->stalled());
    lane.expect(100);
    CHECK(lane.writer->taken(7, 42) == 101);
    CHECK_FALSE(lane.writer->stalled()); // it moves
    REQUIRE(lane.send(5, {}, 8) == LocalRoad::Sent::done);
    lane.expect(103);
    CHECK(lane.writer->taken(7, 42) == 42);
    CHECK(lane.writer->taken(8, 42) == 42); // what was taken is a predecessor's
    CHECK_FALSE(lane.writer->all_taken());
    lane.expect(5);
    CHECK(lane.writer->taken(8, 42) == 6);
    CHECK(lane.writer->all_taken());
}

TEST_CASE("shm lane: what the reader rejects was not delivered, and no more of its connection is written")
{
    Lane lane;
    REQUIRE(lane.send(4) == LocalRoad::Sent::done);
    lane.reader.reject(7);
    CHECK(lane.writer->all_taken());
    CHECK(lane.writer->taken(7, 4) == 4);
    CHECK(lane.send(5) == LocalRoad::Sent::closed);
    CHECK(lane.send(0, {}, 8) == LocalRoad::Sent::done);
    lane.expect(0);
    CHECK(lane.writer->taken(8, 0) == 1);
}

TEST_CASE("shm lane: the next reader begins with what is written for it")
{
    Lane lane;
    for (std::uint32_t i = 0; i < 70; ++i) {
        REQUIRE(lane.send(i, bytes_of(i, 100)) == LocalRoad::Sent::done);
        if (i < 60) {
            lane.expect(i, bytes_of(i, 100));
        }
    }
    lane.writer->abandon(); // the reader has gone
    CHECK(lane.writer->all_taken());
    lane.writer->offer();
    lane.open_reader();
    CHECK_FALSE(lane.reader.ready());
    REQUIRE(lane.send(70, bytes_of(70, 1000)) == LocalRoad::Sent::done);
    lane.expect(70, bytes_of(70, 1000));
}

TEST_CASE("shm lane: a description that leaves the lane is refused, and a head that cannot be is ignored")
{
    Lane lane;
    REQUIRE(lane.send(0, bytes_of(0, 100)) == LocalRoad::Sent::done);
    ShmLaneEntry& entry = lane.entry(0);
    LocalRoad::Arrived message;
    entry.line = shm_lane_lines;
    CHECK_FALSE(lane.reader.read(message));
    entry.line = shm_lane_lines - 1; // it would end behind the last line
    CHECK_FALSE(lane.reader.read(message));
    lane.reader.prefetch();
    entry.line = 0;
    entry.length = ShmLaneEntry::has_data - 1;
    CHECK_FALSE(lane.reader.read(message));
    lane.reader.prefetch();
    entry.length = 33;
    CHECK(lane.reader.read(message));
    lane.segment.mapping()->control(0).lane_head.store(5); // of one message
    CHECK_FALSE(lane.writer->all_taken());
    while (lane.send(1) == LocalRoad::Sent::done) {
    }
    CHECK(lane.send(1) == LocalRoad::Sent::full);
}

// -- Between others -----------------------------------------------------------------

TEST_CASE("shm lane: a writer that is as fast as its reader does not keep it from everything else")
{
    RingReader reader;
    LaneWriter fast;
    LaneWriter other;
    for (LaneWriter* const writer : {&other, &fast}) { // the last one found is read first
        reader.open(*writer);
        REQUIRE(writer->write(0));
        reader.ring(*writer);
    }
    std::uint32_t written = 1;
    for (int look = 0; look < 2; ++look) {
        std::uint32_t taken = 0;
        CHECK(reader.look().empty());
        while (reader.receiver.front_message() != nullptr && taken < 1000) {
            reader.receiver.pop_message();
            ++taken;
            REQUIRE(fast.write(written++));
        }
        CHECK(taken == shm_lane_entries + (look == 0 ? 1U : 0U)); // and the one of the other
    }
    CHECK(other.lane->all_taken());
}

TEST_CASE("shm lane: a message is new once, however often it has to wait")
{
    RingReader reader;
    LaneWriter writer;
    reader.open(writer);
    REQUIRE(writer.write(0));
    REQUIRE(writer.write(1));
    reader.ring(writer);
    for (int look = 0; look < 3; ++look) {
        CHECK(reader.look().empty());
        const LocalRoad::Arrived* const message = reader.receiver.front_message();
        REQUIRE(message != nullptr);
        CHECK(message->sequence == 0);
        CHECK(message->is_new == (look == 0));
        look < 2 ? reader.receiver.pass_over() : reader.receiver.pop_message();
    }
    const LocalRoad::Arrived* const next = reader.receiver.front_message();
    REQUIRE(next != nullptr);
    CHECK(next->sequence == 1);
    CHECK(next->is_new);
}

TEST_CASE(
    "shm lane: a message that a faulty writer takes back is not looked for where nobody writes any more")
{
    RingReader reader;
    std::array<LaneWriter, 2> faulty;
    LaneWriter other;
    for (LaneWriter& writer : faulty) {
        reader.open(writer);
        REQUIRE(writer.write(0));
        reader.ring(writer);
    }
    CHECK(reader.look().empty());
    REQUIRE(reader.receiver.any_message());
    for (LaneWriter& writer : faulty) {
        ShmLaneMapping again;
        REQUIRE(again.map(writer.segment.header().identity.token, writer.sender.ring()));
        again.lane().entries[0].turn = 0;
        writer.segment.header().closed = 1;
    }
    reader.open(other); // in the same burst, before the messages are taken: closes what is over
    CHECK(reader.receiver.front_message() == nullptr);
}

TEST_CASE("shm lane: one that is watched, and was rung, is found without new memory")
{
    RingReader reader;
    LaneWriter writer;
    reader.open(writer);
    reader.ring(writer);
    CHECK(reader.look().empty()); // from now on it is watched
    REQUIRE(writer.write(0));
    reader.ring(writer);
    std::array<RxPacket, 4> packets;
    const auto before = sim::allocation_violations();
    {
        const sim::AllocationBan ban;
        CHECK(reader.receiver.receive(packets, Time{}) == 0);
    }
    CHECK(sim::allocation_violations() == before);
    REQUIRE(reader.receiver.front_message() != nullptr);
    reader.receiver.pop_message();
    CHECK(reader.receiver.front_message() == nullptr);
    CHECK(writer.lane->all_taken());
}

TEST_CASE("shm lane: a message that has to wait keeps nobody awake, watched or not")
{
    RingReader reader;
    std::array<LaneWriter, 9> writers; // one more than are watched
    for (LaneWriter& writer : writers) {
        reader.open(writer);
        reader.ring(writer);
    }
    CHECK(reader.look().empty());
    for (LaneWriter& writer : {std::ref(writers.front()), std::ref(writers.back())}) {
        REQUIRE(writer.write(0));
        reader.ring(writer);
        CHECK(reader.receiver.waiting());
        CHECK(reader.look().empty());
        REQUIRE(reader.receiver.front_message() != nullptr);
        reader.receiver.pass_over();
        while (reader.receiver.front_message() != nullptr) {
            reader.receiver.pass_over();
        }
        CHECK_FALSE(reader.receiver.waiting());
        CHECK(reader.receiver.any_passed_over()); // but for a look now and then
    }
    REQUIRE(writers.back().push(1));
    CHECK(reader.receiver.waiting());
    CHECK(reader.look() == std::vector<std::int64_t>{1});
}
