// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets in, events out.
//
// on_packets() checks headers, lets acknowledgements act, and notes the rest.
// poll_event() then reads the noted packets frame by frame and stops at every
// event, so the matching layer decides about a message while its bytes still
// lie in the packet. A packet is marked as received only when all its frames
// are taken: whatever the matching layer refuses is simply not acknowledged.
#include "engine_impl.hpp"

#include <algorithm>
#include <cstring>

namespace srd {

void Engine::Impl::on_packets(std::span<const RxPacket> packets, Time now)
{
    now_ = now;
    SRD_CHECK(!cursor.in_packet && pending_next == pending.size());
    pending.clear();
    pending_next = 0;
    for (const RxPacket& packet : packets) {
        on_packet(packet, now);
    }
}

void Engine::Impl::on_packet(const RxPacket& packet, Time now)
{
    count.rx_packets.add();
    count.rx_bytes.add(packet.length);
    wire::Reader reader({packet.data, packet.length});
    const auto header = reader.take<wire::PacketHeader>();
    if (!header) {
        count.rx_malformed.add();
        return;
    }
    if (header->version != wire::protocol_version) {
        count.rx_version.add();
        return;
    }
    if ((header->flags & ~wire::packet_flag::all) != 0) {
        count.rx_malformed.add();
        return;
    }
    const std::uint64_t connection = header->connection;
    std::uint32_t index = no_index;
    if (connection != 0) {
        index = last_peer != no_index && peers[last_peer].rx_connection == connection
                    ? last_peer
                    : connections.find(connection);
    }
    const bool sequenced = (header->flags & wire::packet_flag::sequenced) != 0;
    if (index == no_index) {
        // Only an introduction may come from a stranger.
        if (sequenced || reader.peek() != static_cast<std::uint8_t>(wire::FrameType::hello)) {
            count.rx_unknown_connection.add();
            return;
        }
    } else {
        if (peers[index].is_successor) {
            const RouteId route = peers[index].route;
            promote_successor(index, now);
            index = peer_of_route(route);
        }
        last_peer = index;
    }

    if ((header->flags & wire::packet_flag::has_ack) != 0) {
        const auto block = reader.take<wire::AckBlock>();
        const auto words = block && block->words <= wire::max_ack_words
                               ? reader.take_bytes(block->words * sizeof(std::uint64_t))
                               : std::nullopt;
        if (!words) {
            count.rx_malformed.add();
            return;
        }
        if (index != no_index && peers[index].state == Peer::State::established) {
            on_ack(index, *block, words->data(), packet.arrived, now);
        }
    }
    Pending note{};
    note.frames = {reader.position(), reader.remaining()};
    note.arrived = packet.arrived;
    note.peer = index;
    note.psn = header->psn;
    note.attempt = header->attempt;
    note.path = header->path;
    note.sequenced = sequenced;
    note.marked = packet.marked;
    note.ack_requested = (header->flags & wire::packet_flag::ack_requested) != 0;
    if (index != no_index) {
        Peer& peer = peers[index];
        peer.confirmed = true;
        note.connection = peer.rx_connection;
        on_heard(index, now);
        if (packet.marked) {
            count.rx_marked.add();
        }
        if (!sequenced && note.ack_requested) {
            peer.ack_now = true;
            activate(index);
        }
    }
    if (sequenced || !note.frames.empty()) {
        pending.push_back(note);
    }
}

bool Engine::Impl::poll_event(Event& event)
{
    SRD_CHECK(!cursor.awaiting);
    if (poll_done(event)) {
        return true;
    }
    for (;;) {
        if (cursor.pump != no_index && poll_reordered(event)) {
            return true;
        }
        if (!cursor.in_packet && !next_packet()) {
            return poll_done(event);
        }
        if (step_packet(event)) {
            return true;
        }
    }
}

/// Completions that have been found by other steps.
bool Engine::Impl::poll_done(Event& event)
{
    for (std::uint32_t at = tx_done.pop_front(tx_messages); at != no_index;
         at = tx_done.pop_front(tx_messages)) {
        const TxMessage& message = tx_messages[at];
        event = Event{};
        event.kind = Event::Kind::send_done;
        event.peer = PeerId{message.peer};
        event.cause = message.cause;
        event.cookie = message.cookie;
        event.length = message.total;
        event.flags = message.flags;
        const bool wanted = message.level != CompletionLevel::none;
        tx_messages.release(at);
        --outstanding_messages;
        if (wanted) {
            return true;
        }
    }
    const std::uint32_t at = rx_done.pop_front(rx_messages);
    if (at == no_index) {
        return false;
    }
    RxMessage& message = rx_messages[at];
    message.reporting = false;
    event = Event{};
    event.kind = message.report_lost ? Event::Kind::message_lost : Event::Kind::receive_done;
    event.peer = PeerId{message.peer};
    event.cause = message.cause;
    event.message = MessageId{at};
    event.flags = message.flags;
    event.tag = message.tag;
    event.data = message.data;
    event.length = message.total;
    event.cookie = message.cookie;
    settle_rx(at);
    return true;
}

/// The next held message of cursor.pump, if its turn has come.
bool Engine::Impl::poll_reordered(Event& event)
{
    const std::uint32_t index = cursor.pump;
    Peer& peer = peers[index];
    const std::uint32_t at = peer.reordered == 0 ? no_index : hash_find(index, peer.rx_message_next);
    if (at == no_index) {
        cursor.pump = no_index;
        return false;
    }
    RxMessage& message = rx_messages[at];
    SRD_CHECK(message.state == RxMessage::State::reordered);
    --peer.reordered;
    if (message.requested || message.received >= message.total) {
        hash_erase(at);
    }
    message.state = RxMessage::State::parked;
    cursor.peer = index;
    cursor.sequence = message.sequence;
    cursor.total = message.total;
    cursor.tag = message.tag;
    cursor.data = message.data;
    cursor.flags = message.flags;
    announce(event, at);
    return true;
}

/// Makes the message event for what the cursor describes.
void Engine::Impl::announce(Event& event, std::uint32_t record)
{
    cursor.awaiting = true;
    cursor.record = record;
    event = Event{};
    event.kind = Event::Kind::message;
    event.peer = PeerId{cursor.peer};
    event.message = record == no_index ? current_message : MessageId{record};
    event.flags = cursor.flags;
    event.tag = cursor.tag;
    event.data = cursor.data;
    event.length = cursor.total;
    count.rx_messages.add();
    count.rx_message_bytes.add(cursor.total);
}

/// Opens the next noted packet that is still to be read.
bool Engine::Impl::next_packet()
{
    while (pending_next < pending.size()) {
        const Pending& packet = pending[pending_next++];
        cursor.packet = packet;
        cursor.reader = wire::Reader(packet.frames);
        cursor.peer = packet.peer;
        if (packet.peer == no_index) {
            cursor.in_packet = true;
            return true;
        }
        if (!peers.live(packet.peer) || peers[packet.peer].rx_connection != packet.connection) {
            count.rx_unknown_connection.add();
            continue;
        }
        Peer& peer = peers[packet.peer];
        if (!packet.sequenced) {
            cursor.in_packet = true;
            return true;
        }
        if (!peer.has_remote) {
            count.rx_stale.add(); // overtook the handshake's answer; comes again
            continue;
        }
        switch (peer.rx.check(packet.psn)) {
        case SeqBitmap<packet_window>::Mark::fresh:
            cursor.in_packet = true;
            return true;
        case SeqBitmap<packet_window>::Mark::duplicate:
            count.rx_duplicates.add();
            ++peer.duplicates;
            note_echo(peer, packet);
            peer.ack_now = true;
            activate(packet.peer);
            break;
        case SeqBitmap<packet_window>::Mark::beyond:
            count.rx_stale.add();
            break;
        }
    }
    return false;
}

void Engine::Impl::note_echo(Peer& peer, const Pending& packet) const noexcept
{
    peer.echo_psn = packet.psn;
    peer.echo_attempt = packet.attempt;
    peer.echo_path = packet.path;
    peer.echo_arrived = packet.arrived;
    peer.echo_marked = packet.marked;
    peer.echo_valid = true;
}

/// Reads frames of the open packet up to the next event. True: `event` is valid.
bool Engine::Impl::step_packet(Event& event)
{
    while (cursor.in_packet && cursor.pump == no_index) {
        if (cursor.reader.remaining() == 0) {
            finish_packet();
            return false;
        }
        switch (on_frame(event)) {
        case FrameResult::next:
            break;
        case FrameResult::announce:
            announce(event, no_index);
            return true;
        case FrameResult::event:
            return true;
        case FrameResult::refuse:
            cursor.awaiting = true;
            cursor.record = no_index;
            refuse(now_);
            return false;
        case FrameResult::malformed:
            count.rx_malformed.add();
            cursor.in_packet = false;
            return false;
        case FrameResult::stop:
            cursor.in_packet = false;
            return false;
        }
    }
    return false;
}

/// Every frame was taken: from now on the packet counts as received.
void Engine::Impl::finish_packet()
{
    cursor.in_packet = false;
    const Pending& packet = cursor.packet;
    if (!packet.sequenced) {
        return;
    }
    Peer& peer = peers[packet.peer];
    if (wire::sequence_distance(packet.psn, peer.rx.highest()) < 0) {
        count.rx_out_of_order.add();
    }
    peer.rx.set(packet.psn);
    note_echo(peer, packet);
    ++peer.ack_packets;
    peer.ack_bytes += static_cast<std::uint32_t>(packet.frames.size());
    if (packet.ack_requested || peer.ack_packets >= ack_every_packets || peer.ack_bytes >= ack_every_bytes) {
        peer.ack_now = true;
        activate(packet.peer);
    } else if (peer.ack_at == time_never) {
        peer.ack_at = now_ + tuning.ack_delay;
        arm(packet.peer);
    }
}

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
    default:
        return FrameResult::malformed;
    }
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
    cursor.payload = *payload;
    cursor.requested = false;
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
    const std::int32_t ahead = wire::sequence_distance(cursor.sequence, peers[cursor.peer].rx_message_next);
    const std::uint32_t at = hash_find(cursor.peer, cursor.sequence);
    if (at != no_index) {
        RxMessage& message = rx_messages[at];
        if (message.requested || message.total != total || message.received + payload->size() > total) {
            return FrameResult::malformed;
        }
        place(message, offset, *payload);
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
    if (!frame || (frame->flags & wire::frame_flag::want_delivered) != 0 || !take_optional(frame->flags)) {
        return FrameResult::malformed;
    }
    cursor.sequence = frame->sequence;
    cursor.tag = frame->tag;
    cursor.total = frame->total;
    cursor.offset = 0;
    cursor.payload = {};
    cursor.requested = true;
    cursor.sender_handle = frame->handle;
    const std::int32_t ahead = wire::sequence_distance(cursor.sequence, peers[cursor.peer].rx_message_next);
    if (ahead == 0) {
        return FrameResult::announce;
    }
    return ahead < 0 ? FrameResult::next : hold();
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
    const std::uint32_t index = new_rx_message(true);
    if (index == no_index) {
        return FrameResult::refuse;
    }
    RxMessage& message = rx_messages[index];
    if (!cursor.requested && !store_payload(message, cursor.offset, cursor.payload)) {
        release_rx(index);
        return FrameResult::refuse;
    }
    message.state = RxMessage::State::reordered;
    hash_insert(index);
    ++peer.reordered;
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
        message.cause != Cause::none ||
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
    if (!frame) {
        return FrameResult::malformed;
    }
    const auto payload = cursor.reader.take_bytes(frame->length);
    if (!payload || cursor.reader.remaining() != 0) {
        return FrameResult::malformed;
    }
    const std::uint32_t handle = frame->receiver_handle;
    const std::uint64_t offset = frame->offset;
    if (!rx_messages.live(handle)) {
        return FrameResult::next; // the receive has failed meanwhile
    }
    RxMessage& message = rx_messages[handle];
    if (message.peer != cursor.peer || message.sequence != frame->sequence || !message.requested ||
        message.state != RxMessage::State::receiving || message.reporting) {
        return FrameResult::next;
    }
    if (offset > message.limit || payload->size() > message.limit - offset ||
        payload->size() > message.limit - message.received) {
        return FrameResult::malformed;
    }
    place(message, offset, *payload);
    grants_outstanding -= payload->size();
    if (message.received == message.total) {
        complete_rx(handle);
        message.silent ? settle_rx(handle) : report_rx(handle);
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
    if (message.peer == cursor.peer && message.sequence == frame->sequence && !message.requested &&
        message.state == TxMessage::State::framed && message.level == CompletionLevel::delivery) {
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
        drop_connection(index, Cause::closed, now_);
        init_connection(index, now_);
        issue_grants();
    }
    return FrameResult::stop;
}

} // namespace srd
