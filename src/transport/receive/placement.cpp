// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/placement.hpp"

#include <algorithm>
#include <array>

#include <srd/iov.hpp>

namespace srd {

// -- Frames -----------------------------------------------------------------------

void Placement::describe(RxMessage& message, const wire::EagerFrame& frame) noexcept
{
    if (frame.is_requested()) {
        message.kind = GrantedReceive{.unscheduled = frame.unscheduled};
    }
    message.total = frame.total;
    message.envelope.tag = frame.tag;
    message.envelope.data = frame.data;
    message.envelope.flags = frame.flags;
    message.sender_handle = frame.handle;
    message.want_delivered = frame.want_delivered;
}

void Placement::describe(RxMessage& message, const wire::RequestedMessage& frame) noexcept
{
    message.kind = GrantedReceive{frame.source_epoch, frame.unscheduled};
    message.total = frame.total;
    message.envelope.tag = frame.tag;
    message.envelope.data = frame.data;
    message.envelope.flags = frame.flags;
    message.sender_handle = frame.handle;
    message.iov_count = frame.source_count;
    std::copy_n(frame.source.begin(), frame.source_count, message.iov.begin());
}

/// The first bytes of a message.
FrameResult Placement::on_first(const wire::EagerFrame& frame, Event& event)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::int32_t ahead = s_.peers[peer].connection.receiver.ahead(frame.sequence);
    if (ahead == 0) [[likely]] {
        announce(peer, no_index, frame, frame.total, event);
        return FrameResult::event;
    }
    if (ahead < 0) {
        return FrameResult::next;
    }
    return hold(peer, frame.sequence, frame.unasked(), [&](std::uint32_t record) {
        describe(s_.incoming[record], frame);
        return store_first(s_.incoming[record], frame.offset, frame.payload);
    });
}

/// Keeps the first bytes that have come of a message without a buffer, and makes room for what else comes
/// without a grant. False: there is no memory, and nothing has changed.
bool Placement::store_first(RxMessage& message, std::uint64_t offset,
                            std::span<const std::byte> payload) noexcept
{
    if (!s_.incoming.store(message, offset, payload)) {
        return false;
    }
    s_.grants.expect(message);
    return true;
}

FrameResult Placement::on_eager(const wire::EagerFrame& frame, Event& event)
{
    if (frame.whole()) {
        return on_first(frame, event);
    }
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::uint32_t record = s_.incoming.find(peer, frame.sequence);
    if (record == no_index) {
        return on_first(frame, event);
    }
    if (frame.is_requested()) {
        return on_unscheduled(record, frame);
    }
    RxMessage& message = s_.incoming[record];
    if (!message.is<EagerReceive>() || message.total != frame.total ||
        message.received + frame.payload.size() > frame.total ||
        !s_.incoming.may_take(message, frame.offset, frame.payload.size())) {
        return FrameResult::malformed;
    }
    place(message, frame.offset, {frame.payload, frame.payload.size(), false});
    if (message.complete() && message.stage != RxMessage::Stage::held) {
        if (message.stage == RxMessage::Stage::parked) {
            s_.incoming.erase(record);
        } else {
            finish(record);
        }
    }
    return FrameResult::next;
}

/// A further piece of the first bytes of a requested message.
FrameResult Placement::on_unscheduled(std::uint32_t record, const wire::EagerFrame& frame)
{
    RxMessage& message = s_.incoming[record];
    if (!message.is<GrantedReceive>() || message.unasked() != frame.unscheduled ||
        message.total != frame.total || frame.payload.size() > message.limit - message.received ||
        !s_.incoming.may_take(message, frame.offset, frame.payload.size())) {
        return FrameResult::malformed;
    }
    if (place(message, frame.offset, {frame.payload, frame.payload.size(), false}) != Fetched::here) {
        return FrameResult::lost;
    }
    on_granted_bytes(record, frame.payload.size());
    return FrameResult::next;
}

