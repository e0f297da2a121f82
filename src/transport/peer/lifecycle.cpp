// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/lifecycle.hpp"

#include <algorithm>

namespace srd {

// -- Connections ------------------------------------------------------------------------

std::uint32_t PeerLifecycle::open(const RouteInfo& route, Search search, Time now)
{
    const std::uint32_t known = s_.peers.of_route(route.id);
    if (known != no_index) {
        return known;
    }
    const std::uint32_t index = make_record(route, search, now);
    if (index != no_index) {
        begin_connection(index, now);
    }
    return index;
}

/// For a route that has none; no_index if there are too many.
std::uint32_t PeerLifecycle::make_record(const RouteInfo& route, Search search, Time now)
{
    if (s_.peers.full()) {
        make_room(search, now);
    }
    const std::uint32_t index = s_.peers.alloc();
    if (index != no_index) {
        s_.peers[index].route = Route(route, s_.names.address_hash(route.address), s_.caps);
        s_.peers.set_route(index);
    }
    return index;
}

/// A peer that introduced itself, has gone, and left nothing behind.
bool PeerLifecycle::is_departed(const Peer& peer) const noexcept
{
    return peer.handshake.state() == Handshake::State::idle && peer.farewells_due == 0;
}

/// A server meets far more clients in its life than it serves at one time, and not all say goodbye. Goes on
/// where the last call has ended. Silent peers are asked a batch at a time, however many want their records.
void PeerLifecycle::make_room(Search search, Time now)
{
    constexpr std::uint32_t few = 64;
    if (s_.outgoing.any_done() || s_.incoming.any_done()) {
        return; // an event still to be reported may name one of them
    }
    const bool may_ask = now >= next_demand_;
    std::uint32_t asked = 0;
    const std::uint32_t all = s_.peers.watermark();
    for (std::uint32_t look = search == Search::whole ? all : std::min(few, all); look != 0; --look) {
        next_victim_ = next_victim_ + 1 < s_.peers.watermark() ? next_victim_ + 1 : 0;
        const std::uint32_t index = next_victim_;
        if (!s_.peers.live(index)) {
            continue;
        }
        Peer& peer = s_.peers[index];
        if (peer.pinned || !peer.drained() || !peer.incoming.empty()) {
            continue;
        }
        if (is_departed(peer)) {
            s_.count.peer_evictions.add();
            drop(index, Cause::closed);
            release(index);
            return;
        }
        if (may_ask && asked < few && peer.handshake.established() && peer.liveness.is_silent(now)) {
            peer.liveness.demand_proof(now);
            s_.peers.arm(index);
            next_demand_ = now + Liveness::interval;
            ++asked;
        }
    }
}

/// Fresh identifiers and sequence numbers; nothing outstanding.
void PeerLifecycle::begin_connection(std::uint32_t index, std::uint32_t count, Time now)
{
    Peer& peer = s_.peers[index];
    peer.route.forget_peer();
    s_.peers.routes().begin(peer.route.id(), count);
    const ConnectionNames::Name name = s_.names.name(peer.route.address_hash(), count);
    peer.handshake = Handshake(name.connection);
    peer.rails = Rails();
    peer.liveness = Liveness(now);
    peer.turn = SendTurn{};
    peer.farewells_due = 0;
    Connection fresh(s_.tuning.first);
    fresh.window = PacketWindow(name.first_psn);
    fresh.congestion = CongestionWindow(s_.tuning, s_.caps.host_delay, peer.route.largest_packet());
    fresh.paths = PathChoice(s_.tuning.paths, peer.route.paths(), s_.random.next());
    peer.connection = fresh;
    s_.peers.connect(peer.handshake.rx_connection(), index);
    if (s_.seals != nullptr) {
        s_.seals->prepare(index);
    }
}

/// Ends the connection: everything outstanding to and from the peer is finished with `cause`; complete
/// unexpected messages stay.
void PeerLifecycle::drop(std::uint32_t index, Cause cause)
{
    SRD_DCHECK(cause != Cause::none);
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    s_.peers.disconnect(peer.handshake.rx_connection());
    s_.reader.forget(index);
    if (s_.seals != nullptr) {
        s_.seals->end(index);
    }

    Unsent unsent;
    s_.outgoing.count_unsent(connection.queue, unsent);
    // Operations first, marked with the cause; their packets then let them go.
    s_.outgoing.abandon_mark(connection.queue, cause);
    s_.revocation_due =
        s_.revocation_due || connection.window.any_outstanding() || connection.queue.any_operation();
    connection.window.abandon(s_.packets, [&](std::uint32_t slot) {
        s_.outgoing.count_unsent(s_.packets[slot], s_.packets.frames(slot), unsent);
        s_.outgoing.packet_abandoned(connection.queue, s_.packets[slot]);
        s_.packets.release(slot);
    });
    s_.outgoing.abandon_finish(connection.queue);
    placement_.abandon(index, cause);
    s_.outgoing.report_end(index, cause, unsent);
}

void PeerLifecycle::fail(std::uint32_t peer, Cause cause, Time now)
{
    s_.count.peer_failures.add();
    s_.trace_event(TraceKind::failed, s_.peers[peer], static_cast<std::uint32_t>(cause));
    reset(peer, cause, now);
}

void PeerLifecycle::reset(std::uint32_t peer, Cause cause, Time now)
{
    drop(peer, cause);
    begin_connection(peer, now);
    placement_.issue_grants();
}

/// Gives the record back; the connection must have been dropped.
void PeerLifecycle::release(std::uint32_t peer)
{
    SRD_DCHECK(s_.peers[peer].incoming.empty());
    s_.peers.release(peer);
}

RouteId PeerLifecycle::take_released_route() noexcept
{
    const RouteId unused = std::exchange(unused_route_, no_id<RouteId>);
    const RouteTable& routes = s_.peers.routes();
    return unused != no_id<RouteId> && routes.is_fresh(unused) ? unused : s_.peers.routes().forget_oldest();
}

void PeerLifecycle::close(Time now)
{
    s_.closing = true;
    for (std::uint32_t index = 0; index < s_.peers.watermark(); ++index) {
        if (!s_.peers.live(index)) {
            continue;
        }
        Peer& peer = s_.peers[index];
        const bool tell = peer.handshake.established();
        std::unique_ptr<SealedSession> session = s_.seals != nullptr ? s_.seals->end(index) : nullptr;
        drop(index, Cause::removed);
        const Handshake ended = peer.handshake;
        const Receiver last_word = peer.connection.receiver.last_word();
        begin_connection(index, now);
        if (tell) {
            peer.handshake.address_farewell(ended);
            if (s_.seals != nullptr) {
                s_.seals->resume(index, std::move(session));
            }
            peer.connection.receiver = last_word;
            peer.farewells_due = peer.route.same_host() ? 1 : farewells;
            s_.peers.activate(index);
        }
    }
}

// -- What is heard of peers -----------------------------------------------------------------

/// The peer's endpoint goes away. Its last acknowledgement came in the same packet.
FrameResult PeerLifecycle::on_close(Time now)
{
    const std::uint32_t index = s_.reader.packet().peer;
    if (index == no_index) {
        return FrameResult::malformed;
    }
    if (s_.peers[index].awaits_answer()) {
        fail(index, Cause::closed, now);
    } else {
        reset(index, Cause::closed, now);
    }
    return FrameResult::stop;
}

void PeerLifecycle::on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now)
{
    const std::uint32_t index = s_.peers.of_route(notice.route);
    if (index == no_index) {
        return;
    }
    Peer& peer = s_.peers[index];
    switch (notice.kind) {
    case RouteNotice::Kind::mtu_changed: {
        const std::uint32_t before = peer.route.mtu();
        if (peer.route.set_mtu(mtu, now) && peer.handshake.established()) {
            peer.handshake.ask(); // tells the peer, which may send more, too
        }
        peer.on_mtu(before);
        if (peer.has_work()) {
            s_.peers.activate(index);
        }
        break;
    }
    case RouteNotice::Kind::port_unreachable:
        peer.liveness.on_port_unreachable(now);
        break;
    case RouteNotice::Kind::host_unreachable:
        peer.liveness.on_host_unreachable(now);
        break;
    case RouteNotice::Kind::process_gone:
    case RouteNotice::Kind::process_alive:
    case RouteNotice::Kind::process_reads:
    case RouteNotice::Kind::process_busy:
    case RouteNotice::Kind::unreachable:
        if (peer.liveness.on_answer(notice.kind, notice.since, now) && peer.awaits_answer()) {
            fail(index, Cause::unreachable, now);
        }
        break;
    case RouteNotice::Kind::same_host:
    case RouteNotice::Kind::network:
        peer.route.set_same_host(notice.kind == RouteNotice::Kind::same_host);
        return;
    }
    s_.peers.arm(index);
}

// -- Timers ---------------------------------------------------------------------------------

bool PeerLifecycle::on_timeout(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    if (peer.liveness.take_gone(now)) {
        // The process is gone, and what it may have said before has had its time.
        if (peer.awaits_answer()) {
            fail(index, Cause::refused, now);
        } else if (peer.handshake.established()) {
            reset(index, Cause::refused, now);
        }
        return false;
    }
    return true;
}

} // namespace srd
