// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations between submit() and send_done, and pieces of our memory on their
// way to a peer that reads them. Two classes own their law:
//
//   SendQueue     one per connection: what waits to be framed, in order; what is complete when
//   OutgoingPool  the records, shared by all peers, and the list of those that are done
//
//            submit                framed              last byte acknowledged
//   queued ─────────► queued ───────────────► framed ─────────────────────────► done
//                       │ request framed         ▲            │
//                       └──► waiting ─► granted ─┘            └─► suspect ─► done
//                                 grant
//
//
// A requested message whose first bytes follow unscheduled stays queued until these are framed; its grant may
// have come by then.
//
// To a peer on this host that reads our memory, large pieces of a write or a response are named instead of
// sent, one of an operation at a time: it waits until that is acknowledged, which says that it was read
// unless a fault frame is on its way (FaultLedger). If one is, the operation goes on with packets.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/check.hpp>
#include <srd/growing_slab.hpp>
#include <srd/intrusive_list.hpp>
#include <srd/limits.hpp>
#include <srd/one_of.hpp>
#include <srd/slab.hpp>
#include <srd/status.hpp>

#include "operation.hpp"
#include "rma/fault_ledger.hpp"
#include "send/packet_pool.hpp"
#include "wire/frames.hpp"

namespace srd {

/// Where a write or a read goes.
struct RemoteRanges {
    std::array<RemoteRange, max_iov> ranges{};
    std::uint32_t count = 0;

    /// What of the ranges begins `offset` bytes into the operation. `offset` lies inside or, if everything
    /// is empty, is 0.
    RemoteRange from(std::uint64_t offset) const noexcept
    {
        std::uint32_t i = 0;
        while (i + 1 < count && offset >= ranges[i].length) {
            offset -= ranges[i++].length;
        }
        return {ranges[i].address + offset, ranges[i].length - offset, ranges[i].key};
    }
};

/// A message sent without asking.
struct EagerSend {
    bool delivered = false; ///< a delivered frame has come
};
/// A message whose sending the receiver governs with grants.
struct RequestedSend {
    std::uint64_t granted = 0;              ///< bytes the receiver allows
    std::uint32_t remote_handle = no_index; ///< the receiver's name for it
    std::uint32_t unscheduled = 0;          ///< its first bytes, which wait for no grant
    bool asked = false;                     ///< the request is framed
};
struct WriteSend {
    std::uint32_t ranges = no_index; ///< of OutgoingPool::ranges()
};
/// A read: its bytes arrive as a ReadReceive.
struct ReadSend {
    std::uint32_t ranges = no_index;
};
struct AtomicSend {
    bool fetch = false; ///< a result is awaited
};
/// A piece of our memory that a peer reads. On no list of its peer's operations.
struct ReadResponse {
    std::uint32_t remote_handle = no_index; ///< the reader's name for its operation
    std::uint64_t base = 0;                 ///< where the piece begins in it
    std::uint64_t key = 0;                  ///< of the region it is read from
    bool revoked = false;                   ///< the memory must not be touched any more
};

/// No operation but the news of a connection's end: Event::Kind::peer_lost.
struct EndNews {
    std::uint32_t operations = 0;
};

struct TxMessage : OneOf<EagerSend, RequestedSend, WriteSend, ReadSend, AtomicSend, ReadResponse, EndNews> {
    enum class State : std::uint8_t {
        queued,  ///< on SendQueue::waiting, not (entirely) framed
        waiting, ///< requested, waiting for a grant; a read, waiting for its bytes; a piece of it is named
        granted, ///< on SendQueue::granted
        framed,  ///< every byte is in some packet
        suspect, ///< acknowledged, but an atomic's turn has not come, or fault frames are on their
                 ///< way: perhaps one for it
        done,    ///< on the pool's done list
    };

    TxMessage() noexcept {} // leaves `iov` alone: one is made for every message

    bool is_message() const noexcept { return is<EagerSend>() || is<RequestedSend>(); }
    bool is_buffered() const noexcept { return buffer != no_index; }
    bool fetches() const noexcept { return is<AtomicSend>() && as<AtomicSend>()->fetch; }
    bool is_revoked() const noexcept { return is<ReadResponse>() && as<ReadResponse>()->revoked; }
    /// Its bytes at `offset` follow the request without a grant.
    bool is_unscheduled(std::uint64_t offset) const noexcept
    {
        return is<RequestedSend>() && offset < as<RequestedSend>()->unscheduled;
    }
    /// They go out in data frames: what the receiver asked for.
    bool sends_data(std::uint64_t offset) const noexcept
    {
        return (is<RequestedSend>() && !is_unscheduled(offset)) || is<ReadResponse>();
    }
    /// Pieces of it may be named.
    bool is_access() const noexcept { return is<WriteSend>() || is<ReadResponse>(); }
    std::span<const iovec> pieces() const noexcept { return {iov.data(), iov_count}; }

