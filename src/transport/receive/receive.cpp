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
    count.rx_bytes.add(packet.length + packet.remote_length);
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
    note.remote_length = packet.remote_length;
    note.mapping_id = packet.mapping_id;
    note.remote = packet.remote;
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
        bool wanted = message.level != CompletionLevel::none;
        if (message.response) {
            event.kind = Event::Kind::read_served;
            wanted = wanted && message.cause == Cause::none;
            --responses;
        }
        release_tx(at);
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
    forget_held(message);
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
    if (message.is_atomic) {
        message.state = RxMessage::State::answering;
        cursor.atomic = message.atomic;
        announce_atomic(event, at);
    } else {
        announce(event, at);
    }
    return true;
}

/// Makes the message event for what the cursor describes.
void Engine::Impl::announce(Event& event, std::uint32_t record)
{
    cursor.awaiting = true;
    cursor.subject = Cursor::Subject::message;
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
        cursor.contents = TxSlot::Contents::neutral;
        cursor.rma_frames = 0;
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
            ++peer.duplicates; // and no echo: it would vouch for a copy that was not the first to arrive
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
            refuse();
            return false;
        case FrameResult::malformed:
            count.rx_malformed.add();
            cursor.in_packet = false;
            return false;
        case FrameResult::lost:
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
    peer.ack_bytes += static_cast<std::uint32_t>(packet.frames.size()) + packet.remote_length;
    if (packet.ack_requested || peer.ack_packets >= ack_every_packets || peer.ack_bytes >= ack_every_bytes) {
        peer.ack_now = true;
        activate(packet.peer);
    } else if (peer.ack_at == time_never) {
        peer.ack_at = now_ + tuning.ack_delay;
        arm(packet.peer);
    }
}

} // namespace srd
