// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets out. Peers with something to send take turns; within a turn a hello
// goes first, then what was lost, then what is new as far as the windows allow,
// and at last a bare acknowledgement if no packet could carry it.
#include "engine_impl.hpp"

#include <algorithm>
#include <cstring>

#include "send/bytes.hpp"

namespace srd {

namespace {

/// Acknowledgements are asked for this often, or eight times a window if that is less often: they
/// clock the sender, and each tells of one path.
constexpr std::uint32_t request_packets = 8;
/// Most packets a peer sends before the next peer's turn.
constexpr std::uint16_t turn_packets = 64;
/// How long a near peer is left alone that did not take a packet. Others must not wait for it meanwhile.
constexpr Duration near_retry = std::chrono::microseconds(4);
/// A pacing gap shorter than this is not waited for: it is cheaper to send a little early than to wake for
/// it.
constexpr Duration pace_slack = std::chrono::microseconds(10);
/// The most bytes the kernel takes as one batch.
constexpr std::uint32_t batch_bytes = 65507;

} // namespace

void Engine::Impl::activate(std::uint32_t index)
{
    Peer& peer = peers[index];
    if (!peer.active) {
        peer.active = true;
        active.push_back(peers, index);
    }
}

void Engine::Impl::deactivate(std::uint32_t index)
{
    Peer& peer = peers[index];
    if (peer.active) {
        peer.active = false;
        active.erase(peers, index);
    }
}

bool Engine::Impl::has_work(const Peer& peer) const noexcept
{
    if (peer.hello_due || peer.closing) {
        return true;
    }
    return peer.state == Peer::State::established &&
           (peer.ack_now || !peer.lost.empty() || !peer.ready.empty() || peer.open_slot != no_index ||
            !peer.tx_queue.empty() || !peer.grant_queue.empty() || !peer.control.empty());
}

std::size_t Engine::Impl::poll_transmit(std::span<TxPacket> packets, Time now)
{
    now_ = now;
    transmit_due = false;
    std::size_t built = 0;
    std::uint32_t last = active.back(); // one turn for each peer that is active now
    bool more = last != no_index;
    while (more && built < packets.size()) {
        const std::uint32_t index = active.front();
        more = index != last;
        std::uint16_t& limit = peers[index].turn_limit;
        const bool trying = limit < turn_packets;
        const std::size_t room = std::min<std::size_t>(packets.size() - built, limit);
        const std::size_t emitted =
            peers[index].retry_at > now ? 0 : transmit_peer(index, packets.subspan(built, room), now);
        limit = emitted == room ? std::min<std::uint16_t>(2 * limit, turn_packets) : limit;
        built += emitted;
        deactivate(index);
        if (emitted == room || sendable(peers[index], now)) {
            activate(index);
            if (!more && emitted == room && !trying) {
                last = active.back();
                more = true; // alone, or everybody had a turn: go on while there is room
            }
        }
        arm(index);
    }
    return built;
}

/// True if another turn now would send something, or may when a shared pool recovers.
bool Engine::Impl::sendable(const Peer& peer, Time now) const noexcept
{
    if (peer.hello_due || peer.closing) {
        return true;
    }
    if (peer.state != Peer::State::established) {
        return false;
    }
    if (peer.ack_now) {
        return true;
    }
    if (peer.rnr_blocked) {
        return !peer.control.empty() && peer.tx_next - peer.tx_una + 2 <= packet_window;
    }
    if (!has_work(peer) || peer.window_limited || (peer.pace_blocked && peer.pace_at > now)) {
        return false; // an acknowledgement or a timer comes back to it
    }
    // The peer's own packet window is reopened by acknowledgements; shared pools are not.
    return peer.tx_next - peer.tx_una + 2 <= packet_window;
}

std::size_t Engine::Impl::transmit_peer(std::uint32_t index, std::span<TxPacket> packets, Time now)
{
    Peer& peer = peers[index];
    std::size_t built = 0;
    peer.burst_left = 0;
    if (peer.hello_due && emit_bare(index, Bare::hello, packets[built], now)) {
        ++built;
    }
    if (peer.closing && built < packets.size() && emit_bare(index, Bare::close, packets[built], now)) {
        ++built;
    }
    if (peer.state != Peer::State::established) {
        return built;
    }
    while (built < packets.size()) {
        const std::uint32_t slot = next_slot(index, now);
        if (slot == no_index || !emit_slot(index, slot, packets[built], now)) {
            break;
        }
        ++built;
    }
    if (peer.ack_now && built < packets.size() && emit_bare(index, Bare::ack, packets[built], now)) {
        ++built;
    }
    return built;
}

/// May a packet be sent now, by congestion window and pacing? `slot`: a retransmission.
bool Engine::Impl::window_open(Peer& peer, const TxSlot* slot, Time now) const noexcept
{
    if (slot != nullptr &&
        (slot->repair == TxSlot::Repair::probe || slot->repair == TxSlot::Repair::timeout)) {
        return true; // probes are not held back
    }
    if (!peer.in_flight.empty() && peer.in_flight_bytes + peer.mtu > window_bytes(peer)) {
        peer.window_limited = true;
        return false;
    }
    if (peer.pace_at > now + pace_slack) {
        peer.pace_blocked = true;
        return false;
    }
    return true;
}

/// While the peer refuses messages: grants and delivered frames still go out, for without them
/// two endpoints that refuse each other's messages would wait for each other for ever.
std::uint32_t Engine::Impl::next_control_slot(std::uint32_t index)
{
    Peer& peer = peers[index];
    if (!peer.lost.empty() && slots[peer.lost.front()].control) {
        return peer.lost.front();
    }
    if (peer.ready.empty() || !slots[peer.ready.front()].control) {
        const std::uint32_t last = peer.ready.back();
        if (peer.control.empty() || !frame_control(index)) {
            return no_index;
        }
        std::uint32_t first = no_index; // moved; behind it are those that have been moved, too
        while (peer.ready.back() != last && peer.ready.back() != first && slots[peer.ready.back()].control) {
            const std::uint32_t at = peer.ready.back();
            peer.ready.erase(slots, at);
            peer.ready.push_front(slots, at);
            first = first == no_index ? at : first;
        }
    }
    return slots[peer.ready.front()].control ? peer.ready.front() : no_index;
}

/// The packet to send next, or no_index. It stays on its list until it is sent.
std::uint32_t Engine::Impl::next_slot(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    if (peer.rnr_blocked) {
        return next_control_slot(index);
    }
    if (!peer.lost.empty()) {
        const std::uint32_t at = peer.lost.front();
        return window_open(peer, &slots[at], now) ? at : no_index;
    }
    if (peer.ready.empty() && peer.open_slot == no_index && peer.tx_queue.empty() &&
        peer.grant_queue.empty() && peer.control.empty()) {
        return no_index;
    }
    if (!window_open(peer, nullptr, now)) {
        return no_index;
    }
    while (peer.ready.empty() && frame_next(index)) {
    }
    if (peer.ready.empty()) {
        close_open_slot(peer);
    }
    return peer.ready.front();
}

/// For what must get through although nothing does. By chance: turns may keep step with those of another kind
/// of packet, or of the peer, and meet the same dead paths for ever.
PathId Engine::Impl::any_path(const Peer& peer)
{
    return std::visit([chance = random.next()](auto& paths) { return paths.any(chance); }, peer.paths);
}

PathId Engine::Impl::choose_path(Peer& peer, const TxSlot& slot, Time now)
{
    if (slot.state == TxSlot::State::lost) {
        if (peer.probe_count >= fruitless_probes) {
            return any_path(peer);
        }
        return std::visit([&](auto& paths) { return paths.next_avoiding(slot.path, now); }, peer.paths);
    }
    if (peer.burst_left != 0) {
        --peer.burst_left;
        return peer.burst_path;
    }
    if (peer.in_flight.empty() && peer.path_proven && !slot.bulk) {
        return peer.burst_path; // a lone packet has nothing to be spread from; another path is only colder
    }
    peer.path_proven = false;
    peer.burst_path = std::visit([&](auto& paths) { return paths.next(now); }, peer.paths);
    if (slot.bulk) {
        // What the backend sends as one batch is one path; the next batch takes another.
        const std::uint32_t fit =
            batch_bytes / (slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader)));
        peer.burst_left = static_cast<std::uint16_t>(
            std::max<std::uint32_t>(std::min<std::uint32_t>(caps.burst_packets, fit), 1) - 1);
    }
    return peer.burst_path;
}