FrameResult Placement::on_request(const wire::RequestedMessage& frame, Event& event)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::int32_t ahead = s_.peers[peer].connection.receiver.ahead(frame.sequence);
    if (ahead == 0) {
        announce(peer, no_index, frame, frame.total, event);
        return FrameResult::event;
    }
    if (ahead < 0) {
        return FrameResult::next;
    }
    return hold(peer, frame.sequence, frame.unscheduled, [&](std::uint32_t record) {
        describe(s_.incoming[record], frame);
        return store_first(s_.incoming[record], 0, {});
    });
}

FrameResult Placement::on_data(const wire::DataPiece& frame)
{
    if (!s_.incoming.live(frame.handle)) {
        return FrameResult::next; // the receive has failed meanwhile
    }
    RxMessage& message = s_.incoming[frame.handle];
    // Messages and reads have numbers of their own: a record that was a read's may now be a message's.
    if (message.peer != s_.reader.packet().peer || message.sequence != frame.sequence ||
        !message.is_granted() || frame.answers_read != message.is<ReadReceive>() ||
        message.stage != RxMessage::Stage::receiving || message.done.listed) {
        return FrameResult::next;
    }
    const std::uint64_t size = frame.payload.size;
    if (frame.offset > message.limit || size > message.limit - frame.offset ||
        size > message.limit - message.received || !s_.incoming.may_take(message, frame.offset, size)) {
        return FrameResult::malformed;
    }
    switch (place(message, frame.offset, frame.payload)) {
    case Fetched::here:
        break;
    case Fetched::lost:
        return FrameResult::lost;
    case Fetched::unread:
        return tell_unread(message.peer, frame.sequence, frame.sender_handle) ? FrameResult::next
                                                                              : FrameResult::lost;
    }
    on_granted_bytes(frame.handle, size);
    return FrameResult::next;
}

/// So many bytes that were granted, or came unscheduled, are in their place.
void Placement::on_granted_bytes(std::uint32_t record, std::uint64_t size)
{
    RxMessage& message = s_.incoming[record];
    s_.grants.on_arrived(message, size, s_.reader.packet().marked, grant_quantum(message.peer));
    if (message.complete()) {
        if (message.is<ReadReceive>()) {
            if (message.device != DeviceId::host && !s_.devices.settle()) [[unlikely]] {
                message.cause = Cause::device_failed;
            }
            finish_read(record, message.cause);
        } else {
            finish(record);
        }
    }
    if (s_.grants.any_wanted()) {
        issue_grants();
    }
}

// -- Events -------------------------------------------------------------------------

void Placement::announce(std::uint32_t peer, std::uint32_t record, const Envelope& envelope,
                         std::uint64_t total, Event& event)
{
    s_.reader.ask(PacketReader::Question::message, peer, record);
    describe_event(PeerId{peer}, record == no_index ? current_message : MessageId{record}, envelope, total,
                   event);
}

void Placement::on_local(std::uint32_t peer, const wire::EagerFrame& frame, Event& event)
{
    s_.reader.ask_local(frame, peer);
    describe_event(PeerId{peer}, current_message, frame, frame.total, event);
}

void Placement::describe_event(PeerId peer, MessageId id, const Envelope& envelope, std::uint64_t total,
                               Event& event)
{
    event = Event{};
    event.kind = Event::Kind::message;
    event.peer = peer;
    event.message = id;
    event.flags = envelope.flags;
    event.tag = envelope.tag;
    event.data = envelope.data;
    event.length = total;
    if (!s_.reader.is_repeated()) {
        s_.count.rx_messages.add();
        s_.count.rx_message_bytes.add(total);
    }
}

void Placement::announce(std::uint32_t record, Event& event)
{
    const RxMessage& message = s_.incoming[record];
    SRD_DCHECK(message.stage == RxMessage::Stage::parked);
    announce(message.peer, record, message.envelope, message.total, event);
}

