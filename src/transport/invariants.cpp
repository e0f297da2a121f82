// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What must hold between any two calls. Run after every entry point in
// simulation; a violation is our own fault and aborts.
#include "engine_impl.hpp"

namespace srd {

void Engine::check_invariants() const
{
    impl_->check_invariants();
}

void Engine::Impl::check_invariants() const
{
    std::uint64_t granted = 0;
    std::uint32_t refusing = 0;
    std::uint32_t wanting = 0;
    for (std::uint32_t index = 0; index < peers.watermark(); ++index) {
        if (!peers.live(index)) {
            continue;
        }
        check_peer(index);
        const Peer& peer = peers[index];
        refusing += peer.rnr_owed ? 1U : 0U;
        for (std::uint32_t at = peer.rx_messages.front(); at != no_index;
             at = peer.rx_messages.next(rx_messages, at)) {
            const RxMessage& message = rx_messages[at];
            SRD_CHECK(message.peer == index);
            SRD_CHECK(message.received <= message.total);
            SRD_CHECK(message.asked <= message.limit);
            SRD_CHECK(message.state != RxMessage::State::answering || message.on_control ||
                      (cursor.awaiting && cursor.record == at));
            SRD_CHECK(!message.on_grant || (message.requested && message.limit < message.total));
            wanting += message.on_grant ? 1U : 0U;
            if (message.requested) {
                SRD_CHECK(message.limit <= message.total && message.received <= message.limit);
                granted += message.limit - message.received;
            }
        }
    }
    std::uint32_t serving = 0;
    for (std::uint32_t at = 0; at < tx_messages.watermark(); ++at) {
        if (tx_messages.live(at)) {
            const TxMessage& message = tx_messages[at];
            serving += message.response ? 1U : 0U;
            SRD_CHECK(message.framed <= message.total);
            SRD_CHECK(message.state != TxMessage::State::suspect || is_suspect(message));
            SRD_CHECK(message.state != TxMessage::State::suspect || peers[message.peer].has_suspects);
        }
    }
    SRD_CHECK(serving == responses);
    SRD_CHECK(granted == grants_outstanding);
    SRD_CHECK(refusing == refusing_peers);
    SRD_CHECK(wanting == wanting_count);
    SRD_CHECK(outstanding_slots == slots.in_use());
    SRD_CHECK(outstanding_messages == tx_messages.in_use());
    SRD_CHECK(payloads.used() <= payloads.budget());
}

void Engine::Impl::check_peer(std::uint32_t index) const
{
    const Peer& peer = peers[index];
    SRD_CHECK(connections.find(peer.rx_connection) == index);
    SRD_CHECK(peer.is_successor || peer_of_route(peer.route) == index);
    const std::uint32_t sent = peer.tx_next - peer.tx_una;
    SRD_CHECK(sent <= packet_window);
    SRD_CHECK((sent == 0) == (peer.window == no_index));
    SRD_CHECK(sent == 0 || windows[peer.window].at(peer.tx_una) != no_index);

    std::uint32_t bytes = 0;
    std::uint32_t listed = peer.open_slot != no_index ? 1 : 0;
    Time previous{};
    for (std::uint32_t at = peer.in_flight.front(); at != no_index; at = peer.in_flight.next(slots, at)) {
        const TxSlot& slot = slots[at];
        SRD_CHECK(slot.state == TxSlot::State::in_flight && slot.peer == index);
        SRD_CHECK(slot.sent_at >= previous);
        previous = slot.sent_at;
        bytes += slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
        ++listed;
    }
    SRD_CHECK(bytes == peer.in_flight_bytes);
    for (std::uint32_t at = peer.ready.front(); at != no_index; at = peer.ready.next(slots, at)) {
        SRD_CHECK(slots[at].state == TxSlot::State::ready);
        ++listed;
    }
    for (std::uint32_t at = peer.lost.front(); at != no_index; at = peer.lost.next(slots, at)) {
        SRD_CHECK(slots[at].state == TxSlot::State::lost);
        ++listed;
    }
    std::uint32_t held = 0;
    for (std::uint32_t i = 0; i < sent; ++i) {
        const std::uint32_t at = windows[peer.window].at(peer.tx_una + i);
        held += at != no_index ? 1U : 0U;
        SRD_CHECK(at == no_index || slots[at].psn == peer.tx_una + i);
    }
    SRD_CHECK(held == listed); // every unacknowledged packet is on exactly one list

    // Whatever waits has something that will move it: a turn, a timer or an acknowledgement.
    SRD_CHECK(peer.in_flight.empty() || peer.armed_at != time_never || peer.active || peer.rnr_blocked);
    std::uint32_t reordered = 0;
    for (std::uint32_t at = peer.rx_messages.front(); at != no_index;
         at = peer.rx_messages.next(rx_messages, at)) {
        reordered += rx_messages[at].state == RxMessage::State::reordered ? 1U : 0U;
    }
    SRD_CHECK(reordered == peer.reordered);
    SRD_CHECK(peer.reordered <= held_messages);
}

} // namespace srd
