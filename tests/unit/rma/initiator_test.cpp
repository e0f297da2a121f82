// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Accesses to a peer's memory: their frames, the peer's answers, and fences. The test submits as the engine
// does, and plays the peer.
#include <algorithm>
#include <vector>

#include "support/parts_world.hpp"
#include "unit/wire/frame_bytes.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using State = TxMessage::State;

Bytes failure(const wire::AccessFailure& frame)
{
    return written([&](std::byte* out) { return wire::put_failure(out, frame); });
}
Bytes fault(std::uint32_t handle, std::uint16_t made, std::uint32_t sequence = 0)
{
    return failure({Cause::bad_key, false, false, sequence, handle, made});
}

struct World : PartsWorld {
    ~World() { check(); }

    Operation operation(OperationKind kind, std::span<const iovec> iov,
                        CompletionLevel level = CompletionLevel::transmit) const
    {
        Operation value;
        value.kind = kind;
        value.peer = PeerId{a};
        value.level = level;
        value.iov = iov;
        value.remote = remote;
        value.atomic.operation = 2;
        value.atomic.datatype = 3;
        return value;
    }
    /// A write or an atomic whose frames are in packets.
    std::uint32_t submit(const Operation& operation, std::uint64_t total)
    {
        const std::uint32_t record = shared.outgoing.create(operation, total, queue().message_next());
        const bool framed = operation.kind == OperationKind::write
                                ? initiator.frame_write(operation, record, total)
                                : initiator.frame_atomic(operation, record, total);
        if (!framed) {
            shared.outgoing.discard(record);
            return no_index;
        }
        shared.outgoing.submit(queue(), record);
        if (operation.kind == OperationKind::atomic) {
            queue().count_message();
        }
        return record;
    }
    /// A read, waiting to be started.
    std::uint32_t submit_read(std::uint64_t total)
    {
        memory.assign(total, std::byte{});
        const iovec iov{memory.data(), memory.size()};
        const std::uint32_t record = shared.outgoing.create(
            operation(OperationKind::read, std::span(&iov, 1)), total, queue().message_next());
        shared.outgoing.submit_waiting(queue(), record);
        return record;
    }
    /// The data that the frame asks for.
    Bytes data(const wire::ReadFrame& read) const
    {
        wire::DataFrame frame;
        frame.flags = wire::data_flag::answers_read;
        frame.length = static_cast<std::uint16_t>(read.length);
        frame.sequence = read.sequence;
        frame.receiver_handle = read.handle;
        frame.offset = read.offset;
        const Bytes all = filler(memory.size());
        const auto from = all.begin() + static_cast<std::ptrdiff_t>(std::uint64_t{read.offset});
        return raw(frame) + Bytes(from, from + static_cast<std::ptrdiff_t>(std::uint32_t{read.length}));
    }
    std::vector<wire::ReadFrame> reads()
    {
        std::vector<wire::ReadFrame> result;
        for (const wire::Frame& frame : answers(a)) {
            result.push_back(std::get<wire::ReadFrame>(frame));
        }
        return result;
    }
    State state(std::uint32_t record) const { return shared.outgoing[record].state; }
    /// The cause of the only completion.
    Cause done()
    {
        bool wanted = false;
        REQUIRE(shared.outgoing.poll_done(event, wanted));
        CHECK_FALSE(shared.outgoing.any_done());
        return event.cause;
    }
    SendQueue& queue() { return peer(a).connection.queue; }

    Bytes bytes = filler(4000);
    Bytes memory;
    std::vector<RemoteRange> remote{{1000, 8, 7}};
    std::uint32_t a = meet(0);
};

iovec first(Bytes& bytes, std::size_t size)
{
    return {bytes.data(), size};
}

} // namespace

TEST_CASE("RmaInitiator: a short write shares a packet, and completes with it")
{
    World world;
    const iovec iov = first(world.bytes, 8);
    Operation write = world.operation(OperationKind::write, std::span(&iov, 1));
    write.data = 55;
    write.flags.has_data = true;
    const std::uint32_t one = world.submit(write, 8);
    write.level = CompletionLevel::none;
    CHECK(world.initiator.frame_write(write, no_index, 8));
    const std::vector<wire::Frame> frames = world.sent(world.a);
    REQUIRE(frames.size() == 2);
    const auto& frame = std::get<wire::WritePiece>(frames[0]);
    CHECK(frame.handle == one);
    CHECK(frame.address == 1000);
    CHECK(frame.key == 7);
    CHECK(frame.data == 55);
    CHECK(frame.total == 8);
    CHECK(of(frame.payload.bytes) == filler(8));
    CHECK(std::get<wire::WritePiece>(frames[1]).handle == wire::no_handle); // nobody waits for it
    CHECK(world.state(one) == State::framed);
    world.acked(world.a);
    CHECK(world.done() == Cause::none);
}