    Link all;   ///< the peer's list of all its operations
    Link queue; ///< SendQueue::waiting or granted, a packet's completion chain (next only) or the done list
    std::array<iovec, max_iov> iov; ///< the first iov_count are set
    std::uint64_t total = 0;        ///< bytes
    std::uint64_t framed = 0;       ///< bytes already in packets
    std::uint64_t cookie = 0;
    Envelope envelope;
    std::uint32_t peer = no_index;
    std::uint32_t sequence = 0;       ///< messages and atomics: of the peer's messages; reads: our own count
    std::uint32_t unacked = 0;        ///< packets with pieces of it that are not acknowledged
    std::uint32_t fence_end = 0;      ///< fence: the first psn after all operations before it
    std::uint32_t fence_messages = 0; ///< fence: the first message or atomic after those before it
    std::uint32_t buffer = no_index;  ///< the pool's, which has its payload
    std::uint32_t named = 0;          ///< bytes of the piece that the peer is to read; 0: none is under way
    std::uint8_t iov_count = 0;
    State state = State::queued;
    CompletionLevel level = CompletionLevel::none;
    Cause cause = Cause::none;
    bool fence = false;
    DeviceId device = DeviceId::host; ///< whose memory `iov` is
    std::uint32_t staged = 0;         ///< sent from a device: its name in DeviceStaging
    bool carried = false;             ///< the peer could not read a piece of it: they are all sent
};

/// Operations that nobody would miss: without a record any more, or at CompletionLevel::none.
struct Unsent {
    std::uint32_t operations = 0;
    std::uint64_t bytes = 0;
};

class OutgoingPool;

/// The operations of one connection, in order.
class SendQueue {
public:
    using All = IndexList<&TxMessage::all>;
    using Waiting = IndexList<&TxMessage::queue>;

    explicit SendQueue(const FirstNumbers& first = {}) noexcept
        : message_next_(first.message), message_delivered_(first.message), faults_(first.faults)
    {
    }

    std::uint32_t message_next() const noexcept { return message_next_; } ///< sequence of the next message
    /// The peer has delivered every earlier message.
    std::uint32_t message_delivered() const noexcept { return message_delivered_; }
    bool message_window_full() const noexcept { return message_next_ - message_delivered_ >= message_window; }
    void count_message() noexcept { ++message_next_; }
    /// AckBlock::message_next. What goes backwards, or past what was sent, is ignored.
    void on_delivered(std::uint32_t next) noexcept
    {
        if (wire::sequence_distance(next, message_delivered_) > 0 &&
            wire::sequence_distance(next, message_next_) <= 0) {
            message_delivered_ = next;
        }
    }

    std::uint32_t first_waiting() const noexcept { return waiting_.front(); }
    std::uint32_t first_granted() const noexcept { return granted_.front(); }
    bool any_waiting() const noexcept { return !waiting_.empty(); }
    bool any_granted() const noexcept { return !granted_.empty(); }
    bool any_operation() const noexcept { return !all_.empty(); }
    /// Nobody knows yet whether the peer has read what it has acknowledged.
    bool any_doubtful() const noexcept { return !doubtful_.empty(); }
    /// Pieces that the peer is to read.
    std::uint32_t named() const noexcept { return named_; }
    std::uint32_t oldest_operation() const noexcept { return all_.front(); }

    FaultLedger& faults() noexcept { return faults_; }
    const FaultLedger& faults() const noexcept { return faults_; }

    /// An acknowledged operation that may still turn out to have failed. A write is placed before it is
    /// acknowledged; an atomic may be held for its turn, and is judged only then.
    bool is_suspect(const TxMessage& message) const noexcept;

private:
    friend class OutgoingPool;

