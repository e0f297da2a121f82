// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One function per frame type: what a frame says, whether it may be believed,
// and what it does. Nothing in a frame is used before it is checked; what does
// not fit the state is either malformed (counted, packet dropped) or an echo of
// the past (skipped).
#include "engine_impl.hpp"

#include <algorithm>
#include <bit>

namespace srd {

Engine::Impl::FrameResult Engine::Impl::on_frame(Event& event)
{
    const auto type = static_cast<wire::FrameType>(*cursor.reader.peek());
    if (!cursor.packet.sequenced) {
        switch (type) {
        case wire::FrameType::hello:
            return on_hello_frame(event);
        case wire::FrameType::close:
            return on_close_frame();
        default:
            return FrameResult::malformed;
        }
    }
    if (!contents_agree(type)) {
        return FrameResult::malformed;
    }
    switch (type) {
    case wire::FrameType::message:
        return on_message_frame();
    case wire::FrameType::part:
        return on_part_frame();
    case wire::FrameType::request:
        return on_request_frame();
    case wire::FrameType::grant:
        return on_grant_frame();
    case wire::FrameType::data:
        return on_data_frame();
    case wire::FrameType::delivered:
        return on_delivered_frame();
    case wire::FrameType::write:
        return on_write_frame(event);
    case wire::FrameType::read:
        return on_read_frame(event);
    case wire::FrameType::atomic:
        return on_atomic_frame(event);
    case wire::FrameType::result:
        return on_result_frame();
    case wire::FrameType::fault:
        return on_fault_frame();
    case wire::FrameType::denied:
        return on_denied_frame();
    default:
        return FrameResult::malformed;
    }
}

/// Writes and reads share a packet with no frame that may be refused, and are not too many.
bool Engine::Impl::contents_agree(wire::FrameType type) noexcept
{
    using Contents = TxSlot::Contents;
    Contents contents = Contents::neutral;
    switch (type) {
    case wire::FrameType::write:
    case wire::FrameType::read:
    case wire::FrameType::fault:
        contents = Contents::rma;
        ++cursor.rma_frames;
        break;
    case wire::FrameType::message:
    case wire::FrameType::part:
    case wire::FrameType::request:
    case wire::FrameType::atomic:
        contents = Contents::messages;
        break;
    default:
        return true;
    }
    if (cursor.contents == Contents::neutral) {
        cursor.contents = contents;
    }
    return cursor.contents == contents && cursor.rma_frames <= wire::max_rma_frames;
}

/// Reads the optional fields that `flags` announce into the cursor.
bool Engine::Impl::take_optional(std::uint8_t flags)
{
    if ((flags & ~wire::frame_flag::all) != 0) {
        return false;
    }
    cursor.flags.tagged = (flags & wire::frame_flag::tagged) != 0;
    cursor.flags.has_data = (flags & wire::frame_flag::has_data) != 0;
    cursor.want_delivered = (flags & wire::frame_flag::want_delivered) != 0;
    cursor.data = 0;
    cursor.sender_handle = 0;
    if (cursor.flags.has_data) {
        const auto field = cursor.reader.take<wire::MessageData>();
        if (!field) {
            return false;
        }
        cursor.data = field->value;
    }
    if (cursor.want_delivered) {
        const auto field = cursor.reader.take<wire::MessageHandle>();
        if (!field) {
            return false;
        }
        cursor.sender_handle = field->value;
    }
    return true;
}

Engine::Impl::FrameResult Engine::Impl::on_message_frame()
{
    const auto frame = cursor.reader.take<wire::MessageFrame>();
    if (!frame || !take_optional(frame->flags)) {
        return FrameResult::malformed;
    }
    const auto payload = cursor.reader.take_bytes(frame->length);
    if (!payload) {
        return FrameResult::malformed;
    }
    cursor.sequence = frame->sequence;
    cursor.tag = frame->tag;
    cursor.total = payload->size();
    cursor.offset = 0;
    cursor.payload = {payload->data(), payload->size()}; // not *payload: 8-byte writes, 16-byte copy
    cursor.requested = false;
    cursor.is_atomic = false;
    const std::int32_t ahead = wire::sequence_distance(cursor.sequence, peers[cursor.peer].rx_message_next);
    if (ahead == 0) {
        return FrameResult::announce;
    }
    return ahead < 0 ? FrameResult::next : hold();
}

Engine::Impl::FrameResult Engine::Impl::on_part_frame()
{
    const auto frame = cursor.reader.take<wire::PartFrame>();
    if (!frame || !take_optional(frame->flags)) {
        return FrameResult::malformed;
    }
    const auto payload = cursor.reader.take_bytes(frame->length);
    const std::uint64_t offset = frame->offset;
    const std::uint64_t total = frame->total;
    // A part ends its packet, is a true part, and of a message that may be sent without asking.
    if (!payload || cursor.reader.remaining() != 0 || payload->empty() || payload->size() >= total ||
        offset + payload->size() > total || total > PayloadPool::max_chunk) {
        return FrameResult::malformed;
    }
    cursor.sequence = frame->sequence;
    cursor.tag = frame->tag;
    cursor.total = total;
    cursor.offset = offset;
    cursor.payload = *payload;
    cursor.requested = false;
    cursor.is_atomic = false;
    const std::int32_t ahead = wire::sequence_distance(cursor.sequence, peers[cursor.peer].rx_message_next);
    const std::uint32_t at = hash_find(cursor.peer, cursor.sequence);
    if (at != no_index) {
        RxMessage& message = rx_messages[at];
        if (message.requested || message.is_atomic || message.total != total ||
            message.received + payload->size() > total) {
            return FrameResult::malformed;
        }
        place(message, offset, {*payload, payload->size(), false});
        if (message.received == total && message.state != RxMessage::State::reordered) {
            if (message.state == RxMessage::State::parked) {
                hash_erase(at);
            } else {
                complete_rx(at);
                message.silent ? settle_rx(at) : report_rx(at);
            }
        }
        return FrameResult::next;
    }
    if (ahead == 0) {
        return FrameResult::announce;
    }
    return ahead < 0 ? FrameResult::next : hold();
}

Engine::Impl::FrameResult Engine::Impl::on_request_frame()
{
    const auto frame = cursor.reader.take<wire::RequestFrame>();
    if (!frame || (frame->flags & wire::frame_flag::want_delivered) != 0 || !take_optional(frame->flags) ||
        !take_source(frame->pieces)) {
        return FrameResult::malformed;
    }
    cursor.sequence = frame->sequence;
    cursor.tag = frame->tag;
    cursor.total = frame->total;
    cursor.offset = 0;
    cursor.payload = {};
    cursor.requested = true;
    cursor.is_atomic = false;
    cursor.sender_handle = frame->handle;
    const std::int32_t ahead = wire::sequence_distance(cursor.sequence, peers[cursor.peer].rx_message_next);
    if (ahead == 0) {
        return FrameResult::announce;
    }
    return ahead < 0 ? FrameResult::next : hold();
}

/// Where the sender has the message's bytes, if it says so.
bool Engine::Impl::take_source(std::size_t pieces) noexcept
{
    cursor.source_count = 0;
    if (pieces == 0) {
        return true;
    }
    const auto epoch = cursor.reader.take<wire::SourceEpoch>();
    if (!epoch || pieces > max_iov) {
        return false;
    }
    cursor.source_epoch = epoch->value;
    for (; cursor.source_count < pieces; ++cursor.source_count) {
        const auto piece = cursor.reader.take<wire::MessagePiece>();
        if (!piece) {
            return false;
        }
        // An address of another process: never dereferenced here.
        cursor.source[cursor.source_count] = {std::bit_cast<void*>(std::uint64_t{piece->address}),
                                              std::size_t{piece->length}};
    }
    return true;
}

/// Keeps a message that came before its turn.
Engine::Impl::FrameResult Engine::Impl::hold()
{
    Peer& peer = peers[cursor.peer];
    if (wire::sequence_distance(cursor.sequence, peer.rx_message_next) >
        static_cast<std::int32_t>(message_window)) {
        return FrameResult::malformed;
    }
    if (hash_find(cursor.peer, cursor.sequence) != no_index) {
        return FrameResult::next; // taken from an earlier copy of the packet
    }
    // At most half of the memory: what waits for its turn must not keep out what has it.
    const std::uint64_t bytes = cursor.requested ? 0 : PayloadPool::footprint(cursor.total);
    if (held_bytes + bytes > payloads.budget() / 2 || held_messages >= rx_messages.capacity() / 2) {
        return FrameResult::refuse;
    }
    const std::uint32_t index = new_rx_message(true);
    if (index == no_index) {
        return FrameResult::refuse;
    }
    RxMessage& message = rx_messages[index];
    if (!cursor.requested && !store_payload(message, cursor.offset, cursor.payload)) {
        release_rx(index);
        return FrameResult::refuse;
    }
    if (cursor.is_atomic) {
        message.received = message.total; // its payload never comes in parts; the rest is room for the result
    }
    message.state = RxMessage::State::reordered;
    hash_insert(index);
    ++peer.reordered;
    ++held_messages;
    held_bytes += bytes;
    count.rx_reordered_messages.add();
    return FrameResult::next;
}

Engine::Impl::FrameResult Engine::Impl::on_grant_frame()
{
    const auto frame = cursor.reader.take<wire::GrantFrame>();
    if (!frame) {
        return FrameResult::malformed;
    }
    const std::uint32_t handle = frame->sender_handle;
    if (!tx_messages.live(handle)) {
        return FrameResult::next; // repeated after the message was done
    }
    TxMessage& message = tx_messages[handle];
    if (message.peer != cursor.peer || message.sequence != frame->sequence || !message.requested ||
        message.response || message.cause != Cause::none ||
        (message.state != TxMessage::State::waiting && message.state != TxMessage::State::granted)) {
        return FrameResult::next;
    }
    if (frame->limit > message.total) {
        return FrameResult::malformed;
    }
    message.remote_handle = frame->receiver_handle;
    message.granted = std::max<std::uint64_t>(message.granted, frame->limit);
    if (message.state == TxMessage::State::waiting && message.granted > message.framed) {
        message.state = TxMessage::State::granted;
        peers[cursor.peer].grant_queue.push_back(tx_messages, handle);
        activate(cursor.peer);
    }
    return FrameResult::next;
}

Engine::Impl::FrameResult Engine::Impl::on_data_frame()
{
    const auto frame = cursor.reader.take<wire::DataFrame>();
    if (!frame || (frame->flags & ~wire::data_flag::all) != 0) {
        return FrameResult::malformed;
    }
    const auto payload = take_payload(frame->length);
    if (!payload || cursor.reader.remaining() != 0) {
        return FrameResult::malformed;
    }
    const std::uint32_t handle = frame->receiver_handle;
    const std::uint64_t offset = frame->offset;
    if (!rx_messages.live(handle)) {
        return FrameResult::next; // the receive has failed meanwhile
    }
    RxMessage& message = rx_messages[handle];
    // Messages and reads have numbers of their own: a record that was a read's may now be a message's.
    const bool for_read = (frame->flags & wire::data_flag::answers_read) != 0;
    if (message.peer != cursor.peer || message.sequence != frame->sequence || !message.requested ||
        for_read != (message.read != no_index) || message.state != RxMessage::State::receiving ||
        message.reporting) {
        return FrameResult::next;
    }
    if (offset > message.limit || payload->size > message.limit - offset ||
        payload->size > message.limit - message.received) {
        return FrameResult::malformed;
    }
    if (!place(message, offset, *payload)) {
        return FrameResult::lost;
    }
    grants_outstanding -= payload->size;
    if (message.received == message.total) {
        if (message.read != no_index) {
            finish_read(handle, Cause::none);
        } else {
            complete_rx(handle);
            message.silent ? settle_rx(handle) : report_rx(handle);
        }
    }
    if (wanting_count != 0) {
        issue_grants();
    }
    return FrameResult::next;
}

Engine::Impl::FrameResult Engine::Impl::on_delivered_frame()
{
    const auto frame = cursor.reader.take<wire::DeliveredFrame>();
    if (!frame) {
        return FrameResult::malformed;
    }
    const std::uint32_t handle = frame->handle;
    if (!tx_messages.live(handle)) {
        return FrameResult::next;
    }
    TxMessage& message = tx_messages[handle];
    if (message.peer != cursor.peer || message.sequence != frame->sequence || message.response ||
        message.kind != OperationKind::message) {
        return FrameResult::next;
    }
    if (message.requested && message.state == TxMessage::State::waiting && message.framed == 0) {
        message.framed = message.total; // the peer has read it
        message.state = TxMessage::State::framed;
        message_progress(handle);
    } else if (!message.requested && message.state == TxMessage::State::framed &&
               message.level == CompletionLevel::delivery) {
        message.delivered = true;
        message_progress(handle);
    }
    return FrameResult::next;
}

Engine::Impl::FrameResult Engine::Impl::on_hello_frame(Event& event)
{
    const auto frame = cursor.reader.take<wire::HelloFrame>();
    if (!frame || cursor.reader.remaining() != 0 || frame->address_length == 0 ||
        frame->address_length > max_address_size || frame->connection == 0 || frame->incarnation == 0 ||
        frame->max_packet < 2 * packet_overhead || (frame->flags & ~wire::hello_flag::all) != 0) {
        return FrameResult::malformed;
    }
    cursor.in_packet = false;
    if (cursor.peer != no_index) {
        on_hello_reply(cursor.peer, *frame, now_);
        return FrameResult::stop;
    }
    if ((frame->flags & wire::hello_flag::answer_wanted) == 0) {
        count.rx_unknown_connection.add(); // an answer to an introduction that is history
        return FrameResult::stop;
    }
    hello = *frame;
    hello_open = true;
    event = Event{};
    event.kind = Event::Kind::hello;
    event.payload = {hello.address.data(), hello.address_length};
    return FrameResult::event;
}

/// The peer's endpoint goes away. Its last acknowledgement came in the same packet.
Engine::Impl::FrameResult Engine::Impl::on_close_frame()
{
    const auto frame = cursor.reader.take<wire::CloseFrame>();
    if (!frame) {
        return FrameResult::malformed;
    }
    const std::uint32_t index = cursor.peer;
    if (index == no_index) {
        return FrameResult::malformed;
    }
    if (awaits_answer(peers[index])) {
        fail_peer(index, Cause::closed, now_);
    } else {
        reset_peer(index, Cause::closed, now_);
    }
    return FrameResult::stop;
}

} // namespace srd
