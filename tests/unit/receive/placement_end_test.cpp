// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages whose bytes lie with a sender on the same host, and what becomes of messages when their
// connection ends.
#include <cstring>
#include <map>

#include "unit/receive/placement_world.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using Stage = RxMessage::Stage;
using World = PlacementWorld;

/// The memory of the sender's process, which is ours.
struct FakeMemory final : ProcessMemory {
    std::uint32_t epoch() const noexcept override { return 1; }
    Read read(RouteId, std::uint32_t of, std::span<const iovec> from,
              std::span<const iovec> into) noexcept override
    {
        ++reads;
        epoch_read = of;
        if (answer == Read::done) {
            std::memcpy(into[0].iov_base, from[0].iov_base, into[0].iov_len);
        }
        return answer;
    }
    Read answer = Read::done;
    unsigned reads = 0;
    std::uint32_t epoch_read = 0;
};

struct NoBytes final : RemoteBytes {
    bool fetch(std::uint32_t, std::span<const iovec>) noexcept override { return false; }
};

IoCaps caps_with(FakeMemory& memory)
{
    IoCaps caps = parts_caps();
    caps.memory = &memory;
    return caps;
}

Bytes source = filler(3000);
const iovec place[1] = {{source.data(), source.size()}};

} // namespace

TEST_CASE("Placement: a message of this host is read where it lies, and its sender told")
{
    FakeMemory memory;
    World world(caps_with(memory));
    world.peer(world.a).route.set_same_host(true);
    for (const bool parked : {false, true}) {
        world.take(world.a, request(parked ? 1 : 0, 3000, place));
        const MessageId id = parked ? MessageId{world.park()} : current_message;
        REQUIRE(world.accept(id, 3000) == Status::ok);
        CHECK(world.outcome == Accepted::complete);
        CHECK(world.buffer == source);
        CHECK(memory.epoch_read == 3);
        const std::uint32_t record = world.receiver(world.a).first_control();
        REQUIRE(record != no_index);
        CHECK(world.message(record).delivered_due);
        CHECK_FALSE(world.message(record).grant_due);
        world.receiver(world.a).settle(world.shared.incoming, record);
        world.placement.release(record);
    }
    CHECK(memory.reads == 2);
}

TEST_CASE("Placement: what cannot be read is granted; who forbids it once is not asked again")
{
    FakeMemory memory;
    World world(caps_with(memory));
    world.peer(world.a).route.set_same_host(true);
    const auto one = [&](std::uint64_t total) {
        world.take(world.a, request(world.receiver(world.a).message_next(), total, place));
        REQUIRE(world.accept(current_message, total) == Status::ok);
        CHECK(world.outcome == Accepted::pending);
        return memory.reads;
    };
    CHECK(one(2999) == 0); // the place is not the message's
    memory.answer = ProcessMemory::Read::changed;
    CHECK(one(3000) == 1);
    CHECK(world.message(world.first_record()).limit != 0);
    memory.answer = ProcessMemory::Read::forbidden;
    CHECK(one(3000) == 2);
    memory.answer = ProcessMemory::Read::done;
    CHECK(one(3000) == 2);
    world.peer(world.a).connection.unreadable = false;
    world.peer(world.a).route.set_same_host(false);
    CHECK(one(3000) == 2);
}

TEST_CASE("Placement: a packet whose bytes cannot be had counts as lost, and comes again")
{
    NoBytes none;
    World world;
    world.take(world.a, request(0, 3000));
    REQUIRE(world.accept(current_message, 3000) == Status::ok);
    const std::uint32_t record = world.first_record();
    Bytes head = data(0, record, 3000, 0, 1000);
    head.resize(sizeof(wire::DataFrame));
    world.open(world.a, head, &none, 1000);
    CHECK(world.step() == FrameResult::lost);
    CHECK(world.message(record).received == 0);
    world.check();
    CHECK(world.take(world.a, data(0, record, 3000, 0, 1000)) == FrameResult::next);
    CHECK(world.message(record).received == 1000);
}

