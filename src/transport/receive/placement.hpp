// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Incoming messages from their first frame to their end: the order in which they
// are announced, the matching layer's answers, where their bytes go, and the
// receiver's grants.
//
// A message is announced when it is its turn (Receiver::message_next). The
// matching layer then accepts it into a buffer, parks it as unexpected, or
// refuses it for want of memory, while its bytes still lie in the packet. A
// whole message that is accepted at once is copied out of the packet and leaves
// no record.
#pragma once

#include <cstdint>
#include <span>

#include <sys/uio.h>

#include <srd/status.hpp>
#include <srd/types.hpp>

#include "io/core/local_road.hpp"
#include "operation.hpp"
#include "receive/frame_result.hpp"
#include "shared.hpp"

namespace srd {

/// The id of the announced message while it has no record.
inline constexpr MessageId current_message{0xfffffffe};

class Placement {
public:
    explicit Placement(Shared& shared) noexcept : s_(shared) {}

    // -- Frames of messages, of the open packet

    FrameResult on_eager(const wire::EagerFrame& frame, Event& event);
    FrameResult on_request(const wire::RequestedMessage& frame, Event& event);
    FrameResult on_data(const wire::DataPiece& frame);

    /// The message at LocalRoad::front(), whose turn it is; `frame` is what it would be in a packet.
    void on_local(std::uint32_t peer, const wire::EagerFrame& frame, Event& event);

    // -- Events

    /// The next receive_done or message_lost, if there is one.
    bool poll_done(Event& event);
    /// Announces a held message whose turn has come.
    void announce(std::uint32_t record, Event& event);

    // -- The matching layer's answers (Engine has their contract)

    Status accept(MessageId id, std::span<const iovec> iov, DeviceId device, std::uint64_t cookie,
                  Accepted& outcome);
    Status park(MessageId& id);
    void refuse(MessageId id);
    void discard(MessageId id);

    // -- Of use to remote access, whose operations arrive like messages

    /// Keeps a message or atomic that came before its turn; `fill(record)` sets its kind, total and payload,
    /// and returns false if there is no memory. `bytes`: of payload to be kept.
    template <typename Fill>
    FrameResult hold(std::uint32_t peer, std::uint32_t sequence, std::uint64_t bytes, Fill&& fill);
    /// The announced message or atomic is taken: the next one may come.
    void finish_turn();
    /// Nothing of the rest of the open packet is taken. It stays unacknowledged; what was already taken from
    /// it is recognised when it comes again.
    void refuse_packet();
    /// What was refused before has been taken now.
    void accept_again(std::uint32_t peer);
    /// A read of ours has all its bytes, or has failed.
    void finish_read(std::uint32_t record, Cause cause);
    /// The record wants bytes: grants follow as the budget allows.
    void want_grant(std::uint32_t record);
    void release(std::uint32_t record);

    enum class Fetched : std::uint8_t {
        here,
        lost,   ///< with the packet, which comes again
        unread, ///< the sender has said where they are, and they could not be read there
    };
    /// A frame's bytes come to `into`, from `offset` on; what lies beyond its end is dropped.
    Fetched fetch(std::uint32_t peer, const wire::Payload& payload, std::span<const iovec> into,
                  std::uint64_t offset) noexcept;
    /// The sender of what could not be read is told to send it: a fault is owed. False: there is no record.
    bool tell_unread(std::uint32_t peer, std::uint32_t sequence, std::uint32_t handle);
    /// A record of an answer to the peer's operation; no_index if there are too many.
    std::uint32_t new_answer(std::uint32_t peer, std::uint32_t sequence, std::uint32_t handle);
    void owe(std::uint32_t record, const Answer& answer, Cause cause);

    // -- The sender's grants

    void issue_grants();
    std::uint64_t grant_quantum(std::uint32_t peer) const noexcept;

