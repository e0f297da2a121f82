// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/watch.hpp"

#include <chrono>
#include <utility>

namespace srd {

void PeerWatch::check_silence(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    if (!peer.liveness.check_due(now)) {
        return;
    }
    const bool owed = peer.handshake.established() && peer.connection.queue.any_operation();
    if (owed || peer.is_waiting()) {
        tell_waiting(index, now);
    }
    switch (peer.liveness.check(peer.is_waiting(), owed, peer.route.id(), s_.questions, s_.tuning, s_.count,
                                now)) {
    case Liveness::Verdict::wait:
        break;
    case Liveness::Verdict::ask:
        peer.handshake.ask();
        s_.peers.activate(index);
        break;
    case Liveness::Verdict::dead:
        lifecycle_.fail(index, cause_of_silence(index, now), now);
        break;
    }
}

void PeerWatch::want_sign(RouteId route, Time now)
{
    const std::uint32_t index = s_.peers.of_route(route);
    if (index != no_index && s_.peers[index].handshake.established()) {
        s_.peers[index].liveness.want_sign(now);
        s_.peers.arm(index);
    }
}

Cause PeerWatch::cause_of_silence(std::uint32_t index, Time now) const noexcept
{
    const Peer& peer = s_.peers[index];
    if (peer.handshake.has_other_key()) {
        return Cause::key_mismatch;
    }
    if (peer.handshake.has_other_version()) {
        return Cause::version_mismatch;
    }
    return peer.handshake.refused() ? Cause::peer_full : peer.liveness.cause(now);
}

// -- Who is waited for ----------------------------------------------------------------------

/// A process that computes is silent, too, and no reason to speak.
void PeerWatch::tell_waiting(std::uint32_t index, Time now) noexcept
{
    const Peer& peer = s_.peers[index];
    const Duration silence = peer.liveness.silence(now);
    if (silence >= patience && now >= next_telling_ && peer.liveness.is_suspect(now)) {
        waiting_ = {index, silence, cause_of_silence(index, now)};
        next_telling_ = now + telling_interval_;
        telling_interval_ *= 2;
    }
}

namespace {

PeerView::Awaits what_is_awaited(const Peer& peer) noexcept
{
    using Awaits = PeerView::Awaits;
    if (peer.handshake.greeting()) {
        return Awaits::introduction;
    }
    if (peer.connection.refusal.blocked()) {
        return Awaits::room;
    }
    if (peer.is_waiting()) {
        return Awaits::acknowledgement;
    }
    return peer.connection.queue.any_operation() ? Awaits::answer : Awaits::nothing;
}

std::uint64_t microseconds_of(Duration time) noexcept
{
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

} // namespace

PeerView PeerWatch::view(std::uint32_t index, Time now) const noexcept
{
    const Peer& peer = s_.peers[index];
    const RttEstimator& rtt = peer.connection.recovery.rtt();
    PeerView view;
    view.state = static_cast<PeerView::State>(peer.handshake.state());
    view.awaits = what_is_awaited(peer);
    view.same_host = peer.route.same_host();
    view.heard = peer.liveness.heard();
    view.repeats_in_vain = static_cast<std::uint16_t>(peer.connection.recovery.repeats_in_vain());
    view.mtu = peer.route.mtu();
    view.window = peer.connection.congestion.bytes(peer.route.mtu());
    view.in_flight = peer.connection.window.bytes_in_flight();
    if (rtt.valid()) {
        view.rtt_us = static_cast<std::uint32_t>(microseconds_of(rtt.smoothed()));
        view.rtt_min_us = static_cast<std::uint32_t>(microseconds_of(rtt.min()));
    }
    if (view.heard != 0) {
        view.heard_ago_us = microseconds_of(now - peer.liveness.heard_at());
    }
    if (view.awaits != PeerView::Awaits::nothing) {
        view.waiting_us = microseconds_of(peer.liveness.silence(now));
        if (peer.liveness.silence(now) >= Liveness::interval) {
            view.suspicion = cause_of_silence(index, now);
            view.is_suspect = peer.liveness.is_suspect(now);
        }
    }
    view.paths = peer.connection.paths.view(peer.route.paths());
    return view;
}

bool PeerWatch::poll_waiting(Event& event) noexcept
{
    const Waiting waiting = std::exchange(waiting_, Waiting{});
    if (waiting.peer == no_index || !s_.peers.live(waiting.peer)) {
        return false;
    }
    event = Event{};
    event.kind = Event::Kind::waiting;
    event.peer = PeerId{waiting.peer};
    event.cause = waiting.cause;
    event.length = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(waiting.silence).count());
    return true;
}

} // namespace srd
