// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// PeerLifecycle: how peers are met.
#include "peer/lifecycle.hpp"

namespace srd {

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
    peer.connection.recovery.on_progress(peer.connection.window.any_in_flight(), s_.tuning,
                                         s_.packets.peers_in_use(), now);
    peer.route.path_mtu().begin(now);
    if ((peer.handshake.features() & feature::rails) != 0) {
        peer.rails.begin(now);
        s_.peers.arm(index);
    }
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
            // An introduction of ours was brought to somebody else, who answers it, or he was told our
            // answer.
            s_.count.rx_misdirected.add();
            return FrameResult::stop;
        }
        // A late proof of a predecessor at that address, to whom the identifier was told as well, ends
        // nothing.
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
    const std::uint32_t index = route != no_id<RouteId> ? s_.peers.of_route(route) : no_index;
    if (index != no_index) {
        const Peer& peer = s_.peers[index];
        const auto judgment = peer.handshake.knows_remote() ? peer.handshake.judge(introduction_.hello)
                                                            : Handshake::Judgment::same;
        if (judgment == Handshake::Judgment::damaged) {
            introduction_.open = false;
            return Introduction::ignore; // it comes again
        }
        if (judgment == Handshake::Judgment::same) {
            return answer_hello({peer.handshake.rx_connection(), peer.connection.window.una()}, index,
                                answer);
        }
    }
    const std::uint64_t hash = s_.names.address_hash(address);
    const RouteTable& routes = s_.peers.routes();
    if (s_.speaks_with(introduction_.hello) &&
        routes.find_promised(route, introduction_.count, [&](std::uint32_t count) {
            return s_.names.name(hash, count).connection == introduction_.under;
        })) {
        return Introduction::accept;
    }
    if (index == no_index && s_.peers.full()) {
        make_room(Search::bounded, now);
        if (s_.peers.full()) {
            return refuse(wire::hello_flag::no_room, answer);
        }
    }
    return answer_hello(s_.names.name(hash, routes.next(route)), no_index, answer);
}

/// Who introduced himself has been told the identifier that he uses now: he lives at his address.
Introduction PeerLifecycle::accept_hello(const RouteInfo& route, HelloPacket& answer, Time now)
{
    SRD_CHECK(introduction_.open);
    const wire::HelloFrame hello = introduction_.hello;
    std::uint32_t index = s_.peers.of_route(route.id);
    if (index != no_index) {
        const bool same_process = s_.peers[index].handshake.remote_incarnation() == hello.incarnation;
        s_.count.peer_failures.add();
        drop(index, same_process ? Cause::stopped_answering : Cause::restarted);
    } else {
        index = make_record(route, Search::bounded, now);
        if (index == no_index) {
            unused_route_ = route.id;
            return refuse(wire::hello_flag::no_room, answer);
        }
    }
    begin_connection(index, introduction_.count, now);
    placement_.issue_grants();
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

/// The remote seems to have given our record away.
void PeerLifecycle::on_forgotten(std::uint32_t index, Time now)
{
    if (s_.peers[index].handshake.is_forgotten()) {
        fail(index, Cause::stopped_answering, now);
    } else {
        s_.peers.activate(index);
    }
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
            on_forgotten(index, now);
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
        on_forgotten(index, now);
        return;
    case Handshake::Judgment::damaged:
        return;
    case Handshake::Judgment::same:
        break;
    }
    if (!met && !peer.handshake.confirmed()) {
        return; // the answer to another introduction of ours
    }
    // What we began with may have been an answer of which nothing was remembered there, and since which the
    // secrets have changed: whoever has met us names the key of his record.
    if (met && s_.seals != nullptr && s_.seals->may_be_mistaken(index, proof) &&
        !begin_session(index, hello, proof)) {
        return;
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

} // namespace srd
