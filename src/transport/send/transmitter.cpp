// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/transmitter.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <srd/iov.hpp>

#include "wire/binding.hpp"

namespace srd {

namespace {

/// Most packets a peer sends before the next peer's turn.
constexpr std::uint16_t turn_packets = 64;

/// The backend may send the packet in one batch with the one before it, of the same turn.
bool goes_with(const TxPacket& before, const TxPacket& packet) noexcept
{
    return !before.alone && !packet.alone && before.path == packet.path;
}

/// What a hello says of the round trip. The remote has measured none when it makes its record, by our proof.
std::uint8_t round_trip_code(const Peer& peer) noexcept
{
    const RttEstimator& rtt = peer.connection.recovery.rtt();
    return rtt.valid() ? wire::put_round_trip(static_cast<std::uint64_t>(rtt.smoothed().count())) : 0;
}

} // namespace

std::size_t Transmitter::poll(std::span<TxPacket> packets, Time now)
{
    std::size_t built = std::exchange(backlogged_, false) ? acknowledge_first(packets, now) : 0;
    std::uint32_t last = s_.peers.last_active(); // one turn for each peer that is active now
    bool more = last != no_index;
    while (more && built < packets.size()) {
        const std::uint32_t index = s_.peers.first_active();
        Peer& peer = s_.peers[index];
        more = index != last;
        std::uint16_t& limit = peer.turn.limit;
        const bool trying = limit < turn_packets;
        const std::size_t room = std::min<std::size_t>(packets.size() - built, limit);
        const bool refused = peer.turn.retry_at > now; // a moment ago; no timer comes back to it
        const std::size_t emitted = refused ? 0 : take_turn(index, packets.subspan(built, room), now);
        limit = emitted == room ? std::min<std::uint16_t>(2 * limit, turn_packets) : limit;
        built += emitted;
        s_.peers.deactivate(index);
        if (emitted == room || refused || another_turn(peer, now)) {
            s_.peers.activate(index);
            if (!more && emitted == room && !trying) {
                last = s_.peers.last_active();
                more = true; // alone, or everybody had a turn: go on while there is room
            }
        }
        s_.peers.arm(index);
    }
    return built;
}

/// The backend takes less than there is to be sent. What is acknowledged late looks lost to its sender, so
/// that even more is sent: acknowledgements that are due go before what waits in the turns.
std::size_t Transmitter::acknowledge_first(std::span<TxPacket> packets, Time now)
{
    std::size_t built = 0;
    for (std::uint32_t at = s_.peers.first_active(); at != no_index && built < packets.size();
         at = s_.peers.next_active(at)) {
        const Peer& peer = s_.peers[at];
        const bool due = peer.handshake.established() && peer.connection.receiver.ack_now();
        if (due && peer.turn.retry_at <= now && emit_bare(at, Bare::ack, packets[built], now)) {
            ++built;
        }
    }
    return built;
}

/// True if another turn now would send something, or may when a shared pool recovers.
bool Transmitter::another_turn(const Peer& peer, Time now) const noexcept
{
    const Connection& connection = peer.connection;
    if (peer.handshake.hello_due() || peer.farewells_due != 0) {
        return true;
    }
    if (!peer.handshake.established()) {
        return false;
    }
    if (connection.receiver.ack_now() || peer.route.path_mtu().any_due() || peer.rails.any_due()) {
        return true;
    }
    if (connection.fragmentation.any() && waits_for_fragments(peer)) {
        return false;
    }
    // The peer's own packet window is reopened by acknowledgements; shared pools are not.
    if (connection.refusal.blocked()) {
        return connection.receiver.any_control() && connection.window.within_window(2);
    }
    if (!peer.has_work() || connection.congestion.holds_back(now)) {
        return false; // an acknowledgement or a timer comes back to it
    }
    return connection.window.within_window(2);
}

std::size_t Transmitter::take_turn(std::uint32_t index, std::span<TxPacket> packets, Time now)
{
    Peer& peer = s_.peers[index];
    const Connection& connection = peer.connection;
    std::size_t built = 0;
    while (peer.handshake.hello_due() && built < packets.size() &&
           emit_bare(index, Bare::hello, packets[built], now)) {
        ++built;
    }
    while (peer.farewells_due != 0 && built < packets.size() &&
           emit_bare(index, Bare::close, packets[built], now)) {
        ++built;
    }
    if (!peer.handshake.established()) {
        return built;
    }
    if (peer.route.path_mtu().any_due()) {
        built += emit_probes(index, packets.subspan(built), now);
    }
    if (peer.rails.any_due()) [[unlikely]] {
        built += emit_rails(index, packets.subspan(built), now);
    }
    while (built < packets.size()) {
        std::uint32_t slot = next_packet(index, now);
        if (connection.fragmentation.any()) {
            slot = next_fitting(index, slot, now);
        }
        if (slot == no_index || !emit(index, slot, packets[built], now)) {
            break;
        }
        s_.packets[slot].in_train = built != 0 && goes_with(packets[built - 1], packets[built]);
        ++built;
    }
    while (peer.connection.receiver.ack_now() && built < packets.size() &&
           emit_bare(index, Bare::ack, packets[built], now)) {
        ++built;
    }
    return built;
}

// -- Which packet ---------------------------------------------------------------------------

/// May a packet be sent now, by congestion window and pacing? `again`: a repetition.
bool Transmitter::may_send(Peer& peer, const TxSlot* again, Time now) const noexcept
{
    if (again != nullptr &&
        (again->repair() == TxSlot::Repair::probe || again->repair() == TxSlot::Repair::timeout)) {
        return true; // probes are not held back
    }
    const PacketWindow& window = peer.connection.window;
    return peer.connection.congestion.open(window.bytes_in_flight(), window.any_in_flight(), peer.route.mtu(),
                                           now);
}

/// While the peer refuses messages: grants and delivered frames still go out, for without them
/// two endpoints that refuse each other's messages would wait for each other for ever.
std::uint32_t Transmitter::next_control_packet(std::uint32_t index)
{
    Connection& connection = s_.peers[index].connection;
    PacketWindow& window = connection.window;
    if (window.any_lost() && s_.packets[window.first_lost()].control) {
        return window.first_lost();
    }
    if (!window.any_ready() || !s_.packets[window.first_ready()].control) {
        const std::uint32_t last = window.last_ready();
        if (!connection.receiver.any_control() || !framing_.frame_control(index)) {
            return no_index;
        }
        std::uint32_t first = no_index; // moved; behind it are those that have been moved, too
        while (window.last_ready() != last && window.last_ready() != first &&
               s_.packets[window.last_ready()].control) {
            const std::uint32_t at = window.last_ready();
            window.hasten_last(s_.packets);
            first = first == no_index ? at : first;
        }
    }
    return s_.packets[window.first_ready()].control ? window.first_ready() : no_index;
}

/// The packet to send next, or no_index. It stays on its list until it is sent.
std::uint32_t Transmitter::next_packet(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    PacketWindow& window = connection.window;
    if (connection.refusal.blocked()) {
        return next_control_packet(index);
    }
    if (window.any_lost()) {
        const std::uint32_t at = window.first_lost();
        return may_send(peer, &s_.packets[at], now) ? at : no_index;
    }
    if (!window.anything_to_send() && !connection.queue.any_waiting() && !connection.queue.any_granted() &&
        !connection.receiver.any_control()) {
        return no_index;
    }
    if (!may_send(peer, nullptr, now)) {
        return no_index;
    }
    while (!window.any_ready() && framing_.frame_next(index)) {
    }
    if (!window.any_ready()) {
        window.close_open(s_.packets);
    }
    return window.first_ready();
}

PathId Transmitter::choose_path(Peer& peer, TxSlot& slot, Time now)
{
    Connection& connection = peer.connection;
    if (!peer.handshake.confirmed()) {
        return peer.handshake.hello_path(); // what overtakes our introduction is dropped
    }
    if (slot.state() == TxSlot::State::lost) {
        return connection.recovery.is_fruitless() ? connection.paths.any(s_.random.next())
                                                  : connection.paths.next_avoiding(slot.path, now);
    }
    // What the kernel takes as one batch is at most a datagram.
    std::uint32_t batch =
        connection.trains.arrive(now)
            ? std::min<std::uint32_t>(s_.caps.burst_packets,
                                      max_udp_payload / (framing_.packet_size(slot) + s_.caps.overhead))
            : 1;
    if (peer.rails.several()) { // one that takes the whole window leaves all other interfaces idle
        const std::uint32_t mtu = peer.route.mtu();
        const std::uint32_t parts = 4 * peer.rails.lanes();
        batch = std::min(batch, std::max(connection.congestion.bytes(mtu) / (parts * mtu), 1U));
    }
    const bool bulk =
        slot.is_generated() && s_.outgoing[slot.message].total > std::uint64_t{batch} * slot.length;
    const PathId path = connection.paths.next(batch, !connection.window.any_in_flight(), bulk, now);
    return peer.rails.several() && connection.paths.begins_batch() ? balance(slot.peer, path, now) : path;
}

/// What a batch takes instead of `path`, so that no way stands idle while packets wait on another.
PathId Transmitter::balance(std::uint32_t index, PathId path, Time now)
{
    Peer& peer = s_.peers[index];
    const unsigned way = peer.rails.way_of(path);
    const unsigned better = s_.way_times[index].choose(way, peer.rails.open(), now);
    return better == way ? path : peer.connection.paths.redirect(peer.rails.paths_to(better), now);
}

// -- Building packets -----------------------------------------------------------------------

/// Header memory for one more packet on `route`; nullptr: none is free.
std::byte* Transmitter::begin(RouteId route, TxPacket& packet) noexcept
{
    if (headers_used_ == header_capacity_) {
        return nullptr;
    }
    packet.route = route;
    packet.cookie = no_index;
    packet.length = 0;
    packet.way = 0;
    packet.iov_count = 0;
    packet.stable_from = max_tx_iov;
    packet.alone = false;
    packet.probe = false;
    packet.seal = nullptr;
    return headers_[headers_used_++].bytes.data();
}

/// The packet is for its receiver alone.
void Transmitter::seal(std::uint32_t index, wire::PacketHeader& header, TxPacket& packet) noexcept
{
    if (s_.seals == nullptr) {
        return;
    }
    packet.seal = s_.seals->session(index);
    SRD_CHECK(packet.seal != nullptr); // made with the connection: nothing goes out in clear
    header.flags = static_cast<std::uint8_t>(header.flags | wire::packet_flag::sealed);
}

void Transmitter::finish(TxPacket& packet) noexcept
{
    for (std::size_t i = 0; i < packet.iov_count; ++i) {
        packet.length += static_cast<std::uint32_t>(packet.iov[i].iov_len);
    }
    SRD_DCHECK(packet.length <= s_.caps.max_packet);
    wire::bind_packet({static_cast<std::byte*>(packet.iov[0].iov_base), packet.iov[0].iov_len});
    s_.count.tx_packets.add();
    s_.count.paths[index_of(packet.path)].packets.add();
    s_.count.tx_bytes.add(packet.length);
    s_.trace_packet(packet);
}

bool Transmitter::emit(std::uint32_t index, std::uint32_t slot_index, TxPacket& packet, Time now)
{
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    TxSlot& slot = s_.packets[slot_index];
    if (is_on_device(slot) && !stage(index, slot, now)) [[unlikely]] {
        return false;
    }
    std::byte* const start = begin(peer.route.id(), packet);
    if (start == nullptr) {
        return false;
    }
    packet.cookie = slot_index;
    const bool goes_on = slot.state() == TxSlot::State::in_flight; // with the next fragment
    if (!goes_on) {
        slot.path = choose_path(peer, slot, now);
    }
    packet.path = slot.path;
    packet.way = peer.rails.way_of(slot.path);
    packet.alone = slot.state() == TxSlot::State::lost || !connection.trains.arrive(now);

    // Waiting for an acknowledgement would stall a full window, a repair, and every packet that ends an
    // operation whose completion the application waits for: the receiver may make no further progress after
    // the pass that delivers it (FI_PROGRESS_MANUAL), so a delayed acknowledgement might never be sent.
    const std::uint32_t mtu = peer.route.mtu();
    const bool again = slot.state() == TxSlot::State::lost;
    bool stalls = again || (!slot.piece && slot.message != no_index);
    // The packets of one batch are of equal size but for the last, which alone may carry an acknowledgement.
    bool followed = connection.window.last_ready() != slot_index && !again;
    if (slot.is_generated()) {
        const TxMessage& message = s_.outgoing[slot.message];
        const bool last = slot.offset + slot.length == message.total;
        stalls = stalls || slot.named || (last && !message.is_buffered());
        followed = followed || !last;
    }
    const AckClock::Pace& pace = s_.caps.burst_packets > 1 ? AckClock::trains : AckClock::single_packets;
    const bool request =
        connection.ack_clock.on_packet(pace, slot.length, stalls, connection.congestion.bytes(mtu),
                                       connection.window.bytes_in_flight(), mtu);
    if (!goes_on) {
        book_sent(peer, slot_index, now);
    }

    std::byte* out = start;
    auto& header = wire::append<wire::PacketHeader>(out);
    header.version = peer.handshake.version();
    header.flags = static_cast<std::uint8_t>(wire::packet_flag::sequenced |
                                             (request ? wire::packet_flag::ack_requested : 0));
    header.path = static_cast<std::uint8_t>(index_of(slot.path));
    header.attempt = slot.attempt();
    header.psn = slot.psn();
    header.connection = peer.handshake.tx_connection();
    const std::size_t room = mtu - std::min(mtu, framing_.packet_size(slot));
    if (connection.receiver.ack_pending() && !followed && connection.receiver.ack_size() <= room) {
        header.flags |= wire::packet_flag::has_ack;
        out = connection.receiver.write_ack(out, room, s_.wishes(index), now);
    }
    seal(index, header, packet);
    add_frames(slot, start, out, packet);
    if (connection.fragmentation.any() && is_too_long(peer, slot)) {
        cut_fragment(peer, slot, goes_on, packet);
    }
    finish(packet);
    return true;
}

/// The pieces of the packet: from `start` what is made for this transmission, then frames or payload.
void Transmitter::add_frames(const TxSlot& slot, std::byte* start, std::byte* out, TxPacket& packet)
{
    if (slot.is_generated()) {
        const TxMessage& message = s_.outgoing[slot.message];
        out = framing_.put_piece(slot, out);
        packet.iov[packet.iov_count++] = {start, static_cast<std::size_t>(out - start)};
        if (message.is_revoked() || slot.named) {
            return;
        }
        if (is_on_device(slot)) [[unlikely]] {
            return add_staged(slot, packet);
        }
        if (message.sends_data(slot.offset) || message.is<WriteSend>()) {
            // The receiver knows the place of every byte and may fetch them itself.
            packet.stable_from = packet.iov_count;
        }
        const std::size_t pieces = slice(message.pieces(), slot.offset, slot.length,
                                         std::span(packet.iov).subspan(packet.iov_count));
        packet.iov_count = static_cast<std::uint8_t>(packet.iov_count + pieces);
        return;
    }
    // A few bytes are sooner copied than gathered by the kernel.
    const std::byte* frames = s_.packets.chunk(slot.chunk);
    const bool inlined = slot.length <= inline_frames;
    if (inlined) {
        std::memcpy(out, frames, slot.length);
        out += slot.length;
    }
    packet.iov[packet.iov_count++] = {start, static_cast<std::size_t>(out - start)};
    if (!inlined) {
        packet.iov[packet.iov_count++] = {const_cast<std::byte*>(frames), slot.length};
    }
}

Counter& Transmitter::repair_counter(TxSlot::Repair repair) const noexcept
{
    switch (repair) {
    case TxSlot::Repair::probe:
        return s_.count.retransmits_probe;
    case TxSlot::Repair::timeout:
        return s_.count.retransmits_timeout;
    case TxSlot::Repair::refused:
        return s_.count.retransmits_refused;
    case TxSlot::Repair::mtu:
        return s_.count.retransmits_mtu;
    case TxSlot::Repair::rack:
    case TxSlot::Repair::none: // a lost packet always has a reason
        break;
    }
    return s_.count.retransmits_rack;
}

/// Books the packet as in flight from now on.
void Transmitter::book_sent(Peer& peer, std::uint32_t slot_index, Time now)
{
    Connection& connection = peer.connection;
    const TxSlot& slot = s_.packets[slot_index];
    if (slot.state() == TxSlot::State::lost) {
        repair_counter(slot.repair()).add();
        s_.trace_event(trace_of(slot.repair()), peer, slot.psn());
        if (slot.attempt() != 0 && slot.wire_bytes() > peer.route.base_mtu()) {
            peer.route.path_mtu().suspect(now);
        }
    } else if (!connection.window.any_outstanding()) { // a repetition is no new wait
        peer.liveness.on_wait_begins(now);
        peer.route.path_mtu().on_traffic(now);
        peer.rails.on_traffic(now);
    }
    connection.window.sent(s_.packets, slot_index, now);
    connection.recovery.on_sent(connection.window.bytes_in_flight(), s_.tuning, s_.packets.peers_in_use(),
                                now);
    connection.congestion.on_sent(slot.wire_bytes(), now);
}

/// No acknowledgement tells what became of such a packet, so a receiver does not learn that a way is dead: it
/// answers by the way that packets came by last.
PathId Transmitter::choose_bare_path(Peer& peer, Bare kind, Time now)
{
    PathChoice& paths = peer.connection.paths;
    const Receiver& receiver = peer.connection.receiver;
    if (kind == Bare::hello || receiver.questioned()) {
        return paths.any(s_.random.next());
    }
    const std::uint64_t back = peer.rails.paths_back(receiver.latest_path());
    return back != 0 ? paths.next_among(back, now) : paths.next(now);
}

/// A packet outside the sequence. False: no header memory is free; try again later.
bool Transmitter::emit_bare(std::uint32_t index, Bare kind, TxPacket& packet, Time now)
{
    Peer& peer = s_.peers[index];
    Receiver& receiver = peer.connection.receiver;
    std::byte* const start = begin(peer.route.id(), packet);
    if (start == nullptr) {
        return false;
    }
    packet.path = choose_bare_path(peer, kind, now);
    packet.way = peer.rails.way_of(packet.path);
    wire::PacketHeader header;
    header.flags = kind == Bare::hello ? std::uint8_t{0} : wire::packet_flag::has_ack;
    if (kind != Bare::hello) {
        header.version = peer.handshake.version();
        seal(index, header, packet);
    } else if (s_.seals != nullptr) {
        header.flags = wire::packet_flag::authenticated;
    }
    header.path = static_cast<std::uint8_t>(index_of(packet.path));
    header.connection = peer.handshake.tx_connection(); // 0 in a hello until we know it
    std::byte* out = wire::put(start, header);
    switch (kind) {
    case Bare::hello:
        peer.handshake.on_hello_sent(packet.path);
        // Nothing earlier than una() is ever sent on this connection.
        out = peer.handshake.write_hello(out, s_.identity, peer.route.largest_packet(),
                                         peer.connection.window.una(), round_trip_code(peer));
        if (s_.seals != nullptr) {
            s_.seals->append_trailer({start, out}, out, s_.seals->keys_of(index));
            out += EndpointSeals::trailer_size;
        }
        break;
    case Bare::ack:
        receiver.on_answer();
        s_.count.tx_acks.add();
        packet.cookie = bare_ack;
        [[fallthrough]];
    case Bare::close:
        out = receiver.write_ack(out, peer.route.mtu() - sizeof(header) - sizeof(wire::CloseFrame),
                                 s_.wishes(index), now);
        break;
    }
    if (kind == Bare::close) {
        out = wire::put(out, wire::CloseFrame{});
        --peer.farewells_due;
        packet.cookie = bare_close;
    }
    packet.iov[packet.iov_count++] = {start, static_cast<std::size_t>(out - start)};
    finish(packet);
    return true;
}

} // namespace srd
