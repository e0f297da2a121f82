// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations from create() to their completion, with packets that are made by hand.
#include <algorithm>
#include <vector>

#include "send/outgoing.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using State = TxMessage::State;

constexpr std::uint32_t capacity = 64;
constexpr std::uint32_t reserved = capacity / 4;
constexpr std::uint64_t eager_limit = 1000;

struct Sender {
    Operation operation(OperationKind kind, CompletionLevel level = CompletionLevel::transmit) const
    {
        Operation value;
        value.kind = kind;
        value.peer = PeerId{3};
        value.level = level;
        value.tag = 11;
        value.cookie = 12;
        value.remote = remote;
        return value;
    }
    std::uint32_t create(OperationKind kind, std::uint64_t total,
                         CompletionLevel level = CompletionLevel::transmit)
    {
        const std::uint32_t record = pool.create(operation(kind, level), total, queue.message_next());
        REQUIRE(record != no_index);
        return record;
    }
    /// One that waits to be framed.
    std::uint32_t submit(OperationKind kind, std::uint64_t total,
                         CompletionLevel level = CompletionLevel::transmit)
    {
        const std::uint32_t record = create(kind, total, level);
        pool.submit_waiting(queue, record);
        if (pool[record].is<EagerSend>() && total > eager_limit) {
            pool.ask_first(record, 0);
        }
        return record;
    }
    /// One that is in the packet, or acknowledged with it.
    std::uint32_t submit_into(TxSlot& slot, OperationKind kind, CompletionLevel level, bool fetch = false)
    {
        Operation value = operation(kind, level);
        value.atomic.fetch = fetch;
        const std::uint32_t record = pool.create(value, 8, queue.message_next());
        pool.framed_at_once(record);
        pool.chain(slot, record);
        pool.submit(queue, record);
        if (kind == OperationKind::message || kind == OperationKind::atomic) {
            queue.count_message();
        }
        return record;
    }
    TxSlot piece_of(std::uint32_t record) const
    {
        TxSlot slot;
        slot.piece = true;
        slot.message = record;
        return slot;
    }
    TxMessage& response(std::uint64_t total, std::uint64_t key)
    {
        TxMessage& message = pool.respond(queue, 3);
        message.kind = ReadResponse{1, 0, key, false};
        message.total = total;
        message.iov_count = 1;
        message.level = CompletionLevel::transmit;
        return message;
    }
    State state(std::uint32_t record) const { return pool[record].state; }
    void check() const
    {
        pool.check([this](std::uint32_t) -> const SendQueue& { return queue; });
    }

    std::vector<RemoteRange> remote{{100, 8, 1}};
    OutgoingPool pool{capacity, 0};
    SendQueue queue;
    Event event;
    bool wanted = false;
};

} // namespace

TEST_CASE("RemoteRanges: what lies so many bytes into the operation")
{
    RemoteRanges ranges;
    ranges.ranges = {{{100, 10, 1}, {200, 0, 2}, {300, 5, 3}, {}}};
    ranges.count = 3;
    const auto at = [&ranges](std::uint64_t offset) {
        const RemoteRange range = ranges.from(offset);
        return std::vector<std::uint64_t>{range.address, range.length, range.key};
    };
    CHECK(at(0) == std::vector<std::uint64_t>{100, 10, 1});
    CHECK(at(9) == std::vector<std::uint64_t>{109, 1, 1});
    CHECK(at(10) == std::vector<std::uint64_t>{300, 5, 3});
    CHECK(at(14) == std::vector<std::uint64_t>{304, 1, 3});
}

TEST_CASE("FaultLedger: awaits as many as are known to be made, across the wrap")
{
    FaultLedger faults;
    for (std::uint32_t made = 1; made < 0x20005; ++made) {
        faults.learn(static_cast<std::uint16_t>(made));
        REQUIRE(faults.awaits());
        faults.learn(static_cast<std::uint16_t>(made - 1)); // an old acknowledgement
        REQUIRE(faults.awaits());
        faults.arrived();
        REQUIRE_FALSE(faults.awaits());
    }
    faults.arrived(); // ahead of the acknowledgement that counts it
    CHECK_FALSE(faults.awaits());
    faults.learn(5);
    CHECK_FALSE(faults.awaits());
}

