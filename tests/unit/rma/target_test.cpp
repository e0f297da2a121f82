// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Accesses to our memory, with the test in place of the layer that judges them.
#include <cstring>
#include <vector>

#include "support/parts_world.hpp"
#include "unit/wire/frame_bytes.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using Question = PacketReader::Question;

/// Bytes [.., + length) of a write of `total` bytes.
Bytes write(std::uint64_t length, std::uint64_t total, std::uint32_t handle = 4, std::uint64_t address = 100)
{
    const wire::WriteHeader header{{address, 0, 7}, length, total, 6, handle, length == total, true};
    return written([&](std::byte* out) { return wire::put_write(out, header); }) + filler(length);
}

Bytes read(std::uint32_t length)
{
    wire::ReadFrame frame;
    frame.flags = wire::rma_flag::last;
    frame.sequence = 3;
    frame.handle = 4;
    frame.length = length;
    frame.key = 7;
    frame.address = 100;
    frame.offset = 50;
    return raw(frame);
}

Bytes atomic(std::uint32_t sequence, bool fetch)
{
    wire::AtomicFrame frame;
    frame.flags = static_cast<std::uint8_t>(wire::atomic_flag::has_operand | wire::atomic_flag::has_compare |
                                            (fetch ? wire::atomic_flag::fetch : 0));
    frame.length = 8;
    frame.sequence = sequence;
    frame.handle = 4;
    frame.operation = 2;
    frame.datatype = 3;
    frame.ranges = 2;
    return raw(frame) + raw(wire::AtomicRange{100, 3, 7}) + raw(wire::AtomicRange{200, 5, 8}) + filler(16);
}

struct World : PartsWorld {
    explicit World(const Limits& limits = parts_limits()) : PartsWorld(limits) {}
    ~World() { check(); }

    bool asked() const { return shared.reader.question() != Question::none; }
    /// The only frame that is sent for what is owed.
    template <typename T>
    T answer()
    {
        const std::vector<wire::Frame> frames = answers(a);
        REQUIRE(frames.size() == 1);
        REQUIRE(std::holds_alternative<T>(frames.front()));
        return std::get<T>(frames.front());
    }
    /// Records in use by something else, until so many are left.
    void leave_records(std::uint32_t left)
    {
        while (shared.incoming.has_room(left + 1)) {
            shared.incoming.create(others, 3, 0, false);
        }
    }
    void free_records()
    {
        while (!others.empty()) {
            shared.incoming.release(others, others.front());
        }
    }
    std::uint32_t a = meet(0);
    IncomingPool::All others;
};

} // namespace

TEST_CASE("RmaTarget: a write is placed where its event says, and leaves nothing behind")
{
    World world;
    CHECK(world.take(world.a, write(20, 20)) == FrameResult::event);
    CHECK(world.event.kind == Event::Kind::write);
    CHECK(world.event.peer == PeerId{world.a});
    CHECK(world.event.last);
    CHECK(world.event.length == 20);
    CHECK(world.event.data == 6);
    REQUIRE(world.event.ranges.size() == 1);
    CHECK(world.event.ranges[0].address == 100);
    CHECK(world.event.ranges[0].length == 20);
    CHECK(world.event.ranges[0].key == 7);
    CHECK(of(world.event.payload) == filler(20));
    Bytes memory(20);
    const iovec iov{memory.data(), memory.size()};
    CHECK(world.target.place(std::span(&iov, 1), DeviceId::host));
    CHECK(memory == filler(20));
    CHECK(world.asked());
    world.target.confirm();
    CHECK_FALSE(world.asked());
    CHECK(world.count.rx_writes.value() == 1);
    CHECK(world.records(world.a) == 0);
    CHECK_FALSE(world.receiver(world.a).any_control());
    CHECK(world.receiver(world.a).message_next() == 0); // it is not of the messages' sequence
}

