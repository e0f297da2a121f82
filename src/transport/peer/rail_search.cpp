// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/rail_search.hpp"

namespace srd {

FrameResult RailSearch::on_rails(const wire::RailsWord& word, Event& event, Time now)
{
    const std::uint32_t index = s_.reader.packet().peer;
    if (index == no_index) {
        return FrameResult::malformed;
    }
    Peer& peer = s_.peers[index];
    if (!peer.handshake.knows_remote()) {
        s_.count.rx_stale.add(); // overtook the handshake's answer; comes again
        return FrameResult::stop;
    }
    if ((peer.handshake.features() & feature::rails) == 0) {
        return FrameResult::malformed;
    }
    const std::uint64_t connection = peer.handshake.rx_connection();
    if (!word.answers()) {
        s_.owed_rails.add({connection, word.frame.nonce, word.frame.way});
        peer.rails.set_owes(true);
        peer.rails.on_traffic(now);
        s_.peers.activate(index);
    } else if (word.frame.nonce == s_.names.rail_nonce(connection, word.frame.way) &&
               peer.rails.on_answer(word.frame.way)) {
        s_.count.rails_proven.add();
        s_.way_times[index].revive(word.frame.way);
        peer.connection.paths.set_open(peer.rails.ways(), peer.rails.open());
    }
    s_.peers.arm(index);
    if (peer.rails.is_told() || !peer.handshake.established()) {
        return FrameResult::stop;
    }
    s_.reader.close();
    event = Event{};
    event.kind = Event::Kind::rails;
    event.peer = PeerId{index};
    event.payload = word.addresses;
    return FrameResult::event;
}

void RailSearch::told(std::uint32_t index, std::uint8_t count, std::uint16_t askable, Time now)
{
    Peer& peer = s_.peers[index];
    peer.rails.told(s_.caps.rail_count, count, askable, now);
    s_.way_times[index] = WayTimes{};
    peer.connection.paths.set_open(peer.rails.ways(), peer.rails.open());
    peer.connection.congestion.set_packet_size(peer.route.mtu(), peer.rails.lanes());
    s_.peers.arm(index);
}

void RailSearch::on_timeout(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    if (peer.rails.next_timeout() > now) {
        return;
    }
    peer.rails.on_timeout(peer.is_waiting(), now);
    if (peer.rails.any_due()) {
        s_.peers.activate(index);
    }
}

} // namespace srd