TEST_CASE("SendQueue: what the peer says it has delivered is believed as far as it can be true")
{
    SendQueue queue;
    for (std::uint32_t i = 0; i < message_window; ++i) {
        REQUIRE_FALSE(queue.message_window_full());
        queue.count_message();
    }
    CHECK(queue.message_window_full());
    queue.on_delivered(message_window + 1); // not sent yet
    CHECK(queue.message_delivered() == 0);
    queue.on_delivered(5);
    CHECK_FALSE(queue.message_window_full());
    queue.on_delivered(4);
    CHECK(queue.message_delivered() == 5);
    queue.on_delivered(message_window);
    CHECK(queue.message_delivered() == message_window);
}

TEST_CASE("SendQueue: what is delivered is counted on where numbers wrap, and where they change their sign")
{
    for (const std::uint32_t start : {0xfffffffcU, 0x7ffffffcU}) {
        FirstNumbers first;
        first.message = start;
        SendQueue queue(first);
        for (std::uint32_t next = start + 1; next != start + 9; ++next) {
            queue.on_delivered(next); // not sent yet
            CHECK(queue.message_delivered() == next - 1);
            queue.count_message();
            queue.on_delivered(next);
            queue.on_delivered(next - 1); // late
            CHECK(queue.message_delivered() == next);
        }
    }
}

TEST_CASE("OutgoingPool: a record says what the operation is")
{
    Sender sender;
    sender.queue.count_message();
    iovec memory[2] = {{nullptr, 3}, {nullptr, 5}};
    Operation operation = sender.operation(OperationKind::message);
    operation.iov = memory;
    const TxMessage& message = sender.pool[sender.pool.create(operation, 8, 1)];
    CHECK(message.is<EagerSend>());
    CHECK(message.is_message());
    CHECK(message.sequence == 1);
    CHECK(message.total == 8);
    CHECK(message.peer == 3);
    CHECK(message.cookie == 12);
    CHECK(message.envelope.tag == 11);
    CHECK(message.pieces().size() == 2);
    CHECK(message.state == State::queued);

    const TxMessage& write = sender.pool[sender.create(OperationKind::write, 8)];
    CHECK(write.sequence == 0);
    CHECK(sender.pool.ranges(write.as<WriteSend>()->ranges).count == 1);
    CHECK(sender.pool.ranges(write.as<WriteSend>()->ranges).ranges[0].address == 100);
    CHECK(sender.pool[sender.create(OperationKind::read, 8)].sequence == 0); // reads count for themselves
    CHECK(sender.pool[sender.create(OperationKind::read, 8)].sequence == 1);

    operation.kind = OperationKind::atomic;
    operation.atomic.fetch = true;
    operation.atomic.result = std::span(memory).first(1);
    const TxMessage& atomic = sender.pool[sender.pool.create(operation, 8, 1)];
    CHECK(atomic.fetches());
    CHECK(atomic.sequence == 1);
    CHECK(atomic.pieces().size() == 1); // where the result goes
    sender.check();
}

TEST_CASE("OutgoingPool: operations leave records for the answers to reads")
{
    Sender sender;
    std::vector<std::uint32_t> records;
    for (std::uint32_t i = 0; i < capacity - reserved; ++i) {
        records.push_back(sender.create(OperationKind::read, 8));
    }
    CHECK(sender.pool.create(sender.operation(OperationKind::read), 8, 0) == no_index);
    CHECK(sender.pool.has_room_for_responses(reserved));
    CHECK_FALSE(sender.pool.has_room_for_responses(reserved + 1));
    for (std::uint32_t i = 0; i < reserved; ++i) {
        sender.response(8, 1);
    }
    CHECK_FALSE(sender.pool.has_room_for_responses(1));
    sender.pool.discard(records.back());
    CHECK(sender.pool.has_room_for_responses(1));
    CHECK(sender.pool.create(sender.operation(OperationKind::read), 8, 0) == no_index);
    sender.check();
}