TEST_CASE("RmaTarget: a fault is counted when it comes to be owed, and kept until it is framed")
{
    World world;
    for (std::uint32_t i = 0; i < 2; ++i) {
        world.take(world.a, write(20, 20, 4 + i));
        world.target.reject(Cause::out_of_bounds);
        CHECK(world.receiver(world.a).faults_made() == i + 1);
    }
    CHECK(world.count.rx_denied.value() == 2);
    CHECK(world.shared.peers.any_active());
    // No packet is to be had.
    PacketWindow& window = world.peer(world.a).connection.window;
    while (window.has_room(world.shared.packets, 1)) {
        window.add_piece(world.shared.packets, world.a, 0, 0, 10, false);
    }
    const std::uint32_t record = world.receiver(world.a).first_control();
    CHECK_FALSE(world.target.frame_answer(record));
    CHECK(world.receiver(world.a).first_control() == record);
    CHECK(world.records(world.a) == 2);
    window.abandon(world.shared.packets, [&](std::uint32_t slot) { world.shared.packets.release(slot); });

    const std::vector<wire::Frame> frames = world.answers(world.a);
    REQUIRE(frames.size() == 2);
    for (std::uint32_t i = 0; i < 2; ++i) {
        const auto& fault = std::get<wire::AccessFailure>(frames[i]);
        CHECK(fault.cause == Cause::out_of_bounds);
        CHECK_FALSE(fault.denied);
        CHECK(fault.handle == 4 + i);
        CHECK(fault.sequence == 0);
        CHECK(fault.faults == 2); // those made so far, later ones included
    }
    CHECK(world.records(world.a) == 0);
    // Packets with faults must not be refused, so messages do not share them.
    const std::uint32_t slot = window.oldest_in_flight();
    CHECK(world.shared.packets[slot].contents == wire::Contents::rma);
}