/// A descriptor for one more transmission to `peer`, linked into the chain of this burst.
std::uint32_t Engine::Impl::alloc_desc(const Peer& peer, TxPacket& packet)
{
    const std::uint32_t desc = descs.alloc();
    if (desc == no_index) {
        return no_index;
    }
    descs[desc].next = sent_descs;
    sent_descs = desc;
    packet.route = peer.route;
    packet.cookie = desc;
    packet.length = 0;
    packet.iov_count = 0;
    packet.stable_from = max_tx_iov;
    return desc;
}

void Engine::Impl::on_tx_done() noexcept
{
    while (sent_descs != no_index) {
        const std::uint32_t desc = sent_descs;
        sent_descs = descs[desc].next;
        descs.release(desc);
    }
}

void Engine::Impl::finish_packet_out(TxPacket& packet)
{
    for (std::size_t i = 0; i < packet.iov_count; ++i) {
        packet.length += static_cast<std::uint32_t>(packet.iov[i].iov_len);
    }
    SRD_DCHECK(packet.length <= caps.max_packet);
    count.tx_packets.add();
    count.tx_bytes.add(packet.length);
}

void Engine::Impl::gather(const TxMessage& message, std::uint64_t offset, std::uint32_t length,
                          TxPacket& packet) const
{
    const std::size_t pieces = slice({message.iov.data(), message.iov_count}, offset, length,
                                     std::span(packet.iov).subspan(packet.iov_count));
    packet.iov_count = static_cast<std::uint8_t>(packet.iov_count + pieces);
}

