// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/lifecycle.hpp"

#include <algorithm>

namespace srd {

// -- Connections ------------------------------------------------------------------------

std::uint32_t PeerLifecycle::open(RouteId route, RouteMtu mtu, std::uint16_t paths, Search search, Time now)
{
    const std::uint32_t known = s_.peers.of_route(route);
    if (known != no_index) {
        return known;
    }
    if (s_.peers.full()) {
        make_room(search, now);
    }
    const std::uint32_t index = s_.peers.alloc();
    if (index == no_index) {
        return no_index;
    }
    s_.peers[index].route =
        Route(route, mtu, s_.caps.max_packet, std::clamp<std::uint16_t>(paths, 1, s_.caps.path_count));
    s_.peers.set_route(index);
    begin_connection(index, now);
    return index;
}

/// A peer that introduced itself, has gone, and left nothing behind.
bool PeerLifecycle::is_departed(const Peer& peer) const noexcept
{
    return peer.handshake.state() == Handshake::State::idle && !peer.farewell_due;
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
        if (peer.pinned || peer.is_successor || peer.successor != no_index || !peer.drained() ||
            !peer.incoming.empty()) {
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
void PeerLifecycle::begin_connection(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    peer.route.forget_peer();
    peer.handshake = Handshake(s_.random.next_nonzero());
    peer.liveness = Liveness(now);
    peer.turn = SendTurn{};
    peer.farewell_due = false;
    Connection fresh;
    fresh.window = PacketWindow(static_cast<std::uint32_t>(s_.random.next()));
    fresh.congestion = CongestionWindow(s_.tuning, peer.route.largest_packet());
    fresh.paths = PathChoice(s_.tuning.paths, peer.route.paths(), s_.random.next());
    peer.connection = fresh;
    s_.peers.connect(peer.handshake.rx_connection(), index);
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
    if (!peer.is_successor) {
        s_.outgoing.report_end(index, cause, unsent);
    }
}

void PeerLifecycle::fail(std::uint32_t peer, Cause cause, Time now)
{
    s_.count.peer_failures.add();
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

void PeerLifecycle::close(Time now)
{
    s_.closing = true;
    for (std::uint32_t index = 0; index < s_.peers.watermark(); ++index) {
        if (!s_.peers.live(index)) {
            continue;
        }
        Peer& peer = s_.peers[index];
        const bool tell = peer.handshake.established() && !peer.is_successor;
        drop(index, Cause::removed);
        const Handshake ended = peer.handshake;
        const Receiver last_word = peer.connection.receiver.last_word();
        begin_connection(index, now);
        if (tell) {
            peer.handshake.address_farewell(ended);
            peer.connection.receiver = last_word;
            peer.farewell_due = true;
            s_.peers.activate(index);
        }
    }
}

// -- Handshake --------------------------------------------------------------------------

void PeerLifecycle::greet(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    peer.handshake.greet(now);
    peer.liveness.on_greeting(now);
    s_.peers.activate(index);
    s_.peers.arm(index);
}

/// The remote introduces itself.
void PeerLifecycle::learn(std::uint32_t index, const wire::HelloFrame& hello, Time now)
{
    Peer& peer = s_.peers[index];
    peer.handshake.learn(hello);
    const std::uint32_t mtu = peer.route.mtu();
    peer.route.meet(hello.max_packet, now);
    peer.on_mtu(mtu);
    peer.connection.receiver.start(hello.first_psn);
    peer.connection.congestion.set_peer_buffer(hello.rx_buffer);
    peer.liveness.on_heard(now);
}

void PeerLifecycle::establish(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    if (peer.handshake.establish()) {
        s_.count.handshakes.add();
        peer.route.path_mtu().begin(now);
    }
    peer.liveness.on_established(now);
    if (peer.has_work()) {
        s_.peers.activate(index);
    }
}

FrameResult PeerLifecycle::on_hello(const wire::HelloFrame& hello, Event& event, Time now)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    s_.reader.close();
    if (peer != no_index) {
        on_answer(peer, hello, now);
        return FrameResult::stop;
    }
    if ((hello.flags & wire::hello_flag::answer_wanted) == 0) {
        s_.count.rx_unknown_connection.add(); // an answer to an introduction that is history
        return FrameResult::stop;
    }
    introduction_ = hello;
    introduction_open_ = true;
    event = Event{};
    event.kind = Event::Kind::hello;
    event.payload = {introduction_.address.data(), introduction_.address_length};
    return FrameResult::event;
}

void PeerLifecycle::accept_hello(RouteId route, RouteMtu mtu, std::uint16_t paths, Time now)
{
    if (!std::exchange(introduction_open_, false) || s_.closing) {
        return; // when closing, our records are the farewells of old connections
    }
    const wire::HelloFrame hello = introduction_;
    std::uint32_t index = open(route, mtu, paths, Search::bounded, now);
    if (index == no_index) {
        refuse(route, hello);
        return;
    }
    if (!s_.peers[index].handshake.knows_remote()) {
        learn(index, hello, now);
        establish(index, now);
    } else if (s_.peers[index].handshake.judge(hello) != Handshake::Judgment::same) {
        const Route fresh(route, mtu, s_.caps.max_packet, s_.peers[index].route.paths());
        index = successor_of(index, hello, fresh, now);
        if (index == no_index) {
            refuse(route, hello);
            return;
        }
    }
    s_.peers[index].handshake.reply();
    s_.peers.activate(index);
    s_.peers.arm(index);
}

void PeerLifecycle::refuse(RouteId route, const wire::HelloFrame& hello) noexcept
{
    if (refusal_count_ < refusals_.size()) {
        refusals_[refusal_count_++] = {route, hello.connection};
        s_.count.tx_no_room.add();
    }
}

bool PeerLifecycle::take_refusal(Refusal& refusal) noexcept
{
    if (refusal_count_ == 0) {
        return false;
    }
    refusal = refusals_[--refusal_count_];
    return true;
}

/// The record of the process that introduces itself while `index` has a connection with another one.
std::uint32_t PeerLifecycle::successor_of(std::uint32_t index, const wire::HelloFrame& hello,
                                          const Route& route, Time now)
{
    const std::uint32_t known = s_.peers[index].successor;
    if (known != no_index) {
        if (s_.peers[known].handshake.judge(hello) == Handshake::Judgment::same) {
            return known;
        }
        drop(known, Cause::restarted);
        release(known);
        s_.peers[index].successor = no_index;
    }
    if (s_.peers.full()) {
        make_room(Search::bounded, now);
    }
    const std::uint32_t successor = s_.peers.alloc();
    if (successor == no_index) {
        return no_index;
    }
    s_.peers[successor].route = route;
    s_.peers[successor].is_successor = true;
    begin_connection(successor, now);
    learn(successor, hello, now);
    s_.peers[successor].handshake.establish(); // as far as it is concerned
    s_.peers[index].successor = successor;
    return successor;
}

/// A hello in a packet that bears our identifier: the answer to ours, or a question.
void PeerLifecycle::on_answer(std::uint32_t index, const wire::HelloFrame& hello, Time now)
{
    Peer& peer = s_.peers[index];
    if ((hello.flags & wire::hello_flag::no_room) != 0) {
        s_.count.rx_no_room.add();
        if (!peer.handshake.knows_remote()) {
            peer.handshake.on_no_room();
        } else if (peer.handshake.remote_incarnation() != hello.incarnation) {
            fail(index, Cause::restarted, now); // who lives there now does not know us, and has no room
        } else if (peer.handshake.questioning()) {
            fail(index, Cause::stopped_answering, now); // it has given our record away
        }                                               // else it is late: we have been met since
        return;
    }
    if (peer.handshake.knows_remote()) {
        on_heard(index, now);
    } else {
        learn(index, hello, now);
        establish(index, now);
        peer.connection.receiver.request_ack(); // tells the other side that its answer has come
        s_.peers.activate(index);
        return;
    }
    switch (peer.handshake.judge(hello)) {
    case Handshake::Judgment::restarted:
        fail(index, Cause::restarted, now);
        return;
    case Handshake::Judgment::gave_up:
        fail(index, Cause::stopped_answering, now);
        return;
    case Handshake::Judgment::same:
        break;
    }
    const std::uint32_t mtu = peer.route.mtu();
    peer.route.meet(hello.max_packet, now);
    peer.on_mtu(mtu);
    if ((hello.flags & wire::hello_flag::answer_wanted) != 0) {
        peer.connection.receiver.on_question();
        s_.peers.activate(index);
    }
}

/// The process that a successor record stands for has proved to be there: its handshake and connection
/// become the peer's.
void PeerLifecycle::promote(std::uint32_t successor, Time now)
{
    const std::uint32_t index = s_.peers.of_route(s_.peers[successor].route.id());
    SRD_CHECK(index != no_index && s_.peers[index].successor == successor);
    Peer& peer = s_.peers[index];
    Peer& proven = s_.peers[successor];
    const bool same_process = peer.handshake.remote_incarnation() == proven.handshake.remote_incarnation();
    peer.successor = no_index;
    s_.count.peer_failures.add();
    drop(index, same_process ? Cause::stopped_answering : Cause::restarted);
    s_.peers.disconnect(proven.handshake.rx_connection());
    peer.route.forget_peer();
    peer.route.meet(proven.route.peer_max_packet(), now);
    peer.handshake = proven.handshake;
    peer.liveness = proven.liveness;
    peer.connection = proven.connection; // nothing of it is outstanding: a successor only introduces itself
    peer.turn = SendTurn{};
    s_.peers.connect(peer.handshake.rx_connection(), index);
    peer.liveness.on_heard(now);
    peer.handshake.establish();
    s_.count.handshakes.add();
    peer.route.path_mtu().begin(now);
    peer.liveness.on_established(now);
    if (peer.has_work()) {
        s_.peers.activate(index);
    }
    release(successor);
    placement_.issue_grants();
}

// -- What is heard of peers -----------------------------------------------------------------

std::uint32_t PeerLifecycle::prove(std::uint32_t index, Time now)
{
    if (s_.peers[index].is_successor) {
        const RouteId route = s_.peers[index].route.id();
        promote(index, now);
        index = s_.peers.of_route(route);
    }
    return index;
}

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
    if (peer.is_successor) {
        if (peer.liveness.check_due(now)) {
            s_.peers[s_.peers.of_route(peer.route.id())].successor = no_index; // it never proved itself
            drop(index, Cause::never_answered);
            release(index);
        }
        return false;
    }
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