TEST_CASE("RmaInitiator: what fits one frame of a packet")
{
    World world;
    const std::uint64_t most = world.peer(world.a).frame_capacity() - sizeof(wire::WriteFrame);
    Operation write = world.operation(OperationKind::write, {});
    CHECK(world.initiator.write_fits_frame(write, most));
    CHECK_FALSE(world.initiator.write_fits_frame(write, most + 1));
    write.flags.has_data = true;
    CHECK_FALSE(world.initiator.write_fits_frame(write, most));
    world.remote.push_back({2000, 8, 7});
    write.remote = world.remote;
    CHECK_FALSE(world.initiator.write_fits_frame(write, 16));
}

TEST_CASE("RmaInitiator: a longer write is copied into packets of its own, one for each piece")
{
    World world;
    world.remote = {{1000, 2000, 7}, {9000, 0, 8}, {5000, 500, 9}};
    const iovec iov[2] = {first(world.bytes, 700), {world.bytes.data() + 700, 1800}};
    Operation write = world.operation(OperationKind::write, iov, CompletionLevel::inject);
    CHECK_FALSE(world.initiator.frame_write(write, no_index, 2500)); // it may wait
    write.copy_payload = true;
    const std::uint32_t record = world.submit(write, 2500);
    REQUIRE(record != no_index);
    std::uint64_t offset = 0;
    std::size_t packets = 0;
    for (const wire::Frame& any : world.sent(world.a)) { // each decodes to the end of its packet
        const auto& frame = std::get<wire::WritePiece>(any);
        CHECK(frame.handle == record);
        CHECK(frame.total == 2500);
        const bool in_first = offset < 2000;
        CHECK(frame.address == (in_first ? 1000 + offset : 5000 + offset - 2000));
        CHECK(frame.key == (in_first ? 7U : 9U));
        CHECK(of(frame.payload.bytes) == of(std::span(world.bytes).subspan(offset, frame.payload.size)));
        offset += frame.payload.size;
        ++packets;
    }
    CHECK(offset == 2500);
    CHECK(packets == 3);
    CHECK(world.state(record) == State::framed); // whatever its level: its record is its name
    world.acked(world.a);
    CHECK(world.done() == Cause::none);
}

TEST_CASE("RmaInitiator: without room for all of its packets nothing of a write goes")
{
    World world;
    PacketWindow& window = world.peer(world.a).connection.window;
    while (window.has_room(world.shared.packets, 3)) {
        window.add_piece(world.shared.packets, world.a, 0, 0, 10, false);
    }
    const std::uint32_t next = window.next();
    const iovec iov = first(world.bytes, 3000);
    world.remote = {{1000, 3000, 7}};
    Operation write = world.operation(OperationKind::write, std::span(&iov, 1));
    write.copy_payload = true;
    CHECK(world.submit(write, 3000) == no_index);
    CHECK(window.next() == next);
    window.abandon(world.shared.packets, [&](std::uint32_t slot) { world.shared.packets.release(slot); });
}

TEST_CASE("RmaInitiator: the header of a piece that is sent from the user's memory")
{
    World world;
    world.remote = {{1000, 2000, 7}, {5000, 500, 9}};
    const std::uint32_t record =
        world.shared.outgoing.create(world.operation(OperationKind::write, {}), 2500, 0);
    TxSlot slot;
    slot.message = record;
    slot.offset = 2100;
    slot.length = 300;
    const Bytes packet =
        written([&](std::byte* out) { return world.initiator.put_piece(slot, out); }) + filler(300);
    const auto frame = only<wire::WritePiece>(packet);
    CHECK(frame.address == 5100);
    CHECK(frame.key == 9);
    CHECK(frame.handle == record);
    CHECK(frame.total == 2500);
    world.shared.outgoing.discard(record);
}