std::byte* Engine::Impl::write_bulk_frame(const TxSlot& slot, std::byte* out) const
{
    const TxMessage& message = tx_messages[slot.message];
    if (message.revoked) {
        return put(out, denied_frame(message));
    }
    if (message.kind == OperationKind::write) {
        return write_write_frame(slot, out);
    }
    if (message.requested) {
        wire::DataFrame frame;
        frame.flags = message.response ? wire::data_flag::answers_read : std::uint8_t{0};
        frame.length = static_cast<std::uint16_t>(slot.length);
        frame.sequence = message.sequence;
        frame.receiver_handle = message.remote_handle;
        frame.offset = message.base + slot.offset;
        return put(out, frame);
    }
    EagerFrame frame;
    frame.flags = message.flags;
    frame.tag = message.tag;
    frame.data = message.data;
    frame.offset = slot.offset;
    frame.length = slot.length;
    frame.total = message.total;
    frame.sequence = message.sequence;
    frame.handle = message.level == CompletionLevel::delivery ? slot.message : no_index;
    return write_eager_frame(out, frame);
}

bool Engine::Impl::emit_slot(std::uint32_t index, std::uint32_t slot_index, TxPacket& packet, Time now)
{
    Peer& peer = peers[index];
    TxSlot& slot = slots[slot_index];
    const std::uint32_t desc = alloc_desc(peer, packet);
    if (desc == no_index) {
        return false;
    }
    descs[desc].slot = slot_index;
    const bool again = slot.state == TxSlot::State::lost;
    slot.path = choose_path(peer, slot, now);
    if (again && slot.attempt < 255) {
        ++slot.attempt;
    }
    packet.path = slot.path;

    const bool generated = slot.bulk && slot.chunk == no_index;
    // Ask for an acknowledgement at once where waiting would stall: a full window, a repair, and every
    // packet that ends a message whose completion the application waits for. The receiver may make no
    // further progress after the pass that delivers it (FI_PROGRESS_MANUAL), so a delayed
    // acknowledgement might never be sent.
    peer.since_request += slot.length;
    const std::uint32_t window = window_bytes(peer);
    bool request =
        again || (!slot.bulk && slot.message != no_index) ||
        peer.since_request >= std::max(window / 8, request_packets * peer.mtu) ||
        (peer.in_flight_bytes + slot.length + 2 * peer.mtu > window && peer.since_request >= window / 4);
    bool train = false;
    if (generated) {
        const TxMessage& message = tx_messages[slot.message];
        request = request || slot.offset + slot.length == message.total;
        train = slot.length != message.total; // packets of one batch must be of equal size
    }
    if (request) {
        peer.since_request = 0;
    }

    wire::PacketHeader header;
    header.flags = static_cast<std::uint8_t>(wire::packet_flag::sequenced |
                                             (request ? wire::packet_flag::ack_requested : 0));
    header.path = static_cast<std::uint8_t>(index_of(slot.path));
    header.attempt = slot.attempt;
    header.psn = slot.psn;
    header.connection = peer.tx_connection;
    std::byte* const start = descs[desc].bytes.data();
    std::byte* out = start + sizeof(header);
    const std::size_t frame_room =
        generated ? sizeof(wire::WriteFrame) + sizeof(wire::WriteTotal) + sizeof(wire::MessageData) : 0;
    const std::size_t fixed = sizeof(header) + slot.length + frame_room;
    if (ack_pending(peer) && !train && fixed + sizeof(wire::AckBlock) <= peer.mtu) {
        header.flags |= wire::packet_flag::has_ack;
        out = write_ack(peer, out, peer.mtu - fixed, now);
    }
    put(start, header);
    if (generated) {
        out = write_bulk_frame(slot, out);
    }
    // A few bytes are sooner copied than gathered by the kernel.
    const bool inlined = !generated && slot.length <= inline_frames;
    if (inlined) {
        std::memcpy(out, chunks.data(slot.chunk), slot.length);
        out += slot.length;
    }
    packet.iov[packet.iov_count++] = {start, static_cast<std::size_t>(out - start)};
    if (generated && !tx_messages[slot.message].revoked) {
        // Where the receiver knows the place of every byte, it may fetch them itself.
        const TxMessage& message = tx_messages[slot.message];
        packet.stable_from =
            message.requested || message.kind == OperationKind::write ? packet.iov_count : packet.stable_from;
        gather(tx_messages[slot.message], slot.offset, slot.length, packet);
    } else if (!generated && !inlined) {
        packet.iov[packet.iov_count++] = {chunks.data(slot.chunk), slot.length};
    }
    finish_packet_out(packet);
    note_sent(peer, slot_index, now);
    return true;
}

