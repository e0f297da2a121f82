// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets out because both ends have several addresses: which of them reach which (Rails).
#include <cstring>

#include "send/transmitter.hpp"

namespace srd {

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
        frame.flags = wire::rails_flag::answer;
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

} // namespace srd