TEST_CASE("RmaInitiator: an atomic is a message with ranges, operands and comparands")
{
    World world;
    world.remote = {{1000, 3, 7}, {2000, 5, 8}};
    world.queue().count_message();
    const iovec operands = first(world.bytes, 8);
    const iovec compare{world.bytes.data() + 8, 8};
    Operation atomic = world.operation(OperationKind::atomic, std::span(&operands, 1));
    atomic.atomic.has_compare = true;
    atomic.atomic.compare = std::span(&compare, 1);
    const std::uint32_t record = world.submit(atomic, 8);
    const auto frames = world.sent(world.a);
    REQUIRE(frames.size() == 1);
    const auto& frame = std::get<wire::AtomicRequest>(frames.front());
    CHECK(frame.frame.sequence == 1);
    CHECK(frame.frame.handle == record);
    CHECK(frame.frame.length == 8);
    CHECK(frame.frame.operation == 2);
    CHECK(frame.frame.datatype == 3);
    CHECK_FALSE(frame.fetches());
    CHECK(of(frame.body) ==
          raw(wire::AtomicRange{1000, 3, 7}) + raw(wire::AtomicRange{2000, 5, 8}) + filler(16));
    const auto size = static_cast<std::uint32_t>(sizeof(wire::AtomicFrame) + frame.body.size());
    CHECK(RmaInitiator::atomic_fits(atomic, 8, size));
    CHECK_FALSE(RmaInitiator::atomic_fits(atomic, 8, size - 1));
    atomic.atomic = AtomicOperation{}; // only fetches: its result is the longer one
    atomic.atomic.has_operand = false;
    atomic.atomic.fetch = true;
    CHECK(RmaInitiator::atomic_fits(atomic, 400, sizeof(wire::ResultFrame) + 400));
    CHECK_FALSE(RmaInitiator::atomic_fits(atomic, 400, sizeof(wire::ResultFrame) + 399));
    world.acked(world.a);
    CHECK(world.state(record) == State::suspect); // its turn may still be to come
    world.queue().on_delivered(2);
    world.shared.outgoing.release_suspects(world.queue());
    CHECK(world.done() == Cause::none);
}

TEST_CASE("RmaInitiator: a fetching atomic completes with its result, whatever is acknowledged")
{
    World world;
    Bytes old(8);
    const iovec operands = first(world.bytes, 8);
    const iovec into[2] = {{old.data(), 3}, {old.data() + 3, 5}};
    Operation atomic = world.operation(OperationKind::atomic, std::span(&operands, 1));
    atomic.atomic.fetch = true;
    atomic.atomic.result = into;
    const std::uint32_t record = world.submit(atomic, 8);
    CHECK(std::get<wire::AtomicRequest>(world.sent(world.a).front()).fetches());
    world.acked(world.a);
    world.queue().on_delivered(1);
    CHECK(world.state(record) == State::framed);
    const auto result = [](std::uint32_t handle, std::uint32_t sequence, std::uint16_t size) {
        wire::ResultFrame frame;
        frame.length = size;
        frame.sequence = sequence;
        frame.handle = handle;
        return raw(frame) + filler(size);
    };
    CHECK(world.take(world.a, result(record, 1, 8)) == FrameResult::next); // of another
    CHECK(world.take(world.a, result(record + 1, 0, 8)) == FrameResult::next);
    CHECK(world.take(world.a, result(record, 0, 7)) == FrameResult::malformed);
    CHECK_FALSE(world.shared.outgoing.any_done());
    CHECK(world.take(world.a, result(record, 0, 8)) == FrameResult::next);
    CHECK(old == filler(8));
    CHECK(world.take(world.a, result(record, 0, 8)) == FrameResult::next); // again: over
    CHECK(world.done() == Cause::none);

    const std::uint32_t denied = world.submit(atomic, 8);
    CHECK(world.take(world.a, failure({Cause::bad_operation, true, false, 1, denied, 0})) ==
          FrameResult::next);
    CHECK(world.done() == Cause::bad_operation);
    world.shared.peers[world.a].connection.window.abandon(
        world.shared.packets, [&](std::uint32_t slot) { world.shared.packets.release(slot); });
}