Counter& Engine::Impl::repair_counter(TxSlot::Repair repair) const noexcept
{
    switch (repair) {
    case TxSlot::Repair::probe:
        return count.retransmits_probe;
    case TxSlot::Repair::timeout:
        return count.retransmits_timeout;
    case TxSlot::Repair::refused:
        return count.retransmits_refused;
    case TxSlot::Repair::rack:
    case TxSlot::Repair::none: // a lost packet always has a reason
        break;
    }
    return count.retransmits_rack;
}

/// Books the slot as in flight from now on.
void Engine::Impl::note_sent(Peer& peer, std::uint32_t slot_index, Time now)
{
    TxSlot& slot = slots[slot_index];
    const std::uint32_t bytes = slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
    const bool again = slot.state == TxSlot::State::lost;
    (again ? peer.lost : peer.ready).erase(slots, slot_index);
    if (!again && peer.in_flight.empty() && peer.lost.empty()) { // a repetition is no new wait
        peer.waiting_since = now;
        peer.liveness_at = std::min(peer.liveness_at, now + std::chrono::milliseconds(500));
    }
    if (again) {
        repair_counter(slot.repair).add();
    }
    slot.state = TxSlot::State::in_flight;
    slot.sent_at = now;
    peer.in_flight.push_back(slots, slot_index);
    peer.in_flight_bytes += bytes;
    if (peer.probe_at == time_never) {
        peer.probe_at = now + probe_delay(peer);
    }
    const Duration gap =
        std::visit([&](const auto& policy) { return policy.pacing_gap(bytes); }, peer.congestion);
    if (gap != Duration{}) {
        peer.pace_at = std::max(peer.pace_at, now) + gap;
    }
}

std::byte* Engine::Impl::write_ack(Peer& peer, std::byte* out, std::size_t room, Time now)
{
    std::array<std::uint64_t, wire::max_ack_words> words;
    const std::size_t max_words =
        std::min((room - sizeof(wire::AckBlock)) / sizeof(std::uint64_t), words.size());
    const unsigned used = peer.rx.export_words(std::span(words).first(max_words));
    wire::AckBlock block;
    block.cumulative = peer.rx.cumulative();
    block.message_next = peer.rx_message_next;
    block.duplicates = peer.duplicates;
    block.faults = peer.faults_made;
    block.words = static_cast<std::uint8_t>(used);
    if (peer.echo_valid) {
        const Duration hold = std::clamp<Duration>(now - peer.echo_arrived, Duration{}, Duration(0xffffffff));
        block.flags |= wire::ack_flag::echo;
        block.flags |= peer.echo_marked ? wire::ack_flag::marked : std::uint8_t{0};
        block.echo_psn = peer.echo_psn;
        block.echo_attempt = peer.echo_attempt;
        block.echo_path = peer.echo_path;
        block.hold_ns = static_cast<std::uint32_t>(hold.count());
    }
    if (peer.rnr_owed) {
        block.flags |= wire::ack_flag::receiver_not_ready;
    }
    out = put(out, block);
    std::memcpy(out, words.data(), used * sizeof(std::uint64_t));
    peer.ack_now = false;
    peer.ack_packets = 0;
    peer.ack_bytes = 0;
    peer.ack_at = time_never;
    return out + used * sizeof(std::uint64_t);
}

