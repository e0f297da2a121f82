// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets out that ask and answer: how large a packet the path carries (PathMtu), and which of several
// addresses reach which (Rails); and fragments of what was made before the MTU fell.
#include "send/transmitter.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <srd/iov.hpp>

namespace srd {

// -- Probes ---------------------------------------------------------------------------------

std::size_t Transmitter::emit_probes(std::uint32_t index, std::span<TxPacket> packets, Time now)
{
    Peer& peer = s_.peers[index];
    PathMtu& mtu = peer.route.path_mtu();
    std::size_t built = 0;
    if (packets.empty()) {
        return 0;
    }
    if (const PathMtu::Probe owed = mtu.take_owed(); owed.size != 0) {
        built += emit_probe(index, owed, true, packets[built], now) ? 1U : 0U; // else the probe comes again
    }
    if (mtu.due() && built < packets.size()) {
        const Duration rto =
            peer.connection.recovery.rtt().rto(s_.tuning.rto_min, std::chrono::seconds(1), 0);
        PathMtu::Probe probe = mtu.take(rto, now); // of what goes out of the host
        probe.size = static_cast<std::uint16_t>(probe.size - s_.caps.overhead);
        if (emit_probe(index, probe, false, packets[built], now)) {
            s_.count.mtu_probes.add();
            ++built;
        } else {
            mtu.unsent();
        }
    }
    return built;
}

bool Transmitter::emit_probe(std::uint32_t index, PathMtu::Probe probe, bool answer, TxPacket& packet,
                             Time now)
{
    Peer& peer = s_.peers[index];
    std::byte* const start = begin(peer.route.id(), packet);
    if (start == nullptr) {
        return false;
    }
    // An interface that is down is no small MTU.
    packet.path = peer.rails.several() ? peer.connection.paths.next_among(~std::uint64_t{0}, now)
                                       : peer.connection.paths.any(s_.random.next());
    packet.way = peer.rails.way_of(packet.path);
    wire::PacketHeader header;
    header.version = peer.handshake.version();
    header.path = static_cast<std::uint8_t>(index_of(packet.path));
    header.connection = peer.handshake.tx_connection();
    seal(index, header, packet);
    wire::MtuProbeFrame frame;
    frame.flags = answer ? wire::question_flag::answer : std::uint8_t{0};
    frame.number = probe.number;
    frame.size = probe.size;
    const auto length = static_cast<std::size_t>(wire::put(wire::put(start, header), frame) - start);
    packet.iov[packet.iov_count++] = {start, length};
    if (!answer) {
        packet.probe = true;
        packet.alone = true; // of a batch, the system may let through what it would not otherwise
        packet.iov[packet.iov_count++] = {&padding_[0], probe.size - length};
    }
    finish(packet);
    return true;
}

// -- Questions about ways -------------------------------------------------------------------

std::size_t Transmitter::emit_rails(std::uint32_t index, std::span<TxPacket> packets, Time now)
{
    Peer& peer = s_.peers[index];
    const std::uint64_t connection = peer.handshake.rx_connection();
    std::size_t built = 0;
    while (peer.rails.owes() && built < packets.size()) {
        const auto question = s_.owed_rails.take(connection);
        if (!question) {
            peer.rails.set_owes(false);
            break;
        }
        wire::RailsFrame frame;
        frame.flags = wire::question_flag::answer;
        frame.way = question->way;
        frame.nonce = question->nonce;
        const PathId path = peer.connection.paths.any(s_.random.next());
        built += emit_rails_frame(index, frame, path, packets[built]) ? 1U : 0U; // else it is asked again
    }
    if (built == packets.size()) {
        return built;
    }
    if (const auto way = peer.rails.take(now)) {
        wire::RailsFrame frame;
        frame.way = *way;
        frame.nonce = s_.names.rail_nonce(connection, *way);
        if (emit_rails_frame(index, frame, peer.rails.path_to(*way, peer.route.paths(), s_.random.next()),
                             packets[built])) {
            s_.count.rail_questions.add();
            ++built;
        }
    }
    return built;
}

/// False: no header memory is free; what is lost of this comes again.
bool Transmitter::emit_rails_frame(std::uint32_t index, wire::RailsFrame& frame, PathId path,
                                   TxPacket& packet)
{
    const Peer& peer = s_.peers[index];
    std::byte* const start = begin(peer.route.id(), packet);
    if (start == nullptr) {
        return false;
    }
    packet.path = path;
    packet.way = peer.rails.way_of(path);
    packet.alone = true;
    wire::PacketHeader header;
    header.version = peer.handshake.version();
    header.path = static_cast<std::uint8_t>(index_of(path));
    header.connection = peer.handshake.tx_connection();
    seal(index, header, packet);
    frame.count = static_cast<std::uint8_t>(s_.caps.rail_count - 1);
    std::byte* const end = wire::put(wire::put(start, header), frame);
    std::memcpy(end, s_.caps.rails.data(), s_.caps.rails.size());
    packet.iov[packet.iov_count++] = {start, static_cast<std::size_t>(end - start) + s_.caps.rails.size()};
    finish(packet);
    return true;
}

// -- Fragments ------------------------------------------------------------------------------

bool Transmitter::is_too_long(const Peer& peer, const TxSlot& slot) const noexcept
{
    return framing_.packet_size(slot) > peer.route.mtu();
}

/// The packet whose fragments the receiver puts together, unless it is acknowledged; no_index: none.
std::uint32_t Transmitter::packet_under_way(const Peer& peer) const noexcept
{
    const Fragmentation& fragmentation = peer.connection.fragmentation;
    const PacketWindow& window = peer.connection.window;
    const std::uint32_t psn = fragmentation.psn();
    if (!fragmentation.under_way() || psn - window.una() >= window.next() - window.una()) {
        return no_index;
    }
    return window.find_sent(s_.packets, psn);
}

/// Nothing more goes to the peer before it has acknowledged the packet under way, or that is lost.
bool Transmitter::waits_for_fragments(const Peer& peer) const noexcept
{
    const std::uint32_t under_way = packet_under_way(peer);
    return under_way != no_index && s_.packets[under_way].state() == TxSlot::State::in_flight &&
           !peer.connection.fragmentation.more();
}

/// What goes instead of `next`, when some may be longer than the MTU.
std::uint32_t Transmitter::next_fitting(std::uint32_t index, std::uint32_t next, Time now)
{
    Peer& peer = s_.peers[index];
    Fragmentation& fragmentation = peer.connection.fragmentation;
    fragmentation.on_progress(peer.connection.window.una());
    const std::uint32_t under_way = packet_under_way(peer);
    if (under_way == no_index || !is_too_long(peer, s_.packets[under_way])) {
        return next;
    }
    const TxSlot& slot = s_.packets[under_way];
    if (!peer.connection.refusal.blocked()) {
        if (slot.state() == TxSlot::State::lost) {
            return may_send(peer, &slot, now) ? under_way : no_index; // what has arrived of it is kept there
        }
        if (fragmentation.more()) {
            return under_way;
        }
    }
    return next != no_index && is_too_long(peer, s_.packets[next]) ? no_index : next;
}

/// Makes `packet`, which is too long, the next fragment of itself. `goes_on`: it is not the first.
void Transmitter::cut_fragment(Peer& peer, const TxSlot& slot, bool goes_on, TxPacket& packet) noexcept
{
    Fragmentation& fragmentation = peer.connection.fragmentation;
    if (!goes_on) {
        fragmentation.begin(slot.psn());
    }
    const std::array<iovec, max_tx_iov> pieces = packet.iov;
    const std::span<const iovec> whole = std::span(pieces).first(packet.iov_count);
    const std::uint64_t total = total_length(whole) - sizeof(wire::PacketHeader);
    const std::uint32_t offset =
        fragmentation.offset() < total ? fragmentation.offset() : 0; // it may have shrunk

    constexpr std::size_t own = sizeof(wire::PacketHeader) + sizeof(wire::FragmentHeader);
    const std::uint64_t room = (peer.route.mtu() - own) / wire::fragment_unit * wire::fragment_unit;
    const std::uint64_t length = std::min(room, total - offset);
    const auto start = static_cast<std::byte*>(whole[0].iov_base);
    wire::PacketHeader header;
    std::memcpy(&header, start, sizeof(header));
    header.flags |= wire::packet_flag::fragment | wire::packet_flag::ack_requested;
    wire::FragmentHeader place;
    place.offset = offset;
    place.total = static_cast<std::uint32_t>(total);
    std::byte* const front = start + sizeof(Header) - own; // nothing of such a packet lies at the end
    wire::put(wire::put(front, header), place);
    packet.iov[0] = {front, own};
    packet.iov_count = static_cast<std::uint8_t>(
        1 + slice(whole, sizeof(header) + offset, length, std::span(packet.iov).subspan(1)));
    packet.stable_from = max_tx_iov;
    if (offset + length == total) {
        fragmentation.sent_all();
    } else {
        fragmentation.sent_until(static_cast<std::uint32_t>(offset + length));
    }
    s_.count.tx_fragments.add();
}

/// False: it is none.
bool Transmitter::take_back_fragment(Peer& peer, const TxPacket& packet) noexcept
{
    if (!peer.connection.fragmentation.under_way()) {
        return false;
    }
    wire::Reader reader({static_cast<const std::byte*>(packet.iov[0].iov_base), packet.iov[0].iov_len});
    const auto header = reader.take<wire::PacketHeader>();
    if ((header->flags & wire::packet_flag::fragment) == 0) {
        return false;
    }
    peer.connection.fragmentation.sent_until(reader.take<wire::FragmentHeader>()->offset);
    s_.count.tx_fragments.undo();
    return true;
}

} // namespace srd
