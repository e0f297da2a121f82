// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How two endpoints meet, and how one finds out what became of the other.
//
// An introduction (hello) carries the sender's address, its incarnation (one
// per endpoint), the connection identifier it wants in packets to itself, and
// its first psn. It is answered with a hello in a packet that bears that
// identifier, which proves to the first that the answer is not forged. Both
// sides may start at once; both introductions then serve.
//
// An introduction from an address that has a connection already may be a
// restarted process or a forgery. It gets an answer, from a successor record
// beside the connection. Only a packet that bears the successor's identifier,
// which the forger never saw, replaces the old connection.
#include "engine_impl.hpp"

#include <algorithm>
#include <cstring>

namespace srd {

namespace {

constexpr Duration hello_interval_first = std::chrono::milliseconds(1);
constexpr Duration liveness_interval = std::chrono::milliseconds(500);

} // namespace

void Engine::Impl::start_greeting(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    peer.state = Peer::State::greeting;
    peer.hello_due = true;
    peer.hello_is_reply = false;
    peer.hello_count = 0;
    peer.gone_news = Peer::GoneNews::none;
    peer.gone_at = time_never;
    peer.waiting_since = now;
    peer.heard_at = std::max(peer.heard_at, now);
    peer.hello_at = now + hello_interval_first;
    peer.liveness_at = now + liveness_interval;
    activate(index);
    arm(index);
}

void Engine::Impl::learn_remote(std::uint32_t index, const wire::HelloFrame& introduction, Time now)
{
    Peer& peer = peers[index];
    peer.has_remote = true;
    peer.tx_connection = introduction.connection;
    peer.remote_incarnation = introduction.incarnation;
    peer.rx = SeqBitmap<packet_window>(introduction.first_psn);
    peer.peer_buffer = introduction.rx_buffer;
    peer.mtu = std::min<std::uint32_t>(peer.mtu, introduction.max_packet);
    on_heard(index, now);
}

void Engine::Impl::establish(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    if (peer.state != Peer::State::established) {
        count.handshakes.add();
    }
    peer.state = Peer::State::established;
    peer.hello_at = time_never;
    peer.gone_at = time_never; // that was about an earlier process at this address
    peer.waiting_since = now;
    if (has_work(peer)) {
        activate(index);
    }
}

/// A valid packet has come from the peer.
void Engine::Impl::on_heard(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    peer.heard = true;
    peer.last_call = false;
    peer.heard_at = now;
    peer.waiting_since = now;
    peer.liveness_at = now + liveness_interval;
    if (peer.probe_count >= fruitless_probes && !peer.in_flight.empty()) {
        peer.probe_count = fruitless_probes - 1; // it listens again: one more repetition,
        peer.probe_at = now + probe_delay(peer); // unless the acknowledgement follows on the heels of this
        arm(index);
    }
}

/// An introduction by a stranger, or by a known address under a connection we do not know.
void Engine::Impl::accept_hello(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths)
{
    if (!hello_open) {
        return;
    }
    hello_open = false;
    if (closing) {
        return; // our records are the farewells of old connections
    }
    const wire::HelloFrame introduction = hello;
    std::uint32_t index = open_peer(route, mtu, now, paths);
    if (index == no_index) {
        return; // counts as lost; the peer asks again
    }
    if (peers[index].has_remote) {
        const auto same = [&](const Peer& peer) {
            return peer.remote_incarnation == introduction.incarnation &&
                   peer.tx_connection == introduction.connection;
        };
        if (!same(peers[index])) {
            std::uint32_t successor = peers[index].successor;
            if (successor != no_index && !same(peers[successor])) {
                drop_connection(successor, Cause::restarted);
                release_peer(successor);
                peers[index].successor = successor = no_index;
            }
            if (successor == no_index) {
                successor = peers.alloc();
                if (successor == no_index) {
                    return;
                }
                Peer& record = peers[successor];
                record.route = route;
                record.mtu = std::min(mtu, caps.max_packet);
                record.path_count = peers[index].path_count;
                record.is_successor = true;
                init_connection(successor, now);
                learn_remote(successor, introduction, now);
                record.state = Peer::State::established;
                peers[index].successor = successor;
            }
            index = successor;
        }
    } else {
        learn_remote(index, introduction, now);
        establish(index, now);
    }
    Peer& peer = peers[index];
    peer.hello_due = true;
    peer.hello_is_reply = true;
    activate(index);
    arm(index);
}

/// A hello in a packet that bears our identifier: the answer to ours, or a probe.
void Engine::Impl::on_hello_reply(std::uint32_t index, const wire::HelloFrame& answer, Time now)
{
    Peer& peer = peers[index];
    if (!peer.has_remote) {
        learn_remote(index, answer, now);
        establish(index, now);
        peer.confirmed = true;
        peer.ack_now = true; // tells the other side that its answer has come
        activate(index);
        return;
    }
    if (peer.remote_incarnation != answer.incarnation) {
        fail_peer(index, Cause::restarted, now);
        return;
    }
    if (peer.tx_connection != answer.connection) {
        fail_peer(index, Cause::stopped_answering, now); // it gave up on us meanwhile
        return;
    }
    if ((answer.flags & wire::hello_flag::answer_wanted) != 0) {
        peer.ack_now = true;
        peer.asked = true;
        activate(index);
    }
}

/// The process that a successor record stands for has proved to be there.
void Engine::Impl::promote_successor(std::uint32_t successor, Time now)
{
    const std::uint32_t index = peer_of_route(peers[successor].route);
    SRD_CHECK(index != no_index && peers[index].successor == successor);
    const bool same_process = peers[index].remote_incarnation == peers[successor].remote_incarnation;
    peers[index].successor = no_index;
    count.peer_failures.add();
    drop_connection(index, same_process ? Cause::stopped_answering : Cause::restarted);
    init_connection(index, now);
    Peer& heir = peers[index];
    Peer& from = peers[successor];
    connections.erase(heir.rx_connection);
    connections.erase(from.rx_connection);
    heir.rx_connection = from.rx_connection;
    heir.tx_connection = from.tx_connection;
    heir.remote_incarnation = from.remote_incarnation;
    heir.tx_next = from.tx_next;
    heir.tx_una = from.tx_una;
    heir.rx = from.rx;
    heir.mtu = from.mtu;
    heir.peer_buffer = from.peer_buffer;
    heir.has_remote = true;
    heir.confirmed = true;
    connections.insert(heir.rx_connection, index);
    on_heard(index, now);
    establish(index, now);
    if (last_peer == successor) {
        last_peer = no_index;
    }
    release_peer(successor);
    issue_grants();
}

/// True while the peer owes us something: a handshake answer or an acknowledgement.
bool Engine::Impl::awaits_answer(const Peer& peer) const noexcept
{
    return peer.state == Peer::State::greeting || !peer.in_flight.empty() || !peer.lost.empty() ||
           !peer.tx_messages.empty();
}

/// Decides, on a timer, whether a silent peer is dead. A process that is
/// stopped, or computes without making progress, is silent too: as long as the
/// backend sees that it exists, it gets stopped_timeout. It may also be us who
/// were stopped, with the peer's answers unread: so nobody is given up before a
/// last question has gone unanswered for a whole interval.
void Engine::Impl::check_silence(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    const bool unanswered =
        peer.state == Peer::State::greeting || !peer.in_flight.empty() || !peer.lost.empty();
    // Nothing is in flight, but a grant or a delivery is awaited, which only a living peer can send.
    const bool owed = peer.state == Peer::State::established && !peer.tx_messages.empty();
    if (!unanswered && !owed) {
        peer.liveness_at = time_never;
        return;
    }
    if (now < peer.liveness_at) {
        return;
    }
    const Duration silence = now - std::max(peer.heard_at, peer.waiting_since);
    const Duration bound = peer.heard ? tuning.peer_timeout : tuning.connect_timeout;
    if (peer.last_call && silence >= bound && rx_drained_at < peer.liveness_at) {
        return; // stays due: the next pass judges, or the one after that
    }
    if (silence >= liveness_interval) {
        // Likewise. A batch of questions at a time: the backend has no room for all peers' answers at once.
        const bool room = liveness_count == 0 ? rx_drained_at > liveness_asked_at
                                              : liveness_count < liveness_questions.size();
        if (!room) {
            return;
        }
        liveness_questions[liveness_count++] = peer.route;
        liveness_asked_at = now;
        count.liveness_probes.add();
    }
    const Time asked_at = peer.liveness_at - liveness_interval; // the time before this
    peer.liveness_at = now + liveness_interval;
    if (!unanswered || silence >= bound) {
        peer.hello_due = true;
        peer.hello_is_reply = false;
        activate(index);
    }
    if (silence < bound) {
        return;
    }
    const bool exists = peer.alive_at != Time{} && (now - peer.alive_at < bound || peer.alive_at >= asked_at);
    if (exists && silence < tuning.stopped_timeout) {
        count.liveness_extensions.add();
        return;
    }
    if (!peer.last_call) {
        peer.last_call = true;
        return;
    }
    fail_peer(index, peer.heard ? Cause::stopped_answering : Cause::never_answered, now);
}

} // namespace srd
