// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What does not go now: what the backend did not take, and what is not here yet from the memory of a device.
#include <cstring>

#include "send/transmitter.hpp"

namespace srd {

namespace {

/// How long a peer on this host is left alone that did not take a packet. Others must not wait for it
/// meanwhile.
constexpr Duration same_host_retry = std::chrono::microseconds(4);

bool bears_ack(const TxPacket& packet) noexcept
{
    wire::PacketHeader header;
    std::memcpy(&header, packet.iov[0].iov_base, sizeof(header));
    return (header.flags & wire::packet_flag::has_ack) != 0;
}

} // namespace

void Transmitter::return_unsent(std::span<const TxPacket> packets, Time now)
{
    backlogged_ = !packets.empty();
    for (std::size_t i = packets.size(); i-- != 0;) {
        const TxPacket& packet = packets[i];
        s_.count.tx_unsent.add();
        s_.count.tx_packets.undo();
        s_.count.paths[index_of(packet.path)].packets.undo();
        s_.count.tx_bytes.undo(packet.length);
        const bool of_slot = packet.cookie < bare_close; // there are far fewer slots
        const std::uint32_t index =
            of_slot ? s_.packets[packet.cookie].peer : s_.peers.of_route(packet.route);
        if (index == no_index) {
            continue;
        }
        s_.peers.activate(index);
        if (of_slot) {
            return_slot(s_.peers[index], packet, now);
        } else {
            return_bare(s_.peers[index], packet);
        }
    }
}

void Transmitter::return_slot(Peer& peer, const TxPacket& packet, Time now)
{
    const TxSlot& slot = s_.packets[packet.cookie];
    if (bears_ack(packet)) {
        peer.connection.receiver.request_ack();
    }
    if (take_back_fragment(peer, packet)) {
        return;
    }
    if (peer.route
            .same_host()) { // a ring in memory is full, and may be the next time: one packet, in a moment
        peer.turn.limit = 1;
        peer.turn.retry_at = now + same_host_retry;
    }
    if (slot.attempt() != 0) {
        repair_counter(slot.repair()).undo();
    }
    peer.connection.window.unsent(s_.packets, packet.cookie);
    if (!peer.connection.window.any_outstanding()) {
        peer.liveness.on_refused();
    }
}

void Transmitter::return_bare(Peer& peer, const TxPacket& packet) noexcept
{
    if (packet.cookie == bare_ack) {
        s_.count.tx_acks.undo();
        peer.connection.receiver.request_ack();
    } else if (packet.cookie == bare_close) {
        ++peer.farewells_due;
    } else if (packet.iov_count != 1) {
        s_.count.mtu_probes.undo();
        peer.route.path_mtu().unsent();
    } // else it is a hello, which its timer repeats
}

// -- Payload in the memory of a device --------------------------------------------------

/// Has the packet's payload in host memory for this burst. False: it does not go now.
bool Transmitter::stage(std::uint32_t index, const TxSlot& slot, Time now) noexcept
{
    TxMessage& message = s_.outgoing[slot.message];
    if (message.is_revoked()) {
        return true;
    }
    const DeviceStaging::Result result = s_.staging.prepare(message, slot.offset, slot.length);
    if (result != DeviceStaging::Result::failed) {
        return result == DeviceStaging::Result::ready;
    }
    if (ReadResponse* response = message.as<ReadResponse>()) {
        response->revoked = true; // a denied frame goes instead
        message.level = CompletionLevel::none;
        return true;
    }
    s_.device_failed_peer = index;
    s_.device_failed_at = now;
    return false;
}

/// The payload follows what the packet has. It is not announced to a peer on this host: it is gone with the
/// burst.
void Transmitter::add_staged(const TxSlot& slot, TxPacket& packet) const noexcept
{
    const std::size_t pieces = s_.staging.pieces(s_.outgoing[slot.message], slot.offset, slot.length,
                                                 std::span(packet.iov).subspan(packet.iov_count));
    packet.iov_count = static_cast<std::uint8_t>(packet.iov_count + pieces);
}

} // namespace srd
