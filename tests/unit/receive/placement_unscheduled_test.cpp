// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages that are requested and begin without a grant: their first bytes come before a buffer is known, or
// before the request itself.
#include <array>
#include <cstring>

#include "unit/receive/placement_world.hpp"

using namespace srd;
using namespace srd::test;
using Stage = RxMessage::Stage;

namespace {

constexpr std::uint64_t total = 5000;
constexpr std::uint32_t unscheduled = 1000;

struct World : PlacementWorld {
    FrameResult asks(std::uint32_t sequence = 0)
    {
        return take(a, request_unscheduled(sequence, total, unscheduled));
    }
    FrameResult part(std::uint64_t offset, std::uint64_t length, std::uint32_t sequence = 0)
    {
        return take(a, unscheduled_part(sequence, total, unscheduled, offset, length));
    }
    FrameResult granted(std::uint32_t record, std::uint64_t offset, std::uint64_t length,
                        std::uint32_t sequence = 0)
    {
        return take(a, data(sequence, record, total, offset, length));
    }
    /// The message is accepted, and its grant goes out. Returns its record.
    std::uint32_t accepted(MessageId id)
    {
        REQUIRE(accept(id, total) == Status::ok);
        CHECK(outcome == Accepted::pending);
        const std::uint32_t record = receiver(a).first_control();
        REQUIRE(record != no_index);
        CHECK(message(record).grant_due);
        CHECK(message(record).limit == total);
        receiver(a).settle(shared.incoming, record);
        message(record).grant_due = false;
        check();
        return record;
    }
    /// The message has its buffer and is here, as it was sent.
    bool is_received()
    {
        return placement.poll_done(event) && event.kind == Event::Kind::receive_done &&
               event.cause == Cause::none && event.length == total && buffer == filler(total) &&
               records(a) == 0;
    }
};

} // namespace

