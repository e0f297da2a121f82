// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/path_search.hpp"

namespace srd {

FrameResult PathSearch::on_probe(const wire::MtuProbeFrame& frame, Time now)
{
    const std::uint32_t index = s_.reader.packet().peer;
    if (index == no_index) {
        return FrameResult::malformed;
    }
    Peer& peer = s_.peers[index];
    PathMtu& mtu = peer.route.path_mtu();
    if (frame.size > max_udp_payload) {
        return FrameResult::malformed;
    }
    PathMtu::Probe probe{frame.number, static_cast<std::uint16_t>(std::uint32_t{frame.size})};
    if ((frame.flags & wire::question_flag::answer) == 0) {
        mtu.owe(probe);
    } else if (probe.size = static_cast<std::uint16_t>(probe.size + s_.caps.overhead);
               mtu.on_answer(probe, now)) {
        take_note(index);
        s_.peers.arm(index);
    }
    if (peer.has_work()) {
        s_.peers.activate(index);
    }
    return FrameResult::stop;
}

void PathSearch::on_timeout(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    PathMtu& mtu = peer.route.path_mtu();
    if (mtu.next_timeout() > now) {
        return;
    }
    const std::uint32_t before = peer.route.mtu();
    if (mtu.on_timeout(peer.liveness.heard_at(), peer.is_waiting(), now) == PathMtu::Outcome::fallen) {
        // All that is under way has had its time: it was this that made us doubt the path.
        s_.count.mtu_falls.add();
        peer.on_mtu(before);
        s_.trace_event(TraceKind::mtu_fell, peer, peer.route.mtu());
        peer.connection.window.resend_all(s_.packets, TxSlot::Repair::mtu);
        peer.connection.recovery.on_resend_all();
    }
    take_note(index);
    if (peer.has_work()) {
        s_.peers.activate(index);
    }
}

void PathSearch::take_note(std::uint32_t index) noexcept
{
    if (s_.peers[index].route.path_mtu().take_finding() && finding_count_ < findings_.size()) {
        findings_[finding_count_++] = index;
    }
}

bool PathSearch::poll_event(Event& event) noexcept
{
    while (finding_count_ != 0) {
        const std::uint32_t index = findings_[--finding_count_];
        if (s_.peers.live(index) && s_.peers[index].handshake.established()) {
            event = Event{};
            event.kind = Event::Kind::mtu_found;
            event.peer = PeerId{index};
            event.length = s_.peers[index].route.mtu();
            event.cookie = s_.peers[index].route.path_mtu().ceiling() - s_.caps.overhead;
            return true;
        }
    }
    return false;
}

} // namespace srd
