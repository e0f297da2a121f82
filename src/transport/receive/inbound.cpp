// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/inbound.hpp"

#include <array>
#include <cstring>

#include "wire/binding.hpp"

namespace srd {

// -- Packets --------------------------------------------------------------------------------

void Inbound::on_packets(std::span<const RxPacket> packets, Time now)
{
    now_ = now;
    s_.reader.begin_burst();
    reassembly_.begin_burst();
    newcomer_ = 0;
    for (const RxPacket& packet : packets) {
        on_packet(packet);
    }
}

void Inbound::on_packet(const RxPacket& packet)
{
    s_.count.rx_packets.add();
    s_.count.rx_bytes.add(packet.length + packet.remote_length);
    wire::Reader reader({packet.data, packet.length});
    auto header = reader.take<wire::PacketHeader>();
    if (!header) {
        s_.count.rx_malformed.add();
        return;
    }
    header->connection = header->connection ^ wire::digest({packet.data, packet.length});
    if (!is_readable(*header)) {
        return;
    }
    const bool sequenced = (header->flags & wire::packet_flag::sequenced) != 0;
    const std::uint32_t peer = s_.peers.of_connection(header->connection);
    std::uint8_t proof = 0;
    Unsealing::Result opened = Unsealing::Result::readable;
    if (unsealing_.concerns(packet, *header)) {
        opened = unsealing_.open(packet, *header, peer, reader, proof);
        if (opened == Unsealing::Result::dropped) {
            return;
        }
    }
    if (peer == no_index && !is_of_stranger(*header, reader, opened)) {
        s_.count.rx_unknown_connection.add();
        return;
    }
    // Hellos, which have no psn, are of the base version in all connections.
    if (peer != no_index && header->version != s_.peers[peer].handshake.version() &&
        (sequenced || header->version != base_version)) {
        s_.count.rx_version.add();
        return;
    }
    const bool is_sealed = opened == Unsealing::Result::sealed;
    if (s_.trace != nullptr && !is_sealed) [[unlikely]] {
        trace(*header, reader, peer);
    }
    if (!is_sealed && (header->flags & wire::packet_flag::has_ack) != 0 &&
        !take_ack(reader, peer, packet.arrived)) {
        s_.count.rx_malformed.add();
        return;
    }
    if (peer != no_index) {
        // A hello may refuse us, and a stranger is met by one.
        if (s_.peers[peer].handshake.knows_remote() &&
            (sequenced || reader.peek() != static_cast<std::uint8_t>(wire::FrameType::hello))) {
            lifecycle_.on_heard(peer, now_);
        }
        if (!sequenced && (header->flags & wire::packet_flag::ack_requested) != 0) {
            s_.peers[peer].connection.receiver.request_ack();
            s_.peers.activate(peer);
        }
    }
    if (packet.marked) {
        s_.count.rx_marked.add();
    }
    if (!sequenced && reader.remaining() == 0) {
        return;
    }
    if ((header->flags & wire::packet_flag::fragment) != 0 && !take_fragment(reader, *header, peer)) {
        return;
    }
    PacketNote& note = s_.reader.note();
    note.frames =
        is_sealed ? std::span(packet.data, packet.length) : std::span(reader.position(), reader.remaining());
    note.is_sealed = is_sealed;
    note.proof = proof;
    note.peer = peer;
    describe(packet, *header, note);
}

void Inbound::describe(const RxPacket& packet, const wire::PacketHeader& header, PacketNote& note) noexcept
{
    note.arrived = packet.arrived;
    note.psn = header.psn;
    note.attempt = header.attempt;
    note.path = header.path;
    note.sequenced = (header.flags & wire::packet_flag::sequenced) != 0;
    note.marked = packet.marked;
    note.ack_requested = (header.flags & wire::packet_flag::ack_requested) != 0;
    note.remote_length = packet.remote_length;
    note.mapping_id = packet.mapping_id;
    note.remote = packet.remote;
    note.connection = header.connection;
}

/// As it would be in clear.
void Inbound::trace(wire::PacketHeader header, const wire::Reader& reader, std::uint32_t peer) noexcept
{
    header.flags &=
        static_cast<std::uint8_t>(~(wire::packet_flag::sealed | wire::packet_flag::authenticated));
    const std::array pieces{iovec{&header, sizeof(header)},
                            iovec{const_cast<std::byte*>(reader.position()), reader.remaining()}};
    s_.trace->on_packet(TraceKind::received, peer == no_index ? no_id<RouteId> : s_.peers[peer].route.id(),
                        pieces);
}

bool Inbound::is_readable(const wire::PacketHeader& header) noexcept
{
    if (header.version < base_version || header.version > s_.identity.dialect.newest) {
        s_.count.rx_version.add();
        return false;
    }
    if ((header.flags & ~wire::packet_flag::all) != 0) {
        s_.count.rx_malformed.add();
        return false;
    }
    return true;
}

/// Of those whom we do not know only an introduction is taken, and what it is followed by, for it may be
/// accepted when it is read.
bool Inbound::is_of_stranger(const wire::PacketHeader& header, const wire::Reader& reader,
                             Unsealing::Result opened) noexcept
{
    if ((header.flags & wire::packet_flag::sequenced) != 0) {
        return header.connection == newcomer_ && newcomer_ != 0 &&
               (header.flags & wire::packet_flag::fragment) == 0;
    }
    if (opened == Unsealing::Result::sealed ||
        reader.peek() != static_cast<std::uint8_t>(wire::FrameType::hello)) {
        return false;
    }
    newcomer_ = header.connection;
    return true;
}

/// The acknowledgement block acts at once. False: it is malformed.
bool Inbound::take_ack(wire::Reader& reader, std::uint32_t peer, Time arrived)
{
    const auto block = reader.take<wire::AckBlock>();
    const bool any_marks = block && (block->flags & wire::ack_flag::marks) != 0;
    const auto marks = any_marks ? reader.take<wire::MarkBlock>() : wire::MarkBlock{};
    const auto words = block && block->words <= wire::max_ack_words
                           ? reader.take_bytes(block->words * sizeof(std::uint64_t))
                           : std::nullopt;
    if (!marks || !words) {
        return false;
    }
    if (peer != no_index && s_.peers[peer].handshake.established()) {
        acks_.on_ack(peer, *block, *marks, words->data(), arrived, now_);
    }
    return true;
}

/// A piece of a packet that is longer than the path's MTU. True: now all of it is here, and `reader` reads
/// it.
bool Inbound::take_fragment(wire::Reader& reader, const wire::PacketHeader& header, std::uint32_t index)
{
    const auto place = reader.take<wire::FragmentHeader>();
    if (!place || (header.flags & wire::packet_flag::sequenced) == 0) {
        s_.count.rx_malformed.add();
        return false;
    }
    Peer& peer = s_.peers[index];
    if (!peer.handshake.knows_remote() ||
        peer.connection.receiver.check(header.psn) != Receiver::Window::fresh) {
        s_.count.rx_stale.add();
        peer.connection.receiver.request_ack(); // the latest may have been lost
        s_.peers.activate(index);
        return false;
    }
    std::span<const std::byte> frames;
    const Reassembly::Result result = reassembly_.add(header.connection, header.psn, *place,
                                                      {reader.position(), reader.remaining()}, now_, frames);
    if (result == Reassembly::Result::dropped) {
        s_.count.rx_fragments_dropped.add();
    }
    reader = wire::Reader(frames);
    return result == Reassembly::Result::whole;
}

// -- Events ---------------------------------------------------------------------------------

bool Inbound::poll_event(Event& event)
{
    SRD_CHECK(s_.reader.question() == PacketReader::Question::none);
    if (poll_done(event)) {
        return true;
    }
    if (s_.reader.has_deferred()) [[unlikely]] {
        return false;
    }
    for (;;) {
        if (s_.reader.turn_of() != no_index && poll_held(event)) {
            return true;
        }
        if (!s_.reader.is_open()) {
            // It may end a connection whose last messages are in memory.
            if (s_.reader.is_turning_point() && local_.poll(event, now_)) {
                return true;
            }
            if (!open_next()) {
                return local_.poll(event, now_) || poll_done(event);
            }
        }
        if (step(event)) {
            return true;
        }
    }
}

/// Completions that have been found by other steps.
bool Inbound::poll_done(Event& event)
{
    bool wanted = false;
    while (s_.outgoing.poll_done(event, wanted)) {
        if (wanted) {
            return true;
        }
    }
    return placement_.poll_done(event) || (watch_.any_waiting() && watch_.poll_waiting(event));
}

/// The next held message of the peer whose turn has moved on, if it is here.
bool Inbound::poll_held(Event& event)
{
    const std::uint32_t peer = s_.reader.turn_of();
    Receiver& receiver = s_.peers[peer].connection.receiver;
    const std::uint32_t record =
        receiver.held() == 0 ? no_index : s_.incoming.find(peer, receiver.message_next());
    // What is not held is a message that its sender has never finished, 2^32 numbers ago.
    if (record == no_index || s_.incoming[record].stage != RxMessage::Stage::held) {
        s_.reader.set_turn_of(no_index);
        return false;
    }
    RxMessage& message = s_.incoming[record];
    receiver.on_unheld();
    s_.incoming.unhold(message);
    if (message.has_unasked()) {
        s_.incoming.erase(record);
    }
    if (message.is<AtomicReceive>()) {
        message.stage = RxMessage::Stage::receiving;
        target_.announce_held(record, event);
    } else {
        message.stage = RxMessage::Stage::parked;
        placement_.announce(record, event);
    }
    return true;
}

/// Opens the next noted packet that is still to be read.
bool Inbound::open_next()
{
    using Mark = Receiver::Window::Mark;
    for (PacketNote* note = s_.reader.take_note(); note != nullptr; note = s_.reader.take_note()) {
        if (note->peer == no_index) {
            note->peer = s_.peers.of_connection(note->connection); // it may have been met by this burst
        }
        if (note->is_sealed && note->peer != no_index && !open_late(*note)) {
            continue;
        }
        if (note->peer == no_index && !note->sequenced) {
            s_.reader.open(*note);
            return true;
        }
        if (note->peer == no_index || !s_.peers.live(note->peer) ||
            s_.peers[note->peer].handshake.rx_connection() != note->connection) {
            s_.count.rx_unknown_connection.add();
            continue;
        }
        Peer& peer = s_.peers[note->peer];
        if (!note->sequenced) {
            s_.reader.open(*note);
            return true;
        }
        if (!peer.handshake.knows_remote()) {
            s_.count.rx_stale.add(); // overtook the handshake's answer; comes again
            continue;
        }
        switch (peer.connection.receiver.check(note->psn)) {
        case Mark::fresh:
            s_.reader.open(*note);
            return true;
        case Mark::duplicate:
            s_.count.rx_duplicates.add();
            peer.connection.receiver.on_duplicate();
            s_.peers.activate(note->peer);
            break;
        case Mark::beyond:
            s_.count.rx_stale.add();
            break;
        }
    }
    return false;
}

/// A sealed packet of somebody who has been met since it was noted. An acknowledgement in it acknowledges
/// nothing yet.
bool Inbound::open_late(PacketNote& note)
{
    wire::Reader reader{{}};
    wire::PacketHeader header;
    std::memcpy(&header, note.frames.data(), sizeof(header));
    if (!unsealing_.open_sealed(note.peer, note.frames, reader)) {
        return false;
    }
    if ((header.flags & wire::packet_flag::has_ack) != 0 && !take_ack(reader, no_index, note.arrived)) {
        s_.count.rx_malformed.add();
        return false;
    }
    note.frames = {reader.position(), reader.remaining()};
    note.is_sealed = false;
    return true;
}

/// Reads frames of the open packet up to the next event. True: `event` is valid.
bool Inbound::step(Event& event)
{
    while (s_.reader.is_open() && s_.reader.turn_of() == no_index) {
        if (s_.reader.at_end()) {
            finish_packet();
            return false;
        }
        const FrameResult result = s_.reader.next_frame() ? on_frame(event) : FrameResult::malformed;
        switch (result) {
        case FrameResult::next:
            break;
        case FrameResult::event:
            return true;
        case FrameResult::refuse:
            placement_.refuse_packet();
            return false;
        case FrameResult::malformed:
            s_.count.rx_malformed.add();
            s_.reader.close();
            return false;
        case FrameResult::lost:
        case FrameResult::stop:
            s_.reader.close();
            return false;
        }
    }
    return false;
}

/// False: the peer has no version of the protocol in common with us. (A stranger who has none is answered,
/// for that tells him; he gets no record.)
bool Inbound::speaks_with_us(const wire::HelloFrame& hello) noexcept
{
    if (s_.speaks_with(hello)) [[likely]] {
        return true;
    }
    s_.count.rx_version.add();
    const std::uint32_t peer = s_.reader.packet().peer;
    if (peer != no_index) {
        s_.peers[peer].handshake.on_other_version();
    }
    return peer == no_index;
}

FrameResult Inbound::on_frame(Event& event)
{
    if (s_.reader.packet().sequenced) {
        return on_sequenced(event);
    }
    if (const auto* hello = std::get_if<wire::HelloFrame>(&s_.reader.frame())) {
        return speaks_with_us(*hello) ? lifecycle_.on_hello(*hello, event, now_) : FrameResult::stop;
    }
    if (const auto* probe = std::get_if<wire::MtuProbeFrame>(&s_.reader.frame())) {
        return search_.on_probe(*probe, now_);
    }
    if (const auto* word = std::get_if<wire::RailsWord>(&s_.reader.frame())) {
        return rails_.on_rails(*word, event, now_);
    }
    return std::holds_alternative<wire::CloseFrame>(s_.reader.frame()) ? lifecycle_.on_close(now_)
                                                                       : FrameResult::malformed;
}

FrameResult Inbound::on_sequenced(Event& event)
{
    struct Owner {
        Inbound& in;
        Event& event;

        FrameResult operator()(const wire::EagerFrame& f) { return in.placement_.on_eager(f, event); }
        FrameResult operator()(const wire::RequestedMessage& f) { return in.placement_.on_request(f, event); }
        FrameResult operator()(const wire::DataPiece& f) { return in.placement_.on_data(f); }
        FrameResult operator()(const wire::GrantFrame& f) { return in.submission_.on_grant(f); }
        FrameResult operator()(const wire::DeliveredFrame& f) { return in.submission_.on_delivered(f); }
        FrameResult operator()(const wire::WritePiece& f) { return in.target_.on_write(f, event); }
        FrameResult operator()(const wire::ReadFrame& f) { return in.target_.on_read(f, event); }
        FrameResult operator()(const wire::AtomicRequest& f) { return in.target_.on_atomic(f, event); }
        FrameResult operator()(const wire::AtomicResult& f) { return in.initiator_.on_result(f); }
        FrameResult operator()(const wire::AccessFailure& f) { return in.initiator_.on_failure(f); }
        FrameResult operator()(const wire::HelloFrame&) { return FrameResult::malformed; }
        FrameResult operator()(const wire::CloseFrame&) { return FrameResult::malformed; }
        FrameResult operator()(const wire::MtuProbeFrame&) { return FrameResult::malformed; }
        FrameResult operator()(const wire::RailsWord&) { return FrameResult::malformed; }
    };
    if (const auto* eager = std::get_if<wire::EagerFrame>(&s_.reader.frame())) {
        return placement_.on_eager(*eager, event); // nearly all of them are these two
    }
    if (const auto* data = std::get_if<wire::DataPiece>(&s_.reader.frame())) {
        return placement_.on_data(*data);
    }
    return std::visit(Owner{*this, event}, s_.reader.frame());
}

/// Every frame was taken: from now on the packet counts as received.
void Inbound::finish_packet()
{
    s_.reader.close();
    const PacketNote& packet = s_.reader.packet();
    if (!packet.sequenced) {
        return;
    }
    Receiver& receiver = s_.peers[packet.peer].connection.receiver;
    if (wire::sequence_distance(packet.psn, receiver.highest()) < 0) {
        s_.count.rx_out_of_order.add();
    }
    const bool timer_set =
        receiver.on_received({packet.psn, packet.attempt, packet.path, packet.arrived}, packet.marked,
                             static_cast<std::uint32_t>(packet.frames.size()) + packet.remote_length,
                             packet.ack_requested, s_.tuning.ack_delay, now_);
    if (timer_set) {
        s_.peers.arm(packet.peer);
    }
    if (receiver.ack_now()) {
        s_.peers.activate(packet.peer);
    }
}

} // namespace srd