/// A packet outside the sequence. False: no descriptor is free; try again later.
bool Engine::Impl::emit_bare(std::uint32_t index, Bare kind, TxPacket& packet, Time now)
{
    Peer& peer = peers[index];
    const std::uint32_t desc = alloc_desc(peer, packet);
    if (desc == no_index) {
        return false;
    }
    packet.path = kind == Bare::hello || peer.asked
                      ? any_path(peer)
                      : std::visit([&](auto& paths) { return paths.next(now); }, peer.paths);
    wire::PacketHeader header;
    header.flags = kind == Bare::hello ? std::uint8_t{0} : wire::packet_flag::has_ack;
    header.path = static_cast<std::uint8_t>(index_of(packet.path));
    header.connection = peer.tx_connection; // 0 in a hello until we know it
    std::byte* const start = descs[desc].bytes.data();
    std::byte* out = put(start, header);
    if (kind == Bare::hello) {
        out = write_hello(peer, out);
        peer.hello_due = false;
        if (peer.gone_news == Peer::GoneNews::heard) {
            peer.gone_news = Peer::GoneNews::doubted;
        }
    } else {
        out = write_ack(peer, out, peer.mtu - sizeof(header) - sizeof(wire::CloseFrame), now);
    }
    if (kind == Bare::close) {
        out = put(out, wire::CloseFrame{});
        peer.closing = false;
    }
    if (kind == Bare::ack) {
        peer.asked = false;
        count.tx_acks.add();
    }
    packet.iov[packet.iov_count++] = {start, static_cast<std::size_t>(out - start)};
    finish_packet_out(packet);
    return true;
}

std::byte* Engine::Impl::write_hello(const Peer& peer, std::byte* out) const
{
    wire::HelloFrame frame;
    frame.flags = peer.hello_is_reply ? 0 : wire::hello_flag::answer_wanted;
    frame.address_length = local_address_length;
    frame.address = local_address;
    frame.first_psn = peer.tx_una; // nothing earlier is ever sent on this connection
    frame.incarnation = incarnation;
    frame.connection = peer.rx_connection;
    frame.max_packet = caps.max_packet;
    frame.rx_buffer = caps.rx_buffer;
    return put(out, frame);
}

/// Books back, in reverse order, what the backend did not take.
void Engine::Impl::return_unsent(std::span<const TxPacket> packets, Time now)
{
    now_ = now;
    for (std::size_t i = packets.size(); i-- != 0;) {
        const TxPacket& packet = packets[i];
        const std::uint32_t slot_index = descs[packet.cookie].slot;
        count.tx_unsent.add();
        count.tx_packets.undo();
        count.tx_bytes.undo(packet.length);
        const std::uint32_t index = peer_of_route(packet.route);
        if (slot_index != no_index) {
            TxSlot& slot = slots[slot_index];
            Peer& peer = peers[slot.peer];
            SRD_DCHECK(slot.state == TxSlot::State::in_flight);
            if (peer.near) { // a ring in memory is full, and may be the next time: one packet, in a moment
                peer.turn_limit = 1;
                peer.retry_at = now + near_retry;
            }
            peer.in_flight.erase(slots, slot_index);
            peer.in_flight_bytes -= slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
            if (slot.attempt == 0) {
                slot.state = TxSlot::State::ready;
                peer.ready.push_front(slots, slot_index);
            } else {
                --slot.attempt;
                repair_counter(slot.repair).undo();
                slot.state = TxSlot::State::lost;
                peer.lost.push_front(slots, slot_index);
            }
            activate(slot.peer);
        } else if (index != no_index) {
            Peer& peer = peers[index];
            if (peer.state == Peer::State::established) {
                peer.ack_now = true;
            }
            // A hello that was not sent is repeated by its timer.
            activate(index);
        }
    }
}

} // namespace srd