    Waiting waiting_;  ///< to be framed, in order of submission
    Waiting granted_;  ///< to be framed as far as the peer allows
    Waiting doubtful_; ///< a piece was named and is acknowledged, but fault frames are on their way
    All all_;          ///< in order of submission
    std::uint32_t message_next_;
    std::uint32_t message_delivered_;
    std::uint16_t responses_ = 0; ///< of ours, incomplete
    std::uint32_t named_ = 0;     ///< bytes of the named pieces of operations and responses under way
    bool has_suspects_ = false;   ///< some operation may be a suspect
    FaultLedger faults_;
};

class OutgoingPool {
public:
    /// Operations leave so many records for the answers to peers that read from us: two endpoints
    /// that are full of reads from each other would otherwise wait for each other for ever.
    static constexpr std::uint32_t response_reserve = 2 * wire::max_rma_frames;

    /// `buffers`: bytes for buffer(). `first_read`: the sequence of the first read.
    OutgoingPool(std::uint32_t capacity, std::size_t buffers, std::uint32_t first_read = 0)
        : messages_(capacity), ranges_(capacity),
          buffers_(buffered_size, static_cast<std::uint32_t>(buffers / buffered_size)),
          read_sequence_(first_read)
    {
        SRD_CHECK(capacity <= UINT16_MAX); // SendQueue::responses_
    }

    TxMessage& operator[](std::uint32_t message) noexcept { return messages_[message]; }
    const TxMessage& operator[](std::uint32_t message) const noexcept { return messages_[message]; }
    const RemoteRanges& ranges(std::uint32_t index) const noexcept { return ranges_[index]; }

    /// The operation with that handle, which came from the wire; nullptr if there is none of this peer's with
    /// this sequence.
    TxMessage* find(std::uint32_t handle, std::uint32_t peer, std::uint32_t sequence) noexcept
    {
        if (!messages_.live(handle)) {
            return nullptr;
        }
        TxMessage& message = messages_[handle];
        return message.peer == peer && message.sequence == sequence ? &message : nullptr;
    }

    /// The record of an operation that is not yet on any list; no_index if there are too many.
    /// `next_message`: SendQueue::message_next() of its peer.
    std::uint32_t create(const Operation& operation, std::uint64_t total,
                         std::uint32_t next_message) noexcept;
    /// Takes over the payload of a message that create() made, at most buffered_size bytes, and reports it
    /// done: what becomes of it is nobody's concern any more. False: there is no room, and nothing has
    /// changed.
    bool buffer(std::uint32_t message) noexcept;
    /// Takes back a create(): nothing refers to the record.
    void discard(std::uint32_t message) noexcept;
    /// The record, which create() made, is the queue's latest operation, copied into packets already.
    void submit(SendQueue& queue, std::uint32_t message) noexcept;
    /// The same, and is still to be framed.
    void submit_waiting(SendQueue& queue, std::uint32_t message) noexcept;
    /// A message that waits, of which nothing was framed, is requested first. `unscheduled` bytes of it,
    /// fewer than all, follow the request without a grant.
    void ask_first(std::uint32_t message, std::uint32_t unscheduled) noexcept;

    bool has_room_for_responses(std::uint32_t count) const noexcept
    {
        return messages_.capacity() - messages_.in_use() >= count;
    }
    /// As many responses to that peer are under way as there are records left, or more.
    bool has_its_share(const SendQueue& queue) const noexcept
    {
        return queue.responses_ > messages_.capacity() - messages_.in_use();
    }
    /// A response to a peer's read, granted as a whole. The caller has made sure of room.
    TxMessage& respond(SendQueue& queue, std::uint32_t peer) noexcept;
    /// The memory served under `key` goes away: no response touches it any more. True if there was one.
    bool revoke(std::uint64_t key) noexcept;

    // State changes.
    /// The whole operation was copied into packets at once.
    void framed_at_once(std::uint32_t message) noexcept;
    /// The operation completes when the packet, in which its whole frame is, is acknowledged.
    void chain(TxSlot& slot, std::uint32_t message) noexcept
    {
        SRD_DCHECK(!slot.piece);
        messages_[message].queue.next = slot.message;
        slot.message = message;
    }
    /// The packet holds a copied piece of the operation, which completes when all such are acknowledged.
    void add_copied_piece(TxSlot& slot, std::uint32_t message) noexcept
    {
        SRD_DCHECK(slot.message == no_index);
        slot.piece = true;
        slot.message = message;
        ++messages_[message].unacked;
    }
    /// `bytes` more of a waiting or granted operation are in a packet; `limit`: as many as may be now.
    void framed(SendQueue& queue, std::uint32_t message, std::uint64_t bytes, std::uint64_t limit) noexcept;
    /// The same, named: nothing more of it is framed until the peer has read that.
    void framed_named(SendQueue& queue, std::uint32_t message, std::uint32_t bytes) noexcept;
    /// A fault frame says that the peer has not: those bytes are to be framed again, and sent.
    void not_read(SendQueue& queue, std::uint32_t message) noexcept;
    /// A request or the first read frame is out: the operation waits for the peer, unless it is a message of
    /// which unscheduled bytes follow.
    void requested(SendQueue& queue, std::uint32_t message) noexcept;
    /// True if there is something to frame now.
    bool granted(SendQueue& queue, std::uint32_t message, std::uint64_t limit,
                 std::uint32_t remote_handle) noexcept;
    /// The receiver has read a requested message out of our memory: nothing of it goes out.
    void read_by_peer(SendQueue& queue, std::uint32_t message) noexcept;

