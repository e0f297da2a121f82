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
    if (s_.peers.full()) {
        make_room(search, now);
    }
    const std::uint32_t index = s_.peers.alloc();
    if (index == no_index) {
        return no_index;
    }
    s_.peers[index].route = Route(route, s_.names.address_hash(route.address), s_.caps);
    s_.peers.set_route(index);
    begin_connection(index, now);
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
void PeerLifecycle::begin_connection(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    peer.route.forget_peer();
    const ConnectionNames::Name name =
        s_.names.name(peer.route.address_hash(), s_.peers.begin_generation(peer.route.id()));
    peer.handshake = Handshake(name.connection);
    peer.liveness = Liveness(now);
    peer.turn = SendTurn{};
    peer.farewells_due = 0;
    Connection fresh;
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

// -- Handshake --------------------------------------------------------------------------

void PeerLifecycle::greet(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    peer.handshake.greet(now);
    peer.liveness.on_greeting(now);
    s_.peers.activate(index);
    s_.peers.arm(index);
}

/// With keys, what both have said of themselves makes those of the connection. False: there is no memory.
bool PeerLifecycle::begin_session(std::uint32_t index, const wire::HelloFrame& hello, const HelloProof& proof)
{
    if (s_.seals == nullptr) {
        return true;
    }
    const EndpointSeals::Side self{s_.identity.incarnation, s_.peers[index].handshake.rx_connection(),
                                   std::span(s_.identity.address).first(s_.identity.address_length)};
    return s_.seals->begin(index, s_.common_version(hello), self,
                           {hello.incarnation, hello.connection, wire::address_of(hello)}, proof);
}

/// The remote introduces itself. False: there is no memory for what its connection needs, and nothing has
/// changed.
bool PeerLifecycle::learn(std::uint32_t index, const wire::HelloFrame& hello, const HelloProof& proof,
                          Time now)
{
    if (!begin_session(index, hello, proof)) {
        return false;
    }
    Peer& peer = s_.peers[index];
    peer.handshake.learn(hello, s_.identity.dialect);
    const std::uint32_t mtu = peer.route.mtu();
    peer.route.meet(hello.max_packet, now);
    peer.on_mtu(mtu);
    peer.connection.receiver.start(hello.first_psn);
    peer.connection.congestion.set_peer_buffer(hello.rx_buffer);
    peer.connection.recovery.on_told_rtt(wire::get_round_trip(hello.round_trip), now);
    peer.liveness.on_heard(now);
    return true;
}

/// We know each other from now on. `met`: the remote has a record of us.
void PeerLifecycle::establish(std::uint32_t index, bool met, Time now)
{
    Peer& peer = s_.peers[index];
    peer.handshake.establish(now);
    s_.count.handshakes.add();
    s_.trace_event(TraceKind::met, peer, peer.handshake.version());
    peer.liveness.on_established(now);
    if (met) {
        confirm(index, now);
        peer.handshake.reply();
    }
    s_.peers.activate(index);
    s_.peers.arm(index);
}

/// The remote has a record of us, so that it will answer more than introductions.
void PeerLifecycle::confirm(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    peer.handshake.confirm();
    peer.connection.recovery.on_progress(peer.connection.window.any_in_flight(), s_.tuning, now);
    peer.route.path_mtu().begin(now);
    s_.peers.activate(index);
}

FrameResult PeerLifecycle::on_hello(const wire::HelloFrame& hello, Event& event, Time now)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const bool answer_wanted = (hello.flags & wire::hello_flag::answer_wanted) != 0;
    s_.reader.close();
    if (peer != no_index) {
        const Peer& known = s_.peers[peer];
        if (s_.names.address_hash(wire::address_of(hello)) != known.route.address_hash()) {
            // Our introduction, or our answer, was brought to somebody else, who answers it.
            s_.count.rx_misdirected.add();
            return FrameResult::stop;
        }
        // A late proof of a predecessor there, who was told the identifier as well, ends nothing.
        const bool of_another = answer_wanted && known.handshake.knows_remote() &&
                                known.handshake.judge(hello) != Handshake::Judgment::same;
        if (!of_another) {
            on_answer(peer, hello, now);
            return FrameResult::stop;
        }
    }
    if (!answer_wanted) {
        s_.count.rx_unknown_connection.add(); // an answer to an introduction that is history
        return FrameResult::stop;
    }
    introduction_ = {hello, s_.reader.proof(), s_.reader.packet().connection, true};
    event = Event{};
    event.kind = Event::Kind::hello;
    event.payload = wire::address_of(introduction_.hello);
    return FrameResult::event;
}

/// Nothing is remembered of an introduction. Its answer goes to the address that it names, and a hello under
/// the identifier in the answer proves that its sender received it there.
Introduction PeerLifecycle::on_introduction(RouteId route, std::span<const std::byte> address,
                                            HelloPacket& answer, Time now)
{
    introduction_.open = introduction_.open && !s_.closing; // then our records are farewells of connections
    if (!introduction_.open) {
        return Introduction::ignore;
    }
    if (s_.seals != nullptr && introduction_.proof.key == nullptr) {
        return refuse(wire::hello_flag::key_wanted, answer);
    }
    const bool has_route = route != no_id<RouteId>;
    const std::uint32_t index = has_route ? s_.peers.of_route(route) : no_index;
    if (index != no_index) {
        const Peer& peer = s_.peers[index];
        if (!peer.handshake.knows_remote() ||
            peer.handshake.judge(introduction_.hello) == Handshake::Judgment::same) {
            const ConnectionNames::Name ours{peer.handshake.rx_connection(), peer.connection.window.una()};
            return answer_hello(ours, index, answer);
        }
    }
    const ConnectionNames::Name name =
        s_.names.name(s_.names.address_hash(address), has_route ? s_.peers.generation(route) : 0);
    if (introduction_.under == name.connection && s_.speaks_with(introduction_.hello)) {
        return Introduction::accept;
    }
    if (index == no_index && s_.peers.full()) {
        make_room(Search::bounded, now);
        if (s_.peers.full()) {
            return refuse(wire::hello_flag::no_room, answer);
        }
    }
    return answer_hello(name, no_index, answer);
}