TEST_CASE("OutgoingPool: a message in several packets is done when the last of them is acknowledged")
{
    Sender sender;
    const std::uint32_t record = sender.submit(OperationKind::message, 100);
    CHECK(sender.queue.first_waiting() == record);
    CHECK(sender.queue.oldest_operation() == record);
    sender.pool.framed(sender.queue, record, 60, 100);
    CHECK(sender.queue.any_waiting());
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    CHECK_FALSE(sender.pool.any_done()); // not all of it is framed
    sender.pool.framed(sender.queue, record, 30, 100);
    sender.pool.framed(sender.queue, record, 10, 100);
    CHECK_FALSE(sender.queue.any_waiting());
    CHECK(sender.state(record) == State::framed);
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    CHECK_FALSE(sender.pool.any_done());
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    CHECK_FALSE(sender.queue.any_operation());
    REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
    CHECK(sender.wanted);
    CHECK(sender.event.kind == Event::Kind::send_done);
    CHECK(sender.event.cause == Cause::none);
    CHECK(sender.event.cookie == 12);
    CHECK(sender.event.length == 100);
    CHECK(sender.event.peer == PeerId{3});
    CHECK(sender.pool.drained());
    CHECK_FALSE(sender.pool.poll_done(sender.event, sender.wanted));
}

TEST_CASE("OutgoingPool: all operations of a packet are done with it")
{
    Sender sender;
    TxSlot slot;
    for (const CompletionLevel level :
         {CompletionLevel::transmit, CompletionLevel::none, CompletionLevel::inject}) {
        sender.submit_into(slot, OperationKind::message, level);
    }
    sender.pool.packet_acked(sender.queue, slot);
    CHECK_FALSE(sender.queue.any_operation());
    unsigned wanted = 0;
    for (int i = 0; i < 3; ++i) {
        REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
        wanted += sender.wanted ? 1U : 0U;
    }
    CHECK(wanted == 2); // not the one that nobody waits for
    CHECK(sender.pool.drained());
}

TEST_CASE("OutgoingPool: a long message goes as far as it is granted")
{
    Sender sender;
    const std::uint32_t record =
        sender.submit(OperationKind::message, eager_limit + 1, CompletionLevel::delivery);
    CHECK(sender.pool[record].is<RequestedSend>());
    CHECK(sender.pool[record].sends_data(0));
    CHECK(sender.pool[sender.submit(OperationKind::message, eager_limit)].is<EagerSend>());
    sender.pool.requested(sender.queue, record);
    CHECK(sender.state(record) == State::waiting);
    CHECK(sender.queue.first_waiting() != record);

    CHECK(sender.pool.granted(sender.queue, record, 600, 77));
    CHECK(sender.queue.first_granted() == record);
    CHECK(sender.pool[record].as<RequestedSend>()->remote_handle == 77);
    CHECK_FALSE(sender.pool.granted(sender.queue, record, 700, 77)); // it is listed already
    CHECK_FALSE(sender.pool.granted(sender.queue, record, 500, 77)); // an old one
    CHECK(sender.pool[record].as<RequestedSend>()->granted == 700);
    sender.pool.framed(sender.queue, record, 400, 700);
    CHECK(sender.queue.any_granted());
    sender.pool.framed(sender.queue, record, 300, 700);
    CHECK_FALSE(sender.queue.any_granted());
    CHECK(sender.state(record) == State::waiting);
    CHECK_FALSE(sender.pool.granted(sender.queue, record, 700, 77));
    for (int i = 0; i < 2; ++i) {
        sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    }
    CHECK(sender.state(record) == State::waiting);
    CHECK(sender.pool.granted(sender.queue, record, eager_limit + 1, 77));
    sender.pool.framed(sender.queue, record, 301, eager_limit + 1);
    CHECK(sender.state(record) == State::framed);
    sender.pool.packet_acked(sender.queue, sender.piece_of(record)); // acknowledged data is placed data
    REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
    CHECK(sender.event.length == eager_limit + 1);
    sender.check();
}

TEST_CASE("OutgoingPool: a long message that the receiver read in our memory goes nowhere")
{
    Sender sender;
    const std::uint32_t record = sender.submit(OperationKind::message, 5000, CompletionLevel::delivery);
    sender.pool.requested(sender.queue, record);
    sender.pool.read_by_peer(sender.queue, record);
    CHECK(sender.state(record) == State::done);
    CHECK_FALSE(sender.queue.any_operation());
}