TEST_CASE("Placement: a parked large message gives no bytes to a smaller one's grants")
{
    World world;
    world.take(world.a, request(0, 10000));
    const std::uint32_t parked = world.park();
    CHECK(world.message(parked).limit == 0);
    CHECK_FALSE(world.shared.grants.any_wanted());
    REQUIRE(world.accept(MessageId{parked}, 10000) == Status::ok);
    CHECK(world.message(parked).limit == 8000);
}

TEST_CASE("Placement: the end of a connection: what is complete stays, the rest is reported or forgotten")
{
    World world;
    std::map<std::uint64_t, std::uint32_t> record; // by length
    const auto parked = [&](const Bytes& packet) {
        world.take(world.a, packet);
        record[world.event.length] = world.park();
    };
    parked(eager(0, 100));
    parked(eager(1, 101, 0, 30));
    parked(request(2, 102));
    world.take(world.a, eager(3, 103, 0, 30));
    REQUIRE(world.accept(current_message, 103) == Status::ok); // receiving
    world.take(world.a, request(4, 104));
    REQUIRE(world.accept(current_message, 104) == Status::ok); // receiving, granted
    world.take(world.a, eager(5, 105, 0, 105, 7));
    REQUIRE(world.accept(current_message, 105) == Status::ok); // its delivered frame is owed
    world.take(world.a, eager(6, 106, 0, 30));
    const std::uint32_t discarded = world.park();
    world.placement.discard(MessageId{discarded});
    world.take(world.a, eager(9, 107)); // held
    CHECK(world.records(world.a) == 8);
    world.check();

    world.lifecycle.fail(world.a, Cause::stopped_answering, world.now);
    CHECK(world.receiver(world.a).message_next() == 0);
    CHECK_FALSE(world.receiver(world.a).any_control());
    CHECK(world.shared.incoming.held_messages() == 0);
    world.check();
    std::map<std::uint64_t, Event::Kind> events;
    while (world.placement.poll_done(world.event)) {
        CHECK(world.event.cause == Cause::stopped_answering);
        events[world.event.length] = world.event.kind;
    }
    CHECK(events.size() == 4);
    CHECK(events[101] == Event::Kind::message_lost);
    CHECK(events[102] == Event::Kind::message_lost);
    CHECK(events[103] == Event::Kind::receive_done);
    CHECK(events[104] == Event::Kind::receive_done);
    CHECK(world.records(world.a) == 1);
    REQUIRE(world.accept(MessageId{record[100]}, 100) == Status::ok);
    CHECK(world.buffer == filler(100));
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("Placement: a completion found before the end is reported as it was, once")
{
    World world;
    world.take(world.a, eager(0, 100, 0, 30));
    REQUIRE(world.accept(current_message, 100) == Status::ok);
    world.take(world.a, eager(0, 100, 30, 70));
    world.lifecycle.fail(world.a, Cause::restarted, world.now);
    REQUIRE(world.placement.poll_done(world.event));
    CHECK(world.event.cause == Cause::none);
    CHECK_FALSE(world.placement.poll_done(world.event));
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("Placement: the end of a connection ends its refusing, and others get what it was granted")
{
    World world;
    const std::uint32_t b = world.meet(1);
    world.take(world.a, request(0, 50000));
    REQUIRE(world.accept(current_message, 100) == Status::ok);
    world.take(world.a, eager(1, 10));
    world.placement.refuse(current_message);
    world.take(b, request(0, 50000));
    REQUIRE(world.accept(current_message, 100) == Status::ok);
    CHECK(world.message(world.peer(b).incoming.front()).limit == 0);
    CHECK(world.shared.refusing_peers == 1);
    world.lifecycle.fail(world.a, Cause::closed, world.now);
    CHECK(world.shared.refusing_peers == 0);
    CHECK(world.message(world.peer(b).incoming.front()).limit == 8000);
    REQUIRE(world.placement.poll_done(world.event));
}
