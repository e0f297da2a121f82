// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The frames of remote memory access, as frames.cpp for messages. Keys and
// addresses are not judged here: the event's handler does that.
#include "engine_impl.hpp"

#include <algorithm>

#include "send/bytes.hpp"

namespace srd {

namespace {

/// Cause::none: no cause of this protocol.
Cause cause_of(std::uint8_t code) noexcept
{
    switch (code) {
    case wire::fault_cause::bad_key:
        return Cause::bad_key;
    case wire::fault_cause::out_of_bounds:
        return Cause::out_of_bounds;
    case wire::fault_cause::access_denied:
        return Cause::access_denied;
    case wire::fault_cause::bad_operation:
        return Cause::bad_operation;
    case wire::fault_cause::region_closed:
        return Cause::region_closed;
    default:
        return Cause::none;
    }
}

/// True if the `count` atomic ranges that `bytes` begins with are together `length` bytes.
bool ranges_fill(std::span<const std::byte> bytes, std::size_t count, std::uint64_t length) noexcept
{
    wire::Reader reader(bytes);
    for (; count != 0; --count) {
        const auto range = reader.take<wire::AtomicRange>();
        if (!range || range->length > length) {
            return false;
        }
        length -= range->length;
    }
    return length == 0;
}

} // namespace

/// Before the first write, read or fault frame of a packet is acted upon: whatever the packet holds, there
/// must be records for it, for it is taken as a whole or not at all.
Engine::Impl::FrameResult Engine::Impl::open_access()
{
    if (cursor.rma_frames != 1) {
        return FrameResult::next;
    }
    if (rx_messages.capacity() - rx_messages.in_use() < wire::max_rma_frames ||
        tx_messages.capacity() - tx_messages.in_use() < wire::max_rma_frames) {
        return FrameResult::refuse;
    }
    accept_again(cursor.peer);
    return FrameResult::next;
}

/// The operation has failed already: its pieces are only counted, so that its end is known.
void Engine::Impl::count_denied_piece(std::uint32_t record, std::size_t size)
{
    RxMessage& message = rx_messages[record];
    message.received += size;
    if (message.received == message.total) {
        release_rx(record);
    }
}

Engine::Impl::FrameResult Engine::Impl::on_write_frame(Event& event)
{
    const auto frame = cursor.reader.take<wire::WriteFrame>();
    if (!frame || (frame->flags & ~wire::rma_flag::all) != 0) {
        return FrameResult::malformed;
    }
    const bool whole = (frame->flags & wire::rma_flag::whole) != 0;
    std::uint64_t total = frame->length;
    if (!whole) {
        const auto field = cursor.reader.take<wire::WriteTotal>();
        if (!field) {
            return FrameResult::malformed;
        }
        total = field->value;
    }
    const bool has_data = (frame->flags & wire::rma_flag::has_data) != 0;
    const auto data = has_data ? cursor.reader.take<wire::MessageData>() : wire::MessageData{0};
    const auto payload = take_payload(frame->length);
    if (!data || !payload || payload->size > total) {
        return FrameResult::malformed;
    }
    const bool partial = payload->size != total;
    if (partial && (payload->size == 0 || cursor.rma_frames != 1 || cursor.reader.remaining() != 0)) {
        return FrameResult::malformed; // a piece of a longer write has its packet for itself
    }
    if (open_access() == FrameResult::refuse) {
        return FrameResult::refuse;
    }
    cursor.subject = Cursor::Subject::write;
    cursor.sequence = frame->handle;
    cursor.sender_handle = frame->handle;
    cursor.total = total;
    cursor.payload = payload->bytes;
    cursor.remote_payload = payload->remote;
    cursor.flags = MessageFlags{.tagged = false, .has_data = has_data};
    cursor.requested = cursor.want_delivered = cursor.is_atomic = false;
    cursor.record = no_index;
    bool last = true;
    if (partial) {
        std::uint32_t record = hash_find(cursor.peer, cursor.sequence, true);
        if (record == no_index) {
            record = new_rx_message(false);
            rx_messages[record].state = RxMessage::State::writing;
            hash_insert(record);
        }
        RxMessage& message = rx_messages[record];
        if (message.total != total || payload->size > total - message.received) {
            return FrameResult::malformed;
        }
        if (message.cause != Cause::none) {
            count_denied_piece(record, payload->size);
            return FrameResult::next;
        }
        cursor.record = record;
        last = message.received + payload->size == total;
    }
    cursor.ranges[0] = {frame->address, payload->size, frame->key};
    cursor.awaiting = true;
    event = Event{};
    event.kind = Event::Kind::write;
    event.peer = PeerId{cursor.peer};
    event.flags = cursor.flags;
    event.data = data->value;
    event.length = total;
    event.payload = payload->bytes;
    event.ranges = std::span(cursor.ranges).first(1);
    event.last = last;
    return FrameResult::event;
}

Engine::Impl::FrameResult Engine::Impl::on_read_frame(Event& event)
{
    const auto frame = cursor.reader.take<wire::ReadFrame>();
    if (!frame || (frame->flags & ~wire::rma_flag::last) != 0) {
        return FrameResult::malformed;
    }
    if (open_access() == FrameResult::refuse) {
        return FrameResult::refuse;
    }
    cursor.subject = Cursor::Subject::read;
    cursor.sequence = frame->sequence;
    cursor.sender_handle = frame->handle;
    cursor.offset = frame->offset;
    cursor.record = no_index;
    cursor.ranges[0] = {frame->address, frame->length, frame->key};
    cursor.awaiting = true;
    event = Event{};
    event.kind = Event::Kind::read;
    event.peer = PeerId{cursor.peer};
    event.length = frame->length;
    event.ranges = std::span(cursor.ranges).first(1);
    event.last = (frame->flags & wire::rma_flag::last) != 0;
    return FrameResult::event;
}

Engine::Impl::FrameResult Engine::Impl::on_atomic_frame(Event& event)
{
    const auto frame = cursor.reader.take<wire::AtomicFrame>();
    if (!frame || (frame->flags & ~wire::atomic_flag::all) != 0 || frame->ranges == 0 ||
        frame->ranges > max_iov || frame->length > max_atomic_size) {
        return FrameResult::malformed;
    }
    const bool fetch = (frame->flags & wire::atomic_flag::fetch) != 0;
    const std::size_t length = frame->length;
    const std::size_t size = frame->ranges * sizeof(wire::AtomicRange) +
                             ((frame->flags & wire::atomic_flag::has_operand) != 0 ? length : 0) +
                             ((frame->flags & wire::atomic_flag::has_compare) != 0 ? length : 0);
    const auto payload = cursor.reader.take_bytes(size);
    if (!payload || !ranges_fill(*payload, frame->ranges, length)) {
        return FrameResult::malformed;
    }
    cursor.sequence = frame->sequence;
    cursor.sender_handle = frame->handle;
    cursor.tag = cursor.data = 0;
    cursor.offset = 0;
    cursor.payload = *payload;
    cursor.total = size + (fetch ? length : 0); // a record has room for the result
    cursor.flags = MessageFlags{};
    cursor.requested = cursor.want_delivered = false;
    cursor.is_atomic = true;
    cursor.atomic = *frame;
    const std::int32_t ahead = wire::sequence_distance(cursor.sequence, peers[cursor.peer].rx_message_next);
    if (ahead != 0) {
        return ahead < 0 ? FrameResult::next : hold();
    }
    std::uint32_t record = no_index;
    if (fetch) {
        record = new_rx_message(true);
        if (record == no_index) {
            return FrameResult::refuse;
        }
        RxMessage& message = rx_messages[record];
        message.state = RxMessage::State::answering;
        if (!store_payload(message, 0, cursor.payload)) {
            release_rx(record);
            return FrameResult::refuse;
        }
        message.received = message.total;
    }
    announce_atomic(event, record);
    return FrameResult::event;
}

/// The event for the atomic that cursor.atomic describes; its bytes are in `record`, or in the packet.
void Engine::Impl::announce_atomic(Event& event, std::uint32_t record)
{
    const wire::AtomicFrame& frame = cursor.atomic;
    const std::size_t length = frame.length;
    std::byte* stored = nullptr;
    const std::byte* bytes = cursor.payload.data();
    if (record != no_index) {
        const RxMessage& message = rx_messages[record];
        stored = payloads.data({message.chunk, message.chunk_class});
        bytes = stored;
    }
    for (std::size_t i = 0; i < frame.ranges; ++i) {
        wire::AtomicRange range;
        std::memcpy(&range, bytes, sizeof(range));
        cursor.ranges[i] = {range.address, range.length, range.key};
        bytes += sizeof(range);
    }
    cursor.awaiting = true;
    cursor.subject = Cursor::Subject::atomic;
    cursor.record = record;
    cursor.sender_handle = frame.handle;
    event = Event{};
    event.kind = Event::Kind::atomic;
    event.peer = PeerId{cursor.peer};
    event.length = length;
    event.ranges = std::span(cursor.ranges).first(frame.ranges);
    event.operation = frame.operation;
    event.datatype = frame.datatype;
    if ((frame.flags & wire::atomic_flag::has_operand) != 0) {
        event.payload = {bytes, length};
        bytes += length;
    }
    if ((frame.flags & wire::atomic_flag::has_compare) != 0) {
        event.compare = {bytes, length};
    }
    if ((frame.flags & wire::atomic_flag::fetch) != 0) {
        event.result = {stored + rx_messages[record].total - length, length};
    }
}

Engine::Impl::FrameResult Engine::Impl::on_result_frame()
{
    const auto frame = cursor.reader.take<wire::ResultFrame>();
    const auto payload = frame ? cursor.reader.take_bytes(frame->length) : std::nullopt;
    if (!payload) {
        return FrameResult::malformed;
    }
    const std::uint32_t handle = frame->handle;
    if (!tx_messages.live(handle)) {
        return FrameResult::next;
    }
    const TxMessage& message = tx_messages[handle];
    if (message.peer != cursor.peer || message.sequence != frame->sequence || !message.fetch ||
        message.state != TxMessage::State::framed) {
        return FrameResult::next;
    }
    if (payload->size() != message.total) {
        return FrameResult::malformed;
    }
    scatter({message.iov.data(), message.iov_count}, 0, *payload);
    complete_tx(handle, Cause::none);
    return FrameResult::next;
}

/// A write, or an atomic that fetches nothing, has failed. Counted whether or not we still know it.
Engine::Impl::FrameResult Engine::Impl::on_fault_frame()
{
    const auto frame = cursor.reader.take<wire::FaultFrame>();
    const Cause cause = frame ? cause_of(frame->cause) : Cause::none;
    if (cause == Cause::none) {
        return FrameResult::malformed;
    }
    if (open_access() == FrameResult::refuse) {
        return FrameResult::refuse;
    }
    Peer& peer = peers[cursor.peer];
    ++peer.faults_got;
    learn_faults(peer, frame->faults);
    const std::uint32_t handle = frame->handle;
    if (tx_messages.live(handle)) {
        TxMessage& message = tx_messages[handle];
        const bool is_write = message.kind == OperationKind::write;
        const bool is_atomic = message.kind == OperationKind::atomic && !message.fetch;
        if (message.peer == cursor.peer && message.sequence == frame->sequence && (is_write || is_atomic) &&
            message.cause == Cause::none && message.state != TxMessage::State::done) {
            message.cause = cause;
            if (message.state == TxMessage::State::suspect) {
                complete_tx(handle, cause);
            }
        }
    }
    release_suspects(cursor.peer);
    return FrameResult::next;
}

/// A read or a fetching atomic has failed.
Engine::Impl::FrameResult Engine::Impl::on_denied_frame()
{
    const auto frame = cursor.reader.take<wire::FaultFrame>();
    const Cause cause = frame ? cause_of(frame->cause) : Cause::none;
    if (cause == Cause::none || frame->is_read > 1) {
        return FrameResult::malformed;
    }
    const std::uint32_t handle = frame->handle;
    if (frame->is_read != 0) {
        if (rx_messages.live(handle) && rx_messages[handle].peer == cursor.peer &&
            rx_messages[handle].sequence == frame->sequence && rx_messages[handle].read != no_index) {
            finish_read(handle, cause);
        }
        return FrameResult::next;
    }
    if (tx_messages.live(handle)) {
        const TxMessage& message = tx_messages[handle];
        if (message.peer == cursor.peer && message.sequence == frame->sequence && message.fetch &&
            message.state == TxMessage::State::framed) {
            complete_tx(handle, cause);
        }
    }
    return FrameResult::next;
}

} // namespace srd