/// Who introduced himself has been told the identifier that he uses now: he lives at his address.
Introduction PeerLifecycle::accept_hello(const RouteInfo& route, HelloPacket& answer, Time now)
{
    SRD_CHECK(introduction_.open);
    const wire::HelloFrame hello = introduction_.hello;
    std::uint32_t index = s_.peers.of_route(route.id);
    if (index != no_index) {
        const bool same_process = s_.peers[index].handshake.remote_incarnation() == hello.incarnation;
        fail(index, same_process ? Cause::stopped_answering : Cause::restarted, now);
    } else {
        index = open(route, Search::bounded, now);
        if (index == no_index) {
            return refuse(wire::hello_flag::no_room, answer);
        }
    }
    if (!learn(index, hello, introduction_.proof, now)) {
        return refuse(wire::hello_flag::no_room, answer);
    }
    introduction_.open = false;
    establish(index, true, now);
    return Introduction::ignore;
}

/// The answer, which tells the other side that its connection with us is called `name`.
Introduction PeerLifecycle::answer_hello(ConnectionNames::Name name, std::uint32_t peer,
                                         HelloPacket& answer) noexcept
{
    wire::HelloFrame hello = s_.identity.hello();
    hello.connection = name.connection;
    hello.first_psn = name.first_psn;
    s_.count.tx_hello_answers.add();
    return put_answer(hello, peer, answer);
}

/// `flag`: why.
Introduction PeerLifecycle::refuse(std::uint8_t flag, HelloPacket& answer) noexcept
{
    wire::HelloFrame hello = s_.identity.hello();
    hello.flags = flag;
    hello.connection = s_.identity.incarnation; // must not be 0, and names nothing
    if (flag == wire::hello_flag::no_room) {
        s_.count.tx_no_room.add();
    }
    return put_answer(hello, no_index, answer);
}

Introduction PeerLifecycle::put_answer(const wire::HelloFrame& hello, std::uint32_t peer,
                                       HelloPacket& answer) noexcept
{
    introduction_.open = false;
    const bool to_outsider = (hello.flags & wire::hello_flag::key_wanted) != 0; // a trailer would say nothing
    answer.put(introduction_.hello.connection, hello, to_outsider ? nullptr : s_.seals, peer,
               introduction_.proof);
    return Introduction::answer;
}

/// A hello in a packet that bears our identifier: the answer to ours, or a question.
void PeerLifecycle::on_answer(std::uint32_t index, const wire::HelloFrame& hello, Time now)
{
    Peer& peer = s_.peers[index];
    const HelloProof proof = s_.reader.proof();
    if ((hello.flags & wire::hello_flag::key_wanted) != 0 || (s_.seals != nullptr && proof.key == nullptr)) {
        peer.handshake.on_other_key();
        return;
    }
    if ((hello.flags & wire::hello_flag::no_room) != 0) {
        s_.count.rx_no_room.add();
        if (!peer.handshake.confirmed()) {
            peer.handshake.on_no_room();
        } else if (!peer.handshake.questioning()) {
            return; // it is late: we have been met since
        } else if (peer.handshake.remote_incarnation() != hello.incarnation) {
            fail(index, Cause::restarted, now); // who lives there now does not know us, and has no room
        } else if (s_.seals == nullptr) {       // with keys, it may be a repetition
            fail(index, Cause::stopped_answering, now); // it has given our record away
        }
        return;
    }
    const bool met = (hello.flags & wire::hello_flag::met) != 0;
    const bool answers = (hello.flags & wire::hello_flag::answer_wanted) == 0;
    if (answers && !peer.handshake.confirmed()) {
        peer.connection.recovery.add_rtt(peer.handshake.round_trip(now), now, Duration::zero());
    }
    if (!peer.handshake.knows_remote()) {
        if (learn(index, hello, proof, now)) {
            establish(index, met, now);
        } // else it is asked again
        return;
    }
    const Handshake::Judgment judgment = peer.handshake.judge(hello);
    if (judgment != Handshake::Judgment::same && peer.handshake.confirmed() &&
        !peer.handshake.questioning()) {
        return; // a predecessor's, late: nobody was asked
    }
    switch (judgment) {
    case Handshake::Judgment::restarted:
        fail(index, Cause::restarted, now);
        return;
    case Handshake::Judgment::gave_up:
        fail(index, Cause::stopped_answering, now);
        return;
    case Handshake::Judgment::same:
        break;
    }
    if (!met && !peer.handshake.confirmed()) {
        return; // the answer to another introduction of ours
    }
    if (s_.seals == nullptr || !peer.handshake.confirmed()) {
        on_heard(index, now); // but a repetition of an old hello is no sign of life
    }
    const std::uint32_t mtu = peer.route.mtu();
    peer.route.meet(hello.max_packet, now);
    peer.on_mtu(mtu);
    if ((hello.flags & wire::hello_flag::answer_wanted) != 0) {
        peer.connection.receiver.on_question();
        s_.peers.activate(index);
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