TEST_CASE("RmaInitiator: a read asks in pieces, as far as its bytes are granted")
{
    World world;
    world.remote = {{1000, 5000, 7}, {90000, 15000, 8}};
    const std::uint32_t record = world.submit_read(20000);
    REQUIRE(world.initiator.start_read(world.a, record));
    CHECK(world.state(record) == State::waiting);
    CHECK_FALSE(world.queue().any_waiting());
    std::uint64_t asked = 0;
    std::uint64_t arrived = 0;
    std::vector<wire::ReadFrame> open;
    while (arrived < 20000) {
        for (const wire::ReadFrame& frame : world.reads()) {
            CHECK(frame.offset == asked);
            CHECK(frame.address == (asked < 5000 ? 1000 + asked : 90000 + asked - 5000));
            CHECK(frame.key == (asked < 5000 ? 7U : 8U));
            CHECK(frame.length != 0);
            CHECK((asked >= 5000 || asked + frame.length <= 5000)); // of one range
            asked += frame.length;
            CHECK(((frame.flags & wire::rma_flag::last) != 0) == (asked == 20000));
            open.push_back(frame);
        }
        REQUIRE_FALSE(open.empty());
        CHECK(asked - arrived <= 8000); // the budget
        world.check();
        CHECK(world.take(world.a, world.data(open.front())) == FrameResult::next);
        arrived += open.front().length;
        open.erase(open.begin());
        world.acked(world.a);
    }
    CHECK(world.memory == filler(20000));
    CHECK(world.done() == Cause::none);
    CHECK(world.records(world.a) == 0);
    CHECK(world.shared.outgoing.drained());
}

TEST_CASE("RmaInitiator: a read of nothing asks once")
{
    World world;
    world.remote = {{1000, 0, 7}};
    const std::uint32_t record = world.submit_read(0);
    REQUIRE(world.initiator.start_read(world.a, record));
    const auto frames = world.reads();
    REQUIRE(frames.size() == 1);
    CHECK(frames[0].flags == wire::rma_flag::last);
    CHECK(frames[0].length == 0);
    CHECK(world.take(world.a, world.data(frames[0])) == FrameResult::next);
    CHECK(world.done() == Cause::none);
}

TEST_CASE("RmaInitiator: a read waits while the records that are left are for messages with a buffer")
{
    World world;
    IncomingPool::All others;
    while (!world.shared.incoming.reserve_reached()) {
        world.shared.incoming.create(others, world.a, 0, false);
    }
    world.remote = {{1000, 10, 7}};
    const std::uint32_t record = world.submit_read(10);
    CHECK_FALSE(world.initiator.start_read(world.a, record));
    CHECK(world.queue().first_waiting() == record);
    CHECK(world.state(record) == State::queued);
    world.shared.incoming.release(others, others.front());
    CHECK(world.initiator.start_read(world.a, record));
    while (!others.empty()) {
        world.shared.incoming.release(others, others.front());
    }
}

TEST_CASE("RmaInitiator: a denied read ends, and others get what it was granted")
{
    World world;
    world.remote = {{1000, 50000, 7}};
    const std::uint32_t record = world.submit_read(50000);
    REQUIRE(world.initiator.start_read(world.a, record));
    const auto frames = world.reads();
    const std::uint32_t other = world.submit_read(50000);
    REQUIRE(world.initiator.start_read(world.a, other));
    CHECK(world.reads().empty());
    const auto denied = [&](std::uint32_t sequence, bool is_read) {
        return world.take(world.a, failure({Cause::bad_key, true, is_read, sequence, frames[0].handle, 0}));
    };
    CHECK(denied(frames[0].sequence + 5, true) == FrameResult::next);
    CHECK(denied(frames[0].sequence, false) == FrameResult::next); // names an atomic
    CHECK_FALSE(world.shared.outgoing.any_done());
    CHECK(denied(frames[0].sequence, true) == FrameResult::next);
    CHECK(world.done() == Cause::bad_key);
    CHECK(world.event.kind == Event::Kind::send_done);
    CHECK_FALSE(world.reads().empty());
    CHECK(world.take(world.a, world.data(frames[0])) == FrameResult::next); // late: ignored
}

TEST_CASE("RmaInitiator: a fault fails its write, and lets the suspects beside it go")
{
    World world;
    const iovec iov = first(world.bytes, 8);
    const Operation write = world.operation(OperationKind::write, std::span(&iov, 1));
    const std::uint32_t good = world.submit(write, 8);
    const std::uint32_t bad = world.submit(write, 8);
    world.sent(world.a);
    world.queue().faults().learn(1); // the acknowledgement counts it
    world.acked(world.a);
    CHECK(world.state(good) == State::suspect);
    CHECK(world.take(world.a, fault(bad, 1)) == FrameResult::next);
    CHECK(world.state(bad) == State::done);
    CHECK(world.state(good) == State::done);
    CHECK(world.shared.outgoing[bad].cause == Cause::bad_key);
    CHECK(world.shared.outgoing[good].cause == Cause::none);
}

