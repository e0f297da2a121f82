// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations and responses a piece of which is named, with packets that are made by hand: until it is
// acknowledged, and no fault is on its way, nobody knows whether the peer has read it.
#include <vector>

#include "send/outgoing.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;
using State = TxMessage::State;

struct Sender {
    std::uint32_t write(std::uint64_t total)
    {
        const RemoteRange range{100, total, 1};
        Operation operation;
        operation.kind = OperationKind::write;
        operation.peer = PeerId{3};
        operation.remote = {&range, 1};
        const std::uint32_t record = pool.create(operation, total, 0);
        REQUIRE(record != no_index);
        pool.submit_waiting(queue, record);
        return record;
    }
    std::uint32_t response(std::uint64_t total)
    {
        TxMessage& message = pool.respond(queue, 3);
        message.kind = ReadResponse{1, 0, 7, false};
        message.total = total;
        message.level = CompletionLevel::transmit;
        return pool.watermark() - 1;
    }
    std::uint32_t make(bool is_write, std::uint64_t total)
    {
        return is_write ? write(total) : response(total);
    }
    TxSlot piece_of(std::uint32_t record) const
    {
        TxSlot slot;
        slot.piece = true;
        slot.message = record;
        slot.named = true;
        return slot;
    }
    /// A fault frame has come that the acknowledgements count.
    void fault(std::uint32_t record)
    {
        queue.faults().arrived();
        pool.not_read(queue, record);
        pool.release_suspects(queue);
    }
    bool waits(bool is_write, std::uint32_t record) const
    {
        return (is_write ? queue.first_waiting() : queue.first_granted()) == record;
    }
    std::vector<Cause> ends()
    {
        std::vector<Cause> causes;
        while (pool.poll_done(event, wanted)) {
            causes.push_back(event.cause);
        }
        return causes;
    }
    void check() const
    {
        pool.check([this](std::uint32_t) -> const SendQueue& { return queue; });
    }

    OutgoingPool pool{64, 0};
    SendQueue queue;
    Event event;
    bool wanted = false;
};

} // namespace

TEST_CASE("OutgoingPool: a named piece is acknowledged before the next is framed, in front of what waits")
{
    for (const bool is_write : {true, false}) {
        Sender sender;
        const std::uint32_t record = sender.make(is_write, 300);
        const std::uint32_t other = sender.make(is_write, 10);
        sender.pool.framed_named(sender.queue, record, 200);
        CHECK(sender.pool[record].state == State::waiting);
        CHECK(sender.pool[record].framed == 200);
        CHECK(sender.queue.named() == 200);
        CHECK(sender.waits(is_write, other));
        sender.check();
        sender.pool.packet_acked(sender.queue, sender.piece_of(record));
        CHECK(sender.waits(is_write, record));
        CHECK(sender.queue.named() == 0);
        sender.pool.framed_named(sender.queue, record, 100);
        sender.pool.packet_acked(sender.queue, sender.piece_of(record));
        CHECK(sender.ends() == std::vector<Cause>{Cause::none});
        CHECK(sender.waits(is_write, other));
    }
}

TEST_CASE("OutgoingPool: what was acknowledged unread is framed again, whichever comes first, fault or "
          "acknowledgement")
{
    for (const bool is_write : {true, false}) {
        for (const bool fault_first : {true, false}) {
            for (const std::uint32_t bytes : {200U, 300U}) {
                Sender sender;
                const std::uint32_t record = sender.make(is_write, 300);
                sender.pool.framed_named(sender.queue, record, bytes);
                if (fault_first) {
                    sender.fault(record);
                    CHECK_FALSE(sender.waits(is_write, record)); // its packet may be sent again
                }
                sender.queue.faults().learn(1); // says the acknowledgement
                sender.pool.packet_acked(sender.queue, sender.piece_of(record));
                CHECK(sender.queue.any_doubtful() == !fault_first);
                CHECK(sender.ends().empty());
                sender.check();
                if (!fault_first) {
                    CHECK_FALSE(sender.waits(is_write, record));
                    sender.fault(record);
                }
                CHECK_FALSE(sender.queue.any_doubtful());
                CHECK(sender.waits(is_write, record));
                CHECK(sender.pool[record].framed == 0);
                CHECK(sender.pool[record].carried);
                CHECK(sender.queue.named() == 0);
                sender.check();
            }
        }
    }
}

TEST_CASE("OutgoingPool: a fault of something else leaves what was named as read")
{
    for (const bool is_write : {true, false}) {
        Sender sender;
        const std::uint32_t record = sender.make(is_write, 300);
        sender.pool.framed_named(sender.queue, record, 300);
        sender.queue.faults().learn(1);
        sender.pool.packet_acked(sender.queue, sender.piece_of(record));
        CHECK(sender.queue.any_doubtful());
        CHECK(sender.ends().empty());
        sender.queue.faults().arrived();
        sender.pool.release_suspects(sender.queue);
        CHECK(sender.ends() == std::vector<Cause>{Cause::none});
        CHECK(sender.pool.drained());
    }
}

TEST_CASE("OutgoingPool: a connection ends with pieces that are named, and with some in doubt")
{
    for (const bool is_write : {true, false}) {
        for (const bool acked : {true, false}) {
            Sender sender;
            const std::uint32_t record = sender.make(is_write, 300);
            sender.pool.framed_named(sender.queue, record, 200);
            if (acked) {
                sender.queue.faults().learn(1);
                sender.pool.packet_acked(sender.queue, sender.piece_of(record));
                REQUIRE(sender.queue.any_doubtful());
            }
            sender.pool.abandon_mark(sender.queue, Cause::restarted);
            if (!acked) {
                sender.pool.packet_abandoned(sender.queue, sender.piece_of(record));
            }
            sender.pool.abandon_finish(sender.queue);
            CHECK_FALSE(sender.queue.any_doubtful());
            CHECK(sender.queue.named() == 0);
            CHECK(sender.ends() == std::vector<Cause>{is_write ? Cause::restarted : Cause::closed});
            CHECK(sender.pool.drained());
        }
    }
}