TEST_CASE("Placement: unscheduled bytes come to the buffer, and the grant does not wait for them")
{
    World world;
    REQUIRE(world.asks() == FrameResult::event);
    CHECK(world.event.length == total);
    const std::uint32_t record = world.accepted(current_message);
    CHECK(world.part(400, 600) == FrameResult::next);
    CHECK(world.granted(record, unscheduled, total - unscheduled) == FrameResult::next); // overtakes
    CHECK_FALSE(world.placement.poll_done(world.event));
    CHECK(world.part(0, 400) == FrameResult::next);
    CHECK(world.is_received());
    CHECK(world.asks() == FrameResult::next); // echoes of the past
    CHECK(world.part(0, 400) == FrameResult::next);
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("Placement: an unscheduled part that overtakes the request announces the message")
{
    World world;
    REQUIRE(world.part(600, 400) == FrameResult::event);
    CHECK(world.event.length == total);
    const std::uint32_t record = world.accepted(current_message);
    CHECK(world.message(record).sender_handle == 9);
    CHECK(world.asks() == FrameResult::next);
    CHECK(world.records(world.a) == 1);
    CHECK(world.part(0, 600) == FrameResult::next);
    CHECK(world.granted(record, unscheduled, total - unscheduled) == FrameResult::next);
    CHECK(world.is_received());
}

TEST_CASE(
    "Placement: what of a parked message is unscheduled is kept, as much of it as is here goes to the buffer")
{
    for (const std::uint64_t before : {std::uint64_t{0}, std::uint64_t{400}, std::uint64_t{unscheduled}}) {
        World world;
        REQUIRE(world.asks() == FrameResult::event);
        const std::uint32_t record = world.park();
        world.check();
        if (before != 0) {
            CHECK(world.part(0, before) == FrameResult::next);
        }
        CHECK(world.granted(record, unscheduled, 10) == FrameResult::next); // which nobody has granted
        REQUIRE(world.accepted(MessageId{record}) == record);
        CHECK((world.message(record).chunk.index == no_index) == (before == unscheduled));
        CHECK(world.granted(record, unscheduled, total - unscheduled) == FrameResult::next);
        if (before != unscheduled) {
            CHECK_FALSE(world.placement.poll_done(world.event));
            CHECK(world.part(before, unscheduled - before) == FrameResult::next);
        }
        CHECK(world.is_received());
    }
}

TEST_CASE("Placement: a held message finds its unscheduled parts, before its turn and after")
{
    World world;
    CHECK(world.asks(1) == FrameResult::next);
    CHECK(world.part(0, 300, 1) == FrameResult::next);
    CHECK(world.part(300, 300, 2) == FrameResult::next); // another one, whose request is late
    CHECK(world.asks(2) == FrameResult::next);
    CHECK(world.records(world.a) == 2);
    world.check();
    world.take(world.a, eager(0, 100));
    REQUIRE(world.accept(current_message, 100) == Status::ok);
    for (const std::uint32_t sequence : {1U, 2U}) {
        REQUIRE(world.announce_held());
        const std::uint32_t record = world.accepted(world.event.message);
        if (sequence == 1) {
            CHECK(world.part(300, 700, sequence) == FrameResult::next);
        } else {
            CHECK(world.part(600, 400, sequence) == FrameResult::next);
            CHECK(world.part(0, 300, sequence) == FrameResult::next);
        }
        CHECK(world.granted(record, unscheduled, total - unscheduled, sequence) == FrameResult::next);
        REQUIRE(world.placement.poll_done(world.event));
        CHECK(world.buffer == filler(total));
    }
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("Placement: unscheduled parts that contradict each other are malformed")
{
    World world;
    REQUIRE(world.asks() == FrameResult::event);
    REQUIRE(world.accept(current_message, total) == Status::ok);
    CHECK(world.take(world.a, unscheduled_part(0, total, 999, 0, 10)) == FrameResult::malformed);
    CHECK(world.take(world.a, unscheduled_part(0, total + 1, unscheduled, 0, 10)) == FrameResult::malformed);
    CHECK(world.take(world.a, eager(0, total, 0, 10)) == FrameResult::malformed);

    World parked;
    REQUIRE(parked.asks() == FrameResult::event);
    parked.park();
    CHECK(parked.part(0, 600) == FrameResult::next);
    CHECK(parked.part(0, 600) == FrameResult::malformed); // more than there are
    CHECK(parked.part(600, 400) == FrameResult::next);
    CHECK(parked.part(0, 1) == FrameResult::malformed);
}

TEST_CASE("Placement: who finds no buffer is told to ask first, until buffers are found again")
{
    World world;
    const auto told = [&world] {
        std::array<std::byte, 200> out;
        world.receiver(world.a).write_ack(out.data(), out.size(), 0, world.now);
        wire::AckBlock block;
        std::memcpy(&block, out.data(), sizeof(block));
        return (block.flags & wire::ack_flag::no_unscheduled) != 0;
    };
    CHECK_FALSE(told());
    REQUIRE(world.asks() == FrameResult::event);
    const std::uint32_t record = world.park();
    CHECK(told());
    world.accepted(MessageId{record}); // which does not count: it was parked
    for (std::uint32_t sequence = 1; sequence <= 15; ++sequence) {
        CHECK(told());
        REQUIRE(world.asks(sequence) == FrameResult::event);
        REQUIRE(world.accept(current_message, total) == Status::ok);
    }
    CHECK_FALSE(told());
}

TEST_CASE("Placement: a message whose unscheduled bytes cannot be kept is refused, and taken when they can")
{
    World world;
    std::uint32_t sequence = 0;
    while (world.take(world.a, request_unscheduled(sequence, 100'000, 60'000)) == FrameResult::event) {
        MessageId id = world.event.message;
        if (world.placement.park(id) != Status::ok) {
            break;
        }
        ++sequence;
    }
    REQUIRE(sequence != 0);
    world.placement.refuse(world.event.message);
    CHECK(world.receiver(world.a).refusing());
    CHECK(world.records(world.a) == sequence);
    world.check();
}
