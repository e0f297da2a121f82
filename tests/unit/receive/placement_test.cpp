// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages from their first frame to their end, with the answers of a matching layer that is the test.
#include <vector>

#include "unit/receive/placement_world.hpp"

using namespace srd;
using namespace srd::test;
using Stage = RxMessage::Stage;
using World = PlacementWorld;

TEST_CASE("Placement: a whole message is announced, copied out of its packet, and leaves no record")
{
    World world;
    CHECK(world.take(world.a, eager(0, 100)) == FrameResult::event);
    CHECK(world.event.kind == Event::Kind::message);
    CHECK(world.event.message == current_message);
    CHECK(world.event.length == 100);
    CHECK(world.event.tag == 5);
    CHECK(world.event.data == 6);
    CHECK(world.accept(current_message, 100) == Status::ok);
    CHECK(world.outcome == Accepted::complete);
    CHECK(world.buffer == filler(100));
    CHECK(world.records(world.a) == 0);
    CHECK(world.receiver(world.a).message_next() == 1);
    CHECK(world.shared.reader.question() == PacketReader::Question::none);
    CHECK(world.take(world.a, eager(0, 100)) == FrameResult::next); // an echo of the past
    CHECK(world.take(world.a, eager(1, 100)) == FrameResult::event);
    CHECK(world.accept(current_message, 30) == Status::ok); // what does not fit is dropped
    const Bytes all = filler(100);
    CHECK(world.buffer == Bytes(all.begin(), all.begin() + 30));
}