TEST_CASE("OutgoingPool: an eager message asked to be delivered waits for word of that")
{
    Sender sender;
    const std::uint32_t record = sender.submit(OperationKind::message, 100, CompletionLevel::delivery);
    sender.pool.framed(sender.queue, record, 100, 100);
    SECTION("after the acknowledgement")
    {
        sender.pool.packet_acked(sender.queue, sender.piece_of(record));
        CHECK_FALSE(sender.pool.any_done());
        sender.pool[record].as<EagerSend>()->delivered = true;
        sender.pool.progress(sender.queue, record);
        CHECK(sender.pool.any_done());
    }
    SECTION("before it")
    {
        sender.pool[record].as<EagerSend>()->delivered = true;
        sender.pool.progress(sender.queue, record);
        CHECK_FALSE(sender.pool.any_done());
        sender.pool.packet_acked(sender.queue, sender.piece_of(record));
        CHECK(sender.pool.any_done());
    }
}

TEST_CASE("OutgoingPool: an acknowledged write is a delivered one")
{
    Sender sender;
    const std::uint32_t record = sender.submit(OperationKind::write, 100, CompletionLevel::delivery);
    sender.pool.framed(sender.queue, record, 100, 100);
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    CHECK(sender.state(record) == State::done);
}

TEST_CASE("OutgoingPool: a handle from the wire names an operation of that peer and number, or none")
{
    Sender sender;
    sender.queue.count_message();
    const std::uint32_t record = sender.submit(OperationKind::message, 100);
    CHECK(sender.pool.find(record, 3, 0) == nullptr);
    CHECK(sender.pool.find(record, 4, 1) == nullptr);
    CHECK(sender.pool.find(record + 1, 3, 1) == nullptr);
    CHECK(sender.pool.find(no_index, 3, 1) == nullptr);
    CHECK(sender.pool.find(record, 3, 1) == &sender.pool[record]);
}

TEST_CASE("OutgoingPool: a write is suspect while a fault frame is on its way")
{
    Sender sender;
    TxSlot slot;
    const std::uint32_t write = sender.submit_into(slot, OperationKind::write, CompletionLevel::transmit);
    const std::uint32_t failed = sender.submit_into(slot, OperationKind::write, CompletionLevel::transmit);
    sender.queue.faults().learn(1); // the acknowledgement says so
    sender.pool.packet_acked(sender.queue, slot);
    CHECK(sender.state(write) == State::suspect);
    CHECK(sender.state(failed) == State::suspect);
    CHECK_FALSE(sender.pool.any_done());
    sender.check();
    sender.pool.release_suspects(sender.queue);
    CHECK_FALSE(sender.pool.any_done());
    sender.queue.faults().arrived();
    sender.pool.complete(sender.queue, failed, Cause::bad_key);
    sender.pool.release_suspects(sender.queue);
    REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
    CHECK(sender.event.cause == Cause::bad_key);
    REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
    CHECK(sender.event.cause == Cause::none);
    CHECK_FALSE(sender.queue.any_operation());
    CHECK(sender.pool.drained());
}

TEST_CASE("OutgoingPool: an atomic is suspect until its turn has come, unless its result says more")
{
    Sender sender;
    TxSlot slot;
    const std::uint32_t atomic = sender.submit_into(slot, OperationKind::atomic, CompletionLevel::transmit);
    const std::uint32_t later = sender.submit_into(slot, OperationKind::atomic, CompletionLevel::transmit);
    const std::uint32_t inject = sender.submit_into(slot, OperationKind::atomic, CompletionLevel::inject);
    sender.pool.packet_acked(sender.queue, slot);
    CHECK(sender.state(atomic) == State::suspect);
    CHECK(sender.state(later) == State::suspect);
    CHECK(sender.state(inject) == State::done);
    sender.queue.on_delivered(1);
    sender.pool.release_suspects(sender.queue);
    CHECK(sender.state(atomic) == State::done);
    CHECK(sender.state(later) == State::suspect);
    sender.check();
    sender.queue.faults().learn(1);
    sender.queue.on_delivered(2);
    sender.pool.release_suspects(sender.queue);
    CHECK(sender.state(later) == State::suspect);
    sender.queue.faults().arrived();
    sender.pool.release_suspects(sender.queue);
    CHECK(sender.state(later) == State::done);

    TxSlot none;
    const std::uint32_t fetch =
        sender.submit_into(none, OperationKind::atomic, CompletionLevel::transmit, true);
    sender.pool.complete(sender.queue, fetch, Cause::none);
    CHECK(sender.state(fetch) == State::done);
}