    /// A packet is acknowledged: what was in it moves on. Payload was copied or is the user's again.
    void packet_acked(SendQueue& queue, const TxSlot& slot) noexcept;
    /// A packet will never be: its connection has ended (abandon_mark() has marked its operations).
    void packet_abandoned(SendQueue& queue, const TxSlot& slot) noexcept;
    /// Completes the operation if nothing of it is outstanding.
    void progress(SendQueue& queue, std::uint32_t message) noexcept;
    /// Puts it on the done list, unless it is a suspect.
    void complete(SendQueue& queue, std::uint32_t message, Cause cause) noexcept;
    /// Fault frames have come, or are known not to come: completes the suspects that have become clear.
    void release_suspects(SendQueue& queue) noexcept;

    /// The connection ends: every operation is marked with `cause`, and what has no packet is completed.
    /// Two steps, for packets are abandoned in between: mark first, then finish.
    void abandon_mark(SendQueue& queue, Cause cause) noexcept;
    void abandon_finish(SendQueue& queue) noexcept;
    /// Before that: adds the connection's operations with a record that nobody would miss.
    void count_unsent(const SendQueue& queue, Unsent& unsent) const noexcept;
    /// The same for what is in a packet without a record; `frames`: what the packet holds, if it was copied.
    void count_unsent(const TxSlot& slot, std::span<const std::byte> frames, Unsent& unsent) const noexcept;
    /// Reports the connection's end if anybody may care, unless there is no record for it.
    void report_end(std::uint32_t peer, Cause cause, const Unsent& unsent) noexcept;

    bool any_done() const noexcept { return !done_.empty(); }
    /// The next completion; false if there is none. `event` is valid if the application wants it (`wanted`).
    bool poll_done(Event& event, bool& wanted) noexcept;
    /// Every submitted operation has been reported.
    bool drained() const noexcept { return messages_.in_use() == 0; }
    /// One more than the largest record ever in use.
    std::uint32_t watermark() const noexcept { return messages_.watermark(); }

    /// Aborts if a law is broken. `queue_of(peer)` is the SendQueue of that peer.
    template <typename QueueOf>
    void check(QueueOf&& queue_of) const
    {
        std::uint32_t serving = 0;
        for (std::uint32_t at = 0; at < messages_.watermark(); ++at) {
            if (!messages_.live(at)) {
                continue;
            }
            const TxMessage& message = messages_[at];
            const SendQueue& queue = queue_of(message.peer);
            serving += message.is<ReadResponse>() ? 1U : 0U;
            SRD_CHECK(message.framed <= message.total && message.named <= message.framed);
            SRD_CHECK(message.state != TxMessage::State::suspect || queue.is_suspect(message));
            SRD_CHECK(message.state != TxMessage::State::suspect || queue.has_suspects_);
        }
        SRD_CHECK(serving == responses_);
    }

private:
    /// Records that operations may have; the others are for answers.
    bool has_room() const noexcept
    {
        return messages_.in_use() + std::min(response_reserve, messages_.capacity() / 4) <
               messages_.capacity();
    }
    void release(std::uint32_t message) noexcept;
    void settle_named(SendQueue& queue, std::uint32_t message) noexcept;
    void forget_named(SendQueue& queue, std::uint32_t message) noexcept;
    bool grant_more(SendQueue& queue, std::uint32_t message) noexcept;

    Slab<TxMessage> messages_;
    Slab<RemoteRanges> ranges_; ///< one for each operation that needs it
    GrowingSlab buffers_;       ///< TxMessage::buffer
    SendQueue::Waiting done_;
    std::uint32_t responses_ = 0;
    std::uint32_t read_sequence_; ///< of the next read of ours
};

} // namespace srd