bool Placement::poll_done(Event& event)
{
    const std::uint32_t record = s_.incoming.take_done();
    if (record == no_index) {
        return false;
    }
    const RxMessage& message = s_.incoming[record];
    const bool lost = message.stage == RxMessage::Stage::parked;
    event = Event{};
    event.kind = lost ? Event::Kind::message_lost : Event::Kind::receive_done;
    event.peer = PeerId{message.peer};
    event.cause = message.cause;
    event.message = MessageId{record};
    event.flags = message.envelope.flags;
    event.tag = message.envelope.tag;
    event.data = message.envelope.data;
    event.length = message.total;
    event.cookie = message.cookie;
    settle(record);
    return true;
}

// -- Bytes --------------------------------------------------------------------------

/// Puts arrived bytes where they belong: to the stored ones if there are any, as far as they reach, else into
/// the user's buffer.
Placement::Fetched Placement::place(RxMessage& message, std::uint64_t offset, const wire::Payload& payload)
{
    SRD_DCHECK(payload.size <= message.total - message.received);
    const bool to_stored = message.chunk.index != no_index && offset < message.unasked();
    if (message.device != DeviceId::host && !to_stored) [[unlikely]] {
        return place_on_device(message, offset, payload);
    }
    const iovec stored = to_stored ? iovec{s_.incoming.stored(message), message.unasked()} : iovec{};
    const Fetched fetched = fetch(message.peer, payload,
                                  to_stored ? std::span<const iovec>(&stored, 1) : message.pieces(), offset);
    if (fetched == Fetched::here) {
        s_.incoming.take(message, offset, payload.size);
    }
    return fetched;
}

/// A message whose device has failed takes the rest of its bytes, and they are dropped. What lies in the
/// memory of another process is not read into a device: it has to be sent.
Placement::Fetched Placement::place_on_device(RxMessage& message, std::uint64_t offset,
                                              const wire::Payload& payload)
{
    if (payload.named()) {
        return Fetched::unread;
    }
    if (message.cause == Cause::none) {
        switch (s_.devices.place(s_.reader, payload, message.device, message.pieces(), offset)) {
        case DevicePlacement::Result::done:
            break;
        case DevicePlacement::Result::lost:
            return Fetched::lost;
        case DevicePlacement::Result::failed:
            message.cause = Cause::device_failed;
            break;
        }
    }
    s_.incoming.take(message, offset, payload.size);
    return Fetched::here;
}

void Placement::attach_buffer(RxMessage& message, std::span<const iovec> iov, DeviceId device,
                              std::uint64_t cookie)
{
    message.device = device;
    std::copy(iov.begin(), iov.end(), message.iov.begin());
    message.iov_count = static_cast<std::uint8_t>(iov.size());
    message.cookie = cookie;
    message.stage = RxMessage::Stage::receiving;
}

/// Every byte has arrived and a buffer is known: copies what was stored, tells the sender if it asked.
void Placement::complete(std::uint32_t record)
{
    RxMessage& message = s_.incoming[record];
    SRD_DCHECK(message.complete());
    s_.incoming.erase(record);
    unstore(message);
    if (message.device != DeviceId::host && !s_.devices.settle()) [[unlikely]] {
        message.cause = Cause::device_failed;
    }
    if (message.want_delivered) {
        message.delivered_due = true;
        s_.peers[message.peer].connection.receiver.owe(s_.incoming, record);
        s_.peers.activate(message.peer);
    }
}

/// What is stored goes to the buffer.
void Placement::unstore(RxMessage& message)
{
    if (message.chunk.index == no_index) {
        return;
    }
    const std::span<const std::byte> stored{s_.incoming.stored(message), message.unasked()};
    if (message.device == DeviceId::host) [[likely]] {
        scatter(message.pieces(), 0, stored);
    } else if (!s_.devices.store(message.device, message.pieces(), 0, stored) || !s_.devices.settle()) {
        message.cause = Cause::device_failed;
    }
    s_.incoming.drop_stored(message);
    memory_freed();
}