TEST_CASE("RmaTarget: a write in pieces is complete with the last to come")
{
    World world;
    CHECK(world.take(world.a, write(20, 50, 4, 130)) == FrameResult::event);
    CHECK_FALSE(world.event.last);
    CHECK(world.event.length == 50);
    CHECK(world.event.ranges[0].length == 20);
    CHECK(world.event.ranges[0].address == 130);
    world.target.confirm();
    CHECK(world.records(world.a) == 1);
    CHECK(world.take(world.a, write(20, 60)) == FrameResult::malformed); // of another operation's length
    CHECK(world.take(world.a, write(40, 50)) == FrameResult::malformed); // more than all
    CHECK(world.take(world.a, write(5, 9, 5)) == FrameResult::event);    // another operation
    world.target.confirm();
    CHECK(world.take(world.a, write(30, 50)) == FrameResult::event);
    CHECK(world.event.last);
    world.target.confirm();
    CHECK(world.take(world.a, write(4, 9, 5)) == FrameResult::event);
    CHECK(world.event.last);
    world.target.confirm();
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("RmaTarget: after a fault the pieces of a write are only counted, to its end")
{
    World world;
    world.take(world.a, write(20, 60));
    world.target.confirm();
    world.take(world.a, write(20, 60));
    world.target.reject(Cause::bad_key);
    CHECK(world.receiver(world.a).faults_made() == 1);
    CHECK(world.answer<wire::AccessFailure>().handle == 4);
    CHECK(world.records(world.a) == 1);
    CHECK(world.take(world.a, write(10, 60)) == FrameResult::next);
    CHECK(world.take(world.a, write(20, 60)) == FrameResult::malformed);
    CHECK(world.take(world.a, write(10, 60)) == FrameResult::next);
    CHECK(world.records(world.a) == 0);
    CHECK(world.receiver(world.a).faults_made() == 1);
    CHECK_FALSE(world.receiver(world.a).any_control());
    // The name is free for another operation.
    CHECK(world.take(world.a, write(10, 60)) == FrameResult::event);
    world.target.confirm();
}

TEST_CASE("RmaTarget: a write fails with its last piece, too")
{
    World world;
    world.take(world.a, write(20, 60));
    world.target.confirm();
    world.take(world.a, write(40, 60));
    world.target.reject(Cause::region_closed);
    CHECK(world.answer<wire::AccessFailure>().cause == Cause::region_closed);
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("RmaTarget: a piece of a longer write has its packet for itself")
{
    World world;
    world.open(world.a, write(20, 20) + write(20, 50));
    REQUIRE(world.step() == FrameResult::event);
    world.target.confirm();
    CHECK(world.step() == FrameResult::malformed);
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("RmaTarget: a write whose bytes cannot be had is not carried out, nor answered")
{
    struct NoBytes final : RemoteBytes {
        bool fetch(std::uint32_t, std::span<const iovec>) noexcept override { return false; }
    } none;
    World world;
    const Bytes whole = write(20, 20);
    world.open(world.a, Bytes(whole.begin(), whole.end() - 20), &none, 20);
    CHECK(world.step() == FrameResult::event);
    CHECK(world.event.payload.empty());
    Bytes memory(20);
    const iovec iov{memory.data(), memory.size()};
    CHECK_FALSE(world.target.place(std::span(&iov, 1), DeviceId::host));
    CHECK_FALSE(world.asked());
    CHECK_FALSE(world.shared.reader.is_open());
    CHECK(world.count.rx_writes.value() == 0);
    CHECK(world.receiver(world.a).faults_made() == 0);
}

TEST_CASE("RmaTarget: a read is served from memory as the peer takes it, or denied")
{
    World world;
    CHECK(world.take(world.a, read(20)) == FrameResult::event);
    CHECK(world.event.kind == Event::Kind::read);
    CHECK(world.event.last);
    CHECK(world.event.ranges[0].length == 20);
    CHECK(world.event.ranges[0].key == 7);
    Bytes memory(20);
    const iovec iov[2] = {{memory.data(), 8}, {memory.data() + 8, 12}};
    world.target.serve(iov, DeviceId::host, 7, true, 77);
    CHECK_FALSE(world.asked());
    CHECK(world.count.rx_reads.value() == 1);
    SendQueue& queue = world.peer(world.a).connection.queue;
    const std::uint32_t record = queue.first_granted();
    REQUIRE(record != no_index);
    const TxMessage& response = world.shared.outgoing[record];
    CHECK(response.as<ReadResponse>()->remote_handle == 4);
    CHECK(response.as<ReadResponse>()->base == 50);
    CHECK(response.sequence == 3);
    CHECK(response.total == 20);
    CHECK(response.pieces().size() == 2);
    CHECK(response.level == CompletionLevel::transmit);
    CHECK(response.cookie == 77);
    CHECK(world.shared.peers.first_active() == world.a);

    world.shared.revocation_due = false;
    world.target.revoke(8);
    CHECK_FALSE(world.shared.revocation_due);
    world.target.revoke(7);
    CHECK(world.shared.revocation_due);
    CHECK(response.is_revoked());
    world.target.revoke(8);
    CHECK(world.shared.revocation_due); // until it is taken

    world.take(world.a, read(20));
    world.target.reject(Cause::access_denied);
    const auto denied = world.answer<wire::AccessFailure>();
    CHECK(denied.denied);
    CHECK(denied.is_read);
    CHECK(denied.cause == Cause::access_denied);
    CHECK(denied.sequence == 3);
    CHECK(denied.handle == 4);
    CHECK(world.receiver(world.a).faults_made() == 0); // the reader waits for it anyway
}

TEST_CASE("RmaTarget: an atomic is carried out in its turn; a result is kept until it is framed")
{
    World world;
    CHECK(world.take(world.a, atomic(0, false)) == FrameResult::event);
    CHECK(world.event.kind == Event::Kind::atomic);
    CHECK(world.event.operation == 2);
    CHECK(world.event.datatype == 3);
    REQUIRE(world.event.ranges.size() == 2);
    CHECK(world.event.ranges[0].length == 3);
    CHECK(world.event.ranges[1].address == 200);
    CHECK(world.event.ranges[1].key == 8);
    const Bytes operands = filler(16);
    CHECK(of(world.event.payload) == Bytes(operands.begin(), operands.begin() + 8));
    CHECK(of(world.event.compare) == Bytes(operands.begin() + 8, operands.end()));
    CHECK(world.event.result.empty());
    world.target.confirm();
    CHECK(world.receiver(world.a).message_next() == 1);
    CHECK(world.records(world.a) == 0);
    CHECK(world.take(world.a, atomic(0, false)) == FrameResult::next); // not a second time

    CHECK(world.take(world.a, atomic(1, true)) == FrameResult::event);
    REQUIRE(world.event.result.size() == 8);
    CHECK(of(world.event.payload) == Bytes(operands.begin(), operands.begin() + 8));
    std::memset(world.event.result.data(), 0x5a, 8);
    world.target.confirm();
    world.shared.reader.close(); // its packet is gone
    CHECK(world.count.rx_atomics.value() == 2);
    CHECK(world.records(world.a) == 1);
    CHECK(world.take(world.a, atomic(1, true)) == FrameResult::next);
    const auto result = world.answer<wire::AtomicResult>();
    CHECK(result.sequence == 1);
    CHECK(result.handle == 4);
    CHECK(of(result.payload) == Bytes(8, std::byte{0x5a}));
    CHECK(world.records(world.a) == 0);
    CHECK_FALSE(world.receiver(world.a).any_control());
}

TEST_CASE("RmaTarget: an atomic whose result fits no packet of its sender is malformed")
{
    World world;
    world.peer(world.a).route.meet(wire::min_max_packet, world.now);
    wire::AtomicFrame frame;
    frame.flags = wire::atomic_flag::fetch;
    const std::uint64_t length = world.peer(world.a).frame_capacity();
    frame.length = static_cast<std::uint16_t>(length);
    frame.ranges = 1;
    CHECK(world.take(world.a, raw(frame) + raw(wire::AtomicRange{100, length, 7})) == FrameResult::malformed);
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("RmaTarget: an atomic that is not carried out is denied if it is waited for, else a fault")
{
    World world;
    world.take(world.a, atomic(0, true));
    world.target.reject(Cause::bad_operation);
    CHECK(world.receiver(world.a).faults_made() == 0);
    const auto denied = world.answer<wire::AccessFailure>();
    CHECK(denied.denied);
    CHECK_FALSE(denied.is_read);
    CHECK(denied.cause == Cause::bad_operation);
    world.take(world.a, atomic(1, false));
    world.target.reject(Cause::bad_operation);
    CHECK(world.receiver(world.a).faults_made() == 1);
    const auto fault = world.answer<wire::AccessFailure>();
    CHECK_FALSE(fault.denied);
    CHECK(fault.sequence == 1);
    CHECK(world.receiver(world.a).message_next() == 2);
    CHECK(world.records(world.a) == 0);
}

TEST_CASE("RmaTarget: an atomic before its turn is held, with what it needs")
{
    World world;
    const Bytes operands = filler(16);
    for (const bool fetch : {false, true}) {
        const std::uint32_t turn = world.receiver(world.a).message_next();
        CHECK(world.take(world.a, atomic(turn + 1, fetch)) == FrameResult::next);
        CHECK(world.records(world.a) == 1);
        world.check();
        world.take(world.a, atomic(turn, false));
        world.target.confirm();
        CHECK(world.shared.reader.turn_of() == world.a);
        world.shared.reader.set_turn_of(no_index);
        const std::uint32_t record = world.shared.incoming.find(world.a, turn + 1);
        REQUIRE(record != no_index);
        world.receiver(world.a).on_unheld();
        world.shared.incoming.unhold(world.shared.incoming[record]);
        world.shared.incoming.erase(record);
        world.shared.incoming[record].stage = RxMessage::Stage::receiving;
        world.target.announce_held(record, world.event);
        CHECK(world.event.ranges.size() == 2);
        CHECK(of(world.event.compare) == Bytes(operands.begin() + 8, operands.end()));
        CHECK(world.event.result.size() == (fetch ? 8U : 0U));
        world.target.confirm();
        CHECK(world.answers(world.a).size() == (fetch ? 1U : 0U));
        CHECK(world.records(world.a) == 0);
        CHECK(world.receiver(world.a).message_next() == turn + 2);
    }
}

TEST_CASE("RmaTarget: no access of a packet is acted upon without a record for every answer")
{
    World world;
    world.receiver(world.a).refuse();
    ++world.shared.refusing_peers;
    world.leave_records(wire::max_rma_frames - 1);
    CHECK(world.take(world.a, write(20, 20)) == FrameResult::refuse);
    CHECK(world.take(world.a, write(20, 30)) == FrameResult::refuse);
    CHECK(world.take(world.a, read(20)) == FrameResult::refuse);
    CHECK_FALSE(world.asked());
    CHECK(world.receiver(world.a).refusing());
    CHECK(world.records(world.a) == 0);
    world.free_records();
    world.leave_records(wire::max_rma_frames);
    world.open(world.a, write(20, 20) + read(20));
    REQUIRE(world.step() == FrameResult::event);
    CHECK_FALSE(world.receiver(world.a).refusing());
    world.target.reject(Cause::bad_key);
    CHECK(world.step() == FrameResult::event); // looked for once a packet
    world.target.reject(Cause::bad_key);
    CHECK(world.answers(world.a).size() == 2);
    world.free_records();
}

TEST_CASE("RmaTarget: nor without a record for every response")
{
    World world;
    const std::uint32_t b = world.meet(1);
    for (bool turn = false; world.shared.outgoing.has_room_for_responses(wire::max_rma_frames);
         turn = !turn) {
        const std::uint32_t peer = turn ? world.a : b;
        world.shared.outgoing.respond(world.peer(peer).connection.queue, peer);
    }
    CHECK(world.take(world.a, read(20)) == FrameResult::refuse);
    CHECK(world.take(world.a, write(20, 20)) == FrameResult::refuse);
    CHECK(world.take(world.a, atomic(0, false)) == FrameResult::event); // a message: refused by itself
    world.target.confirm();
}

TEST_CASE("RmaTarget: an atomic that there is no answer's record for is refused, and not carried out")
{
    World world;
    world.leave_records(0);
    CHECK(world.take(world.a, atomic(0, true)) == FrameResult::refuse);
    CHECK(world.take(world.a, atomic(0, false)) == FrameResult::event);
    world.target.reject(Cause::bad_key);
    CHECK_FALSE(world.asked());
    CHECK_FALSE(world.shared.reader.is_open());
    CHECK(world.receiver(world.a).refusing());
    CHECK(world.receiver(world.a).message_next() == 0); // it is announced again
    CHECK(world.receiver(world.a).faults_made() == 0);
    world.free_records();
}
