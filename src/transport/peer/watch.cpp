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