/// A message that was pending is complete.
void Placement::finish(std::uint32_t record)
{
    complete(record);
    if (s_.incoming[record].silent) {
        settle(record);
    } else {
        s_.incoming.report(record);
    }
}

/// After its event was reported, or if it needs none: gone, unless a delivered frame is still owed.
void Placement::settle(std::uint32_t record)
{
    RxMessage& message = s_.incoming[record];
    if (message.control.listed) {
        message.stage = RxMessage::Stage::settling;
        return;
    }
    release(record);
}

void Placement::release(std::uint32_t record)
{
    s_.grants.stop(s_.incoming, record);
    s_.incoming.release(s_.peers[s_.incoming[record].peer].incoming, record);
    memory_freed();
}

/// Peers that were told to wait may come again.
void Placement::memory_freed()
{
    if (s_.refusing_peers == 0 || !s_.incoming.has_recovered()) {
        return;
    }
    for (std::uint32_t peer = 0; peer < s_.peers.watermark() && s_.refusing_peers != 0; ++peer) {
        if (s_.peers.live(peer)) {
            accept_again(peer);
        }
    }
}

void Placement::finish_read(std::uint32_t record, Cause cause)
{
    const RxMessage& message = s_.incoming[record];
    const std::uint32_t operation = message.as<ReadReceive>()->operation;
    Connection& connection = s_.peers[message.peer].connection;
    connection.receiver.settle(s_.incoming, record);
    release(record);
    s_.outgoing.complete(connection.queue, operation, cause);
    issue_grants();
}

// -- Grants -------------------------------------------------------------------------

void Placement::want_grant(std::uint32_t record)
{
    s_.grants.want(s_.incoming, record);
}

std::uint64_t Placement::grant_quantum(std::uint32_t peer) const noexcept
{
    const Route& route = s_.peers[peer].route;
    return route.same_host() ? Grants::quantum_same_host : Grants::quantum(route.mtu());
}

void Placement::issue_grants()
{
    s_.grants.issue(
        s_.incoming, [this](std::uint32_t peer) { return grant_quantum(peer); },
        [this](std::uint32_t record) {
            RxMessage& message = s_.incoming[record];
            message.grant_due = true;
            s_.peers[message.peer].connection.receiver.owe(s_.incoming, record);
            s_.peers.activate(message.peer);
        });
}

// -- The end of a connection ----------------------------------------------------------

void Placement::abandon(std::uint32_t peer, Cause cause)
{
    for (std::uint32_t at = s_.peers[peer].incoming.front(); at != no_index;) {
        const std::uint32_t next = IncomingPool::All::next(s_.incoming, at);
        abandon_record(at, cause);
        at = next;
    }
    if (s_.peers[peer].connection.receiver.refusing()) {
        --s_.refusing_peers;
    }
}

void Placement::abandon_record(std::uint32_t record, Cause cause)
{
    RxMessage& message = s_.incoming[record];
    s_.incoming.erase(record);
    s_.peers[message.peer].connection.receiver.settle(s_.incoming, record);
    message.grant_due = message.delivered_due = false;
    message.want_delivered = false;
    s_.grants.stop(s_.incoming, record);
    if (message.done.listed) {
        return; // its event is on the way and ends it
    }
    if (message.stage == RxMessage::Stage::held) {
        s_.incoming.unhold(message);
        release(record);
        return;
    }
    const bool is_message = message.is<EagerReceive>() || message.is<GrantedReceive>();
    if (!is_message || message.stage == RxMessage::Stage::settling || message.silent) {
        release(record); // a read's operation is failed on its own account
        return;
    }
    if (message.stage == RxMessage::Stage::parked && message.is<EagerReceive>() && message.complete()) {
        return;
    }
    message.cause = cause;
    s_.incoming.report(record);
}

} // namespace srd