TEST_CASE("RmaInitiator: a fault ahead of the acknowledgement fails the write when that comes")
{
    World world;
    const iovec iov = first(world.bytes, 8);
    const std::uint32_t record = world.submit(world.operation(OperationKind::write, std::span(&iov, 1)), 8);
    world.sent(world.a);
    CHECK(world.take(world.a, fault(record, 1)) == FrameResult::next);
    CHECK(world.state(record) == State::framed); // its packet still names it
    world.queue().faults().learn(1);
    CHECK_FALSE(world.queue().faults().awaits());
    world.acked(world.a);
    CHECK(world.done() == Cause::bad_key);
}

TEST_CASE("RmaInitiator: faults are counted whether or not their operation is still known")
{
    World world;
    world.take(world.a, fault(77, 2)); // there is another one
    CHECK(world.queue().faults().awaits());
    world.take(world.a, fault(wire::no_handle, 2));
    CHECK_FALSE(world.queue().faults().awaits());
    // A message cannot fail so.
    Operation message = world.operation(OperationKind::message, {});
    message.remote = {};
    const std::uint32_t record = world.shared.outgoing.create(message, 8, 0);
    world.take(world.a, fault(record, 3));
    CHECK(world.shared.outgoing[record].cause == Cause::none);
    world.shared.outgoing.discard(record);
}

TEST_CASE("RmaInitiator: a fault frame is not counted twice when its packet is refused")
{
    World world;
    IncomingPool::All others;
    while (world.shared.incoming.has_room(wire::max_rma_frames)) {
        world.shared.incoming.create(others, world.a, 0, false);
    }
    CHECK(world.take(world.a, fault(77, 2)) == FrameResult::refuse);
    CHECK_FALSE(world.queue().faults().awaits());
    while (!others.empty()) {
        world.shared.incoming.release(others, others.front());
    }
}

TEST_CASE("RmaInitiator: a fenced operation starts when all before it are complete")
{
    World world;
    const iovec iov = first(world.bytes, 8);
    Operation before = world.operation(OperationKind::write, std::span(&iov, 1));
    CHECK(world.initiator.quiet(world.a));
    bool record_left = true;
    SECTION("those with a record")
    {
        world.submit(before, 8);
    }
    SECTION("those without")
    {
        record_left = false;
        before.level = CompletionLevel::none;
        REQUIRE(world.initiator.frame_write(before, no_index, 8));
    }
    CHECK_FALSE(world.initiator.quiet(world.a));
    const std::uint32_t fenced = world.submit_read(8);
    TxMessage& message = world.shared.outgoing[fenced];
    message.fence = true;
    message.fence_end = world.peer(world.a).connection.window.operations_end();
    CHECK_FALSE(world.initiator.fence_open(world.a, fenced));
    world.sent(world.a);
    CHECK_FALSE(world.initiator.fence_open(world.a, fenced));
    world.acked(world.a);
    CHECK(world.shared.outgoing.any_done() == record_left);
    CHECK(world.initiator.fence_open(world.a, fenced));
    CHECK_FALSE(world.initiator.quiet(world.a)); // it is an operation itself
}

TEST_CASE("RmaInitiator: a fence waits for acknowledged atomics whose turn has not come")
{
    World world;
    const iovec iov = first(world.bytes, 8);
    world.submit(world.operation(OperationKind::atomic, std::span(&iov, 1), CompletionLevel::inject), 8);
    world.shared.outgoing.complete(world.queue(), world.queue().oldest_operation(), Cause::none);
    world.sent(world.a);
    world.acked(world.a);
    CHECK_FALSE(world.initiator.quiet(world.a));
    const std::uint32_t fenced = world.submit_read(8);
    world.shared.outgoing[fenced].fence_messages = world.queue().message_next();
    world.shared.outgoing[fenced].fence_end = world.peer(world.a).connection.window.operations_end();
    CHECK_FALSE(world.initiator.fence_open(world.a, fenced));
    world.queue().on_delivered(1);
    CHECK(world.initiator.fence_open(world.a, fenced));
}