    /// The peer's connection has ended: what can no longer be completed is reported or forgotten; whole
    /// unexpected messages stay for their receive.
    void abandon(std::uint32_t peer, Cause cause);

private:
    static void describe(RxMessage& message, const wire::EagerFrame& frame) noexcept;
    static void describe(RxMessage& message, const wire::RequestedMessage& frame) noexcept;
    /// A record of the message that begins with `frame`; no_index if there are too many.
    template <typename Frame>
    std::uint32_t create(std::uint32_t peer, const Frame& frame, bool reserve)
    {
        const std::uint32_t record =
            s_.incoming.create(s_.peers[peer].incoming, peer, frame.sequence, reserve);
        if (record != no_index) {
            describe(s_.incoming[record], frame);
        }
        return record;
    }
    void announce(std::uint32_t peer, std::uint32_t record, const Envelope& envelope, std::uint64_t total,
                  Event& event);
    void describe_event(PeerId peer, MessageId id, const Envelope& envelope, std::uint64_t total,
                        Event& event);
    FrameResult on_first(const wire::EagerFrame& frame, Event& event);
    Fetched place(RxMessage& message, std::uint64_t offset, const wire::Payload& payload);
    FrameResult on_unscheduled(std::uint32_t record, const wire::EagerFrame& frame);
    bool store_first(RxMessage& message, std::uint64_t offset, std::span<const std::byte> payload) noexcept;
    void find_later(std::uint32_t record) noexcept;
    void unstore(RxMessage& message);
    void on_granted_bytes(std::uint32_t record, std::uint64_t size);
    bool read_from_sender(RxMessage& message, std::span<const iovec> from) noexcept;
    Fetched place_on_device(RxMessage& message, std::uint64_t offset, const wire::Payload& payload);
    /// From the memory of the peer's process, as ProcessMemory::read.
    bool read(std::uint32_t peer, std::uint32_t epoch, std::span<const iovec> from,
              std::span<const iovec> into) noexcept;
    Accepted accept_whole(const wire::EagerFrame& frame, std::span<const iovec> iov, DeviceId device);
    void attach_buffer(RxMessage& message, std::span<const iovec> iov, DeviceId device, std::uint64_t cookie);
    void complete(std::uint32_t record);
    void finish(std::uint32_t record);
    void settle(std::uint32_t record);
    void abandon_record(std::uint32_t record, Cause cause);
    void memory_freed();

    Shared& s_;
};

inline void Placement::accept_again(std::uint32_t peer)
{
    if (s_.peers[peer].connection.receiver.accept_again()) [[unlikely]] {
        SRD_DCHECK(s_.refusing_peers != 0);
        --s_.refusing_peers;
        s_.peers.activate(peer);
    }
}

inline void Placement::finish_turn()
{
    const std::uint32_t peer = s_.reader.peer();
    Receiver& receiver = s_.peers[peer].connection.receiver;
    receiver.announced();
    if (receiver.held() != 0) {
        s_.reader.set_turn_of(peer);
    }
    if (s_.reader.is_local()) {
        s_.caps.local->pop();
        if (receiver.held() != 0) { // their packets were acknowledged before their turn came
            receiver.request_ack();
            s_.peers.activate(peer);
        }
    }
    s_.reader.answered();
    accept_again(peer);
}

template <typename Fill>
FrameResult Placement::hold(std::uint32_t peer, std::uint32_t sequence, std::uint64_t bytes, Fill&& fill)
{
    Receiver& receiver = s_.peers[peer].connection.receiver;
    if (receiver.ahead(sequence) > static_cast<std::int32_t>(message_window)) {
        return FrameResult::malformed;
    }
    if (s_.incoming.find(peer, sequence) != no_index) {
        return FrameResult::next; // taken from an earlier copy of the packet
    }
    if (!s_.incoming.can_hold(PayloadPool::footprint(bytes))) {
        return FrameResult::refuse;
    }
    const std::uint32_t record = s_.incoming.create(s_.peers[peer].incoming, peer, sequence, true);
    if (record == no_index) {
        return FrameResult::refuse;
    }
    if (!fill(record)) {
        release(record);
        return FrameResult::refuse;
    }
    s_.incoming.hold(s_.incoming[record]);
    s_.incoming.insert(record);
    receiver.on_held();
    s_.count.rx_reordered_messages.add();
    return FrameResult::next;
}

} // namespace srd