TEST_CASE("Placement: a message in parts is announced with the first to come, and pends until the last")
{
    World world;
    CHECK(world.take(world.a, eager(0, 100, 60, 40)) == FrameResult::event);
    CHECK(world.event.length == 100);
    CHECK(world.accept(current_message, 100) == Status::ok);
    CHECK(world.outcome == Accepted::pending);
    CHECK(world.take(world.a, eager(0, 100, 0, 20)) == FrameResult::next);
    CHECK_FALSE(world.placement.poll_done(world.event));
    CHECK(world.take(world.a, eager(0, 101, 20, 40)) == FrameResult::malformed); // of another length
    CHECK(world.take(world.a, eager(0, 100, 0, 50)) == FrameResult::malformed);  // more than all
    CHECK(world.take(world.a, eager(0, 100, 20, 40)) == FrameResult::next);
    REQUIRE(world.placement.poll_done(world.event));
    CHECK(world.event.kind == Event::Kind::receive_done);
    CHECK(world.event.cause == Cause::none);
    CHECK(world.event.cookie == 42);
    CHECK(world.event.length == 100);
    CHECK(world.buffer == filler(100));
    CHECK(world.records(world.a) == 0);
    CHECK(world.take(world.a, eager(0, 100, 20, 40)) == FrameResult::next); // nothing new begins
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("Placement: whoever asks is told that its message is delivered, also when it came whole")
{
    World world;
    for (const std::uint64_t first : {100U, 40U}) {
        const auto sequence = world.receiver(world.a).message_next();
        world.take(world.a, eager(sequence, 100, 0, first, 7));
        REQUIRE(world.accept(current_message, 100) == Status::ok);
        if (first != 100) {
            CHECK_FALSE(world.receiver(world.a).any_control());
            world.take(world.a, eager(sequence, 100, 40, 60, 7));
            REQUIRE(world.placement.poll_done(world.event));
        }
        const std::uint32_t record = world.receiver(world.a).first_control();
        REQUIRE(record != no_index);
        CHECK(world.message(record).delivered_due);
        CHECK(world.message(record).sender_handle == 7);
        CHECK(world.message(record).stage == Stage::settling); // until the frame is out
        CHECK(world.shared.peers.any_active());
        world.receiver(world.a).settle(world.shared.incoming, record);
        world.placement.release(record);
    }
}

TEST_CASE("Placement: a parked message keeps its bytes until its receive is there")
{
    World world;
    world.take(world.a, eager(0, 100));
    const std::uint32_t whole = world.park();
    CHECK(world.message(whole).stage == Stage::parked);
    world.take(world.a, eager(1, 100, 0, 30));
    const std::uint32_t half = world.park();
    CHECK(world.count.rx_unexpected_messages.value() == 2);
    CHECK(world.receiver(world.a).message_next() == 2);
    REQUIRE(world.accept(MessageId{whole}, 100) == Status::ok);
    CHECK(world.outcome == Accepted::complete);
    CHECK(world.buffer == filler(100));

    REQUIRE(world.accept(MessageId{half}, 100) == Status::ok);
    CHECK(world.outcome == Accepted::pending);
    CHECK(world.take(world.a, eager(1, 100, 30, 70)) == FrameResult::next);
    REQUIRE(world.placement.poll_done(world.event));
    CHECK(world.buffer == filler(100));
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("Placement: the rest of a parked message comes before its receive")
{
    World world;
    world.take(world.a, eager(0, 100, 0, 30));
    const std::uint32_t record = world.park();
    world.take(world.a, eager(0, 100, 30, 70));
    CHECK_FALSE(world.placement.poll_done(world.event)); // nobody waits for it yet
    REQUIRE(world.accept(MessageId{record}, 100) == Status::ok);
    CHECK(world.outcome == Accepted::complete);
    CHECK(world.buffer == filler(100));
}

TEST_CASE("Placement: messages before their turn are held, and announced in it")
{
    World world;
    CHECK(world.take(world.a, eager(2, 50)) == FrameResult::next);
    CHECK(world.take(world.a, eager(2, 50)) == FrameResult::next); // another copy of the packet
    CHECK(world.take(world.a, request(1, 5000)) == FrameResult::next);
    CHECK(world.records(world.a) == 2);
    CHECK(world.receiver(world.a).held() == 2);
    CHECK(world.count.rx_reordered_messages.value() == 2);
    world.check();
    world.take(world.a, eager(0, 100));
    REQUIRE(world.accept(current_message, 100) == Status::ok);
    REQUIRE(world.shared.reader.turn_of() == world.a);
    REQUIRE(world.announce_held());
    CHECK(world.event.length == 5000);
    world.park();
    REQUIRE(world.shared.reader.turn_of() == world.a);
    REQUIRE(world.announce_held());
    CHECK(world.event.length == 50);
    REQUIRE(world.accept(world.event.message, 50) == Status::ok);
    CHECK(world.outcome == Accepted::complete);
    CHECK(world.buffer == filler(50));
    CHECK(world.receiver(world.a).held() == 0);
    CHECK(world.shared.reader.turn_of() == no_index);
}

TEST_CASE("Placement: what no window allows is malformed; what cannot be held is refused")
{
    World world;
    CHECK(world.take(world.a, eager(message_window, 0)) == FrameResult::next);
    CHECK(world.take(world.a, eager(message_window + 1, 0)) == FrameResult::malformed);
    std::uint32_t sequence = 1;
    FrameResult result = FrameResult::next;
    while (result == FrameResult::next) { // 1000 bytes take 2048
        result = world.take(world.a, eager(sequence++, 1000));
    }
    CHECK(result == FrameResult::refuse);
    CHECK(sequence == 2 + 16);                                           // half of 64 KiB
    CHECK(world.take(world.a, eager(sequence, 0)) == FrameResult::next); // it needs none
    CHECK(world.take(world.a, eager(0, 1000)) == FrameResult::event);    // whose turn it is is not kept out
    CHECK(world.park() != no_index);
}

TEST_CASE("Placement: what cannot be parked changes nothing, and is refused until memory is free")
{
    World world;
    std::vector<std::uint32_t> parked;
    MessageId id{};
    for (;;) {
        world.take(world.a, eager(world.receiver(world.a).message_next(), 1200));
        id = current_message;
        if (world.placement.park(id) != Status::ok) {
            break;
        }
        parked.push_back(static_cast<std::uint32_t>(index_of(id)));
    }
    CHECK(parked.size() == 17); // of 32: one peer has no more than what is left
    CHECK(world.records(world.a) == 17);
    CHECK(world.shared.reader.question() == PacketReader::Question::message);
    world.placement.refuse(current_message);
    CHECK_FALSE(world.shared.reader.is_open());
    CHECK(world.receiver(world.a).refusing());
    CHECK(world.receiver(world.a).message_next() == 17); // it is announced again
    CHECK(world.shared.refusing_peers == 1);
    CHECK(world.count.rx_refused_messages.value() == 1);
    world.check();
    const std::uint32_t b = world.meet(1); // which is not kept out
    std::uint32_t others = 0;
    for (;; ++others) {
        world.take(b, eager(world.receiver(b).message_next(), 1200));
        id = current_message;
        if (world.placement.park(id) != Status::ok) {
            break;
        }
    }
    CHECK(others == 8);
    world.placement.refuse(current_message);
    REQUIRE(world.accept(MessageId{parked[0]}, 1200) == Status::ok);
    CHECK_FALSE(world.receiver(b).refusing());
    CHECK_FALSE(world.receiver(world.a).refusing());
    CHECK(world.receiver(world.a).ack_now()); // tells it so
    CHECK(world.take(world.a, eager(17, 1200)) == FrameResult::event);
    REQUIRE(world.accept(current_message, 1200) == Status::ok);
}

TEST_CASE("Placement: a refused message that is taken after all ends the refusing")
{
    World world;
    world.take(world.a, eager(0, 10));
    world.placement.refuse(current_message);
    CHECK(world.shared.refusing_peers == 1);
    world.take(world.a, eager(0, 10));
    REQUIRE(world.accept(current_message, 10) == Status::ok);
    CHECK(world.shared.refusing_peers == 0);
    CHECK_FALSE(world.receiver(world.a).refusing());
}

TEST_CASE("Placement: a requested message comes as far as it is granted")
{
    World world;
    CHECK(world.take(world.a, request(0, 10000)) == FrameResult::event);
    REQUIRE(world.accept(current_message, 10000) == Status::ok);
    CHECK(world.outcome == Accepted::pending);
    const std::uint32_t record = world.first_record();
    CHECK(world.message(record).limit == 8000); // the budget, in two steps
    CHECK(world.message(record).grant_due);
    CHECK(world.receiver(world.a).first_control() == record);
    world.message(record).grant_due = false; // the grant goes out
    world.receiver(world.a).settle(world.shared.incoming, record);
    CHECK(world.take(world.a, data(0, record, 10000, 7000, 1000)) == FrameResult::next);
    CHECK(world.take(world.a, data(0, record, 10000, 7001, 1000)) == FrameResult::malformed);
    CHECK(world.take(world.a, data(0, record, 10000, 8001, 0)) == FrameResult::malformed);
    for (std::uint64_t offset = 0; offset < 7000; offset += 1000) {
        CHECK(world.take(world.a, data(0, record, 10000, offset, 1000)) == FrameResult::next);
    }
    CHECK(world.message(record).limit == 10000);
    CHECK(world.message(record).grant_due);
    world.check();
    CHECK(world.take(world.a, data(0, record, 10000, 8000, 1000)) == FrameResult::next);
    CHECK(world.take(world.a, data(0, record, 10000, 9000, 1000)) == FrameResult::next);
    CHECK(world.take(world.a, data(0, record, 10000, 9000, 1000)) == FrameResult::next); // it is over
    REQUIRE(world.placement.poll_done(world.event));
    CHECK(world.event.kind == Event::Kind::receive_done);
    CHECK(world.buffer == filler(10000));
}

TEST_CASE("Placement: more bytes than were granted are malformed, wherever they belong")
{
    World world;
    world.take(world.a, request(0, 5000));
    REQUIRE(world.accept(current_message, 5000) == Status::ok);
    const std::uint32_t record = world.first_record();
    CHECK(world.message(record).limit == 5000);
    for (int i = 0; i < 4; ++i) {
        CHECK(world.take(world.a, data(0, record, 5000, 0, 1000)) == FrameResult::next);
    }
    CHECK(world.take(world.a, data(0, record, 5000, 0, 1400)) == FrameResult::malformed);
    CHECK(world.message(record).received == 4000);
}

TEST_CASE("Placement: pieces that overlap do not make a message complete that lacks others")
{
    World world;
    world.take(world.a, eager(0, 100, 0, 50)); // parked: what is lacking would be what the memory held before
    const std::uint32_t parked = world.park();
    CHECK(world.take(world.a, eager(0, 100, 0, 50)) == FrameResult::malformed);
    CHECK(world.take(world.a, eager(0, 100, 49, 50)) == FrameResult::malformed);
    CHECK_FALSE(world.message(parked).complete());
    CHECK(world.take(world.a, eager(0, 100, 50, 50)) == FrameResult::next);
    REQUIRE(world.accept(MessageId{parked}, 100) == Status::ok);
    CHECK(world.outcome == Accepted::complete);
    CHECK(world.buffer == filler(100));

    world.take(world.a, eager(1, 100, 0, 40)); // in a buffer
    REQUIRE(world.accept(current_message, 100) == Status::ok);
    CHECK(world.take(world.a, eager(1, 100, 30, 40)) == FrameResult::next); // not noticed before the end
    CHECK(world.take(world.a, eager(1, 100, 70, 20)) == FrameResult::malformed);
    CHECK(world.take(world.a, eager(1, 100, 80, 20)) == FrameResult::malformed);
    CHECK_FALSE(world.placement.poll_done(world.event));

    world.take(world.a, request(2, 2000)); // granted
    REQUIRE(world.accept(current_message, 2000) == Status::ok);
    const std::uint32_t granted = world.peer(world.a).incoming.back();
    CHECK(world.take(world.a, data(2, granted, 2000, 1000, 1000)) == FrameResult::next);
    CHECK(world.take(world.a, data(2, granted, 2000, 1000, 1000)) == FrameResult::malformed);
    CHECK(world.take(world.a, data(2, granted, 2000, 0, 0)) == FrameResult::next);
    CHECK(world.take(world.a, data(2, granted, 2000, 0, 1000)) == FrameResult::next);
    REQUIRE(world.placement.poll_done(world.event));
    CHECK(world.buffer == filler(2000));
}

TEST_CASE("Placement: data for something else is ignored")
{
    World world;
    const std::uint32_t b = world.meet(1);
    world.take(world.a, request(0, 5000));
    const std::uint32_t record = world.park();
    CHECK(world.take(world.a, data(0, record, 5000, 0, 0)) == FrameResult::next); // not asked for yet
    REQUIRE(world.accept(MessageId{record}, 5000) == Status::ok);
    CHECK(world.take(b, data(0, record, 5000, 0, 100)) == FrameResult::next);
    CHECK(world.take(world.a, data(1, record, 5000, 0, 100)) == FrameResult::next);
    CHECK(world.take(world.a, data(0, record + 1, 5000, 0, 100)) == FrameResult::next);
    Bytes of_read = data(0, record, 5000, 0, 100);
    of_read[1] = std::byte{wire::data_flag::answers_read};
    CHECK(world.take(world.a, of_read) == FrameResult::next);
    CHECK(world.message(record).received == 0);
}

TEST_CASE("Placement: a discarded message takes its bytes and says nothing")
{
    World world;
    world.take(world.a, eager(0, 100, 0, 30));
    const std::uint32_t eager_record = world.park();
    world.take(world.a, request(1, 1000));
    const std::uint32_t requested = world.park();
    world.placement.discard(MessageId{eager_record});
    world.placement.discard(MessageId{requested});
    world.take(world.a, eager(0, 100, 30, 70));
    CHECK(world.message(requested).limit == 1000); // the sender is to get rid of it
    world.receiver(world.a).settle(world.shared.incoming, requested);
    world.take(world.a, data(1, requested, 1000, 0, 1000));
    CHECK_FALSE(world.placement.poll_done(world.event));
    CHECK(world.records(world.a) == 0);
}