TEST_CASE("OutgoingPool: a served read is told of when every byte has got there")
{
    Sender sender;
    sender.response(100, 5);
    const std::uint32_t record = sender.queue.first_granted();
    CHECK_FALSE(sender.queue.any_operation());
    sender.pool.framed(sender.queue, record, 60, 100);
    sender.pool.framed(sender.queue, record, 40, 100);
    CHECK_FALSE(sender.queue.any_granted());
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    CHECK_FALSE(sender.pool.any_done());
    sender.check();
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
    CHECK(sender.wanted);
    CHECK(sender.event.kind == Event::Kind::read_served);
    sender.check();
    CHECK(sender.pool.drained());
}

TEST_CASE("OutgoingPool: revoked memory is touched by no response to come")
{
    Sender sender;
    TxMessage& mine = sender.response(100, 5);
    TxMessage& other = sender.response(100, 6);
    CHECK_FALSE(sender.pool.revoke(7));
    CHECK(sender.pool.revoke(5));
    CHECK(mine.is_revoked());
    CHECK(mine.pieces().empty());
    CHECK(mine.level == CompletionLevel::none);
    CHECK_FALSE(other.is_revoked());
    CHECK(other.pieces().size() == 1);
    const std::uint32_t record = sender.queue.first_granted();
    sender.pool.framed(sender.queue, record, 100, 100);
    sender.pool.packet_acked(sender.queue, sender.piece_of(record));
    CHECK_FALSE(sender.pool.revoke(5)); // over already
    REQUIRE(sender.pool.poll_done(sender.event, sender.wanted));
    CHECK_FALSE(sender.wanted);
    CHECK_FALSE(sender.pool.revoke(5));
}

TEST_CASE("OutgoingPool: when the connection ends every operation ends with its cause, once")
{
    Sender sender;
    sender.pool.framed(sender.queue, sender.submit(OperationKind::message, 100), 40, 100);
    const std::uint32_t half_framed = sender.queue.oldest_operation();
    const std::uint32_t requested = sender.submit(OperationKind::message, 5000);
    const std::uint32_t granted = sender.submit(OperationKind::message, 5000);
    TxSlot slot;
    const std::uint32_t failed = sender.submit_into(slot, OperationKind::write, CompletionLevel::transmit);
    sender.pool[failed].cause = Cause::bad_key; // known, its packet is not acknowledged
    TxSlot acked;
    sender.submit_into(acked, OperationKind::write, CompletionLevel::transmit);
    sender.queue.faults().learn(1);
    sender.pool.packet_acked(sender.queue, acked); // suspect
    sender.pool.requested(sender.queue, requested);
    sender.pool.requested(sender.queue, granted);
    sender.pool.granted(sender.queue, granted, 100, 1);
    sender.response(100, 5);
    const std::uint32_t unsent = sender.queue.first_granted() == granted
                                     ? TxMessage(sender.pool[granted]).queue.next
                                     : sender.queue.first_granted();
    sender.response(100, 5);
    const std::uint32_t sent = sender.pool[unsent].queue.next;
    sender.pool.framed(sender.queue, sent, 100, 100);

    sender.pool.abandon_mark(sender.queue, Cause::stopped_answering);
    CHECK_FALSE(sender.queue.any_waiting());
    CHECK_FALSE(sender.queue.any_granted());
    for (const TxSlot& packet : {sender.piece_of(half_framed), slot, sender.piece_of(sent)}) {
        sender.pool.packet_abandoned(sender.queue, packet);
    }
    sender.pool.abandon_finish(sender.queue);
    CHECK_FALSE(sender.queue.any_operation());
    std::vector<Cause> causes;
    while (sender.pool.poll_done(sender.event, sender.wanted)) {
        CHECK(sender.wanted == (sender.event.kind == Event::Kind::send_done)); // its reader finds out itself
        if (sender.wanted) {
            causes.push_back(sender.event.cause);
        }
    }
    CHECK(causes.size() == 5);
    CHECK(std::count(causes.begin(), causes.end(), Cause::stopped_answering) == 4);
    CHECK(std::count(causes.begin(), causes.end(), Cause::bad_key) == 1);
    CHECK(sender.pool.drained());
}
