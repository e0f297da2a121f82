// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Construction, peers and their failure, closing, inspection.
#include "engine_impl.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace srd {

namespace {

/// How long packets of a process may come after the news that it is gone.
constexpr Duration last_words_time = std::chrono::milliseconds(5);

std::uint64_t effective_grant_budget(const IoCaps& caps, const Tuning& tuning)
{
    // What we invite must fit where it lands before we look: half of the
    // receive buffer, the other half being for eager messages and small frames.
    const std::uint64_t floor = std::uint64_t{caps.max_packet} * 2;
    const std::uint64_t wanted =
        caps.rx_buffer == 0 ? tuning.grant_budget : std::min(tuning.grant_budget, caps.rx_buffer / 2);
    return std::max(floor, wanted);
}

/// A packet of remote accesses is taken only when there is a record for every answer that it may need. The
/// shares that new operations and unexpected messages leave free (response_reserve, new_rx_message())
/// must be enough for one packet, or peers that wait for each other would wait for ever.
Limits with_floors(Limits limits)
{
    limits.tx_messages = std::max(limits.tx_messages, 4 * wire::max_rma_frames);
    limits.rx_messages = std::max(limits.rx_messages, 8 * wire::max_rma_frames);
    return limits;
}

} // namespace

Engine::Impl::Impl(const IoCaps& io_caps, const Limits& engine_limits, const Tuning& engine_tuning,
                   Counters& counters, std::span<const std::byte> address, std::uint64_t seed)
    : caps(io_caps), limits(with_floors(engine_limits)), tuning(engine_tuning), count(counters), random(seed),
      peers(limits.max_peers), slots(limits.tx_slots), tx_messages(limits.tx_messages),
      rx_messages(limits.rx_messages), remote_ranges(limits.tx_messages),
      windows(std::min(limits.max_peers, limits.tx_slots)),
      // Every packet that waits for the backend to return its memory, and one burst being built.
      descs(limits.tx_descs),
      // A chunk per slot: every packet in flight may carry small messages.
      chunks(chunk_size, limits.tx_slots), payloads(limits.unexpected_bytes),
      // Successors of restarted peers have connections too.
      connections(limits.max_peers), route_peer(limits.max_routes),
      rx_buckets(std::bit_ceil(std::size_t{limits.rx_messages})),
      rx_bucket_mask(std::bit_ceil(std::size_t{limits.rx_messages}) - 1), wheel(limits.max_peers, Time{}),
      grant_budget(effective_grant_budget(io_caps, engine_tuning))
{
    SRD_CHECK(!address.empty() && address.size() <= local_address.size());
    std::memcpy(local_address.data(), address.data(), address.size());
    local_address_length = static_cast<std::uint8_t>(address.size());
    incarnation = random.next_nonzero();
    // One burst is noted before its events are drawn.
    pending.reserve(1024);
}

std::uint32_t Engine::Impl::peer_of_route(RouteId route) const noexcept
{
    return route_peer[index_of(route)] - 1; // 0 - 1 = no_index
}

std::uint32_t Engine::Impl::open_peer(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths)
{
    SRD_CHECK(index_of(route) < limits.max_routes);
    const std::uint32_t known = peer_of_route(route);
    if (known != no_index) {
        return known;
    }
    if (peers.in_use() == peers.capacity()) {
        evict_departed();
    }
    const std::uint32_t index = peers.alloc();
    if (index == no_index) {
        return no_index;
    }
    Peer& peer = peers[index];
    peer.route = route;
    peer.mtu = std::min(mtu, caps.max_packet);
    peer.path_count = std::clamp<std::uint16_t>(paths, 1, caps.path_count);
    SRD_CHECK(peer.mtu > 2 * packet_overhead);
    route_peer[index_of(route)] = index + 1;
    init_connection(index, now);
    return index;
}

/// Frees the records of peers that introduced themselves, have gone, and left nothing behind:
/// a server meets far more clients in its life than it serves at one time.
void Engine::Impl::evict_departed()
{
    if (!tx_done.empty() || !rx_done.empty()) {
        return; // an event still to be reported may name one of them
    }
    for (std::uint32_t index = 0; index < peers.watermark(); ++index) {
        if (!peers.live(index)) {
            continue;
        }
        const Peer& peer = peers[index];
        if (peer.state == Peer::State::idle && !peer.pinned && !peer.is_successor && !peer.closing &&
            peer.successor == no_index && peer_drained(peer) && peer.rx_messages.empty()) {
            drop_connection(index, Cause::closed);
            release_peer(index);
        }
    }
}

/// Fresh identifiers and sequence numbers; nothing outstanding.
void Engine::Impl::init_connection(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    const Link active_link = peer.active_link;
    const bool was_active = peer.active;
    Peer fresh;
    fresh.state = Peer::State::idle;
    fresh.active = was_active;
    fresh.active_link = active_link;
    fresh.route = peer.route;
    fresh.mtu = peer.mtu;
    fresh.path_count = peer.path_count;
    fresh.near = peer.near; // the route's, as these two
    fresh.successor = peer.successor;
    fresh.pinned = peer.pinned;
    fresh.is_successor = peer.is_successor;
    fresh.tx_messages = peer.tx_messages; // those whose memory the backend still holds
    fresh.rx_messages = peer.rx_messages; // complete unexpected ones, and those about to be reported
    fresh.armed_at = peer.armed_at;
    fresh.rx_connection = random.next_nonzero();
    fresh.tx_next = static_cast<std::uint32_t>(random.next());
    fresh.tx_una = fresh.tx_next;
    fresh.heard_at = now;
    const CongestionLimits window{
        .window_start = std::max(tuning.window_start, 4 * fresh.mtu),
        .window_min = 2 * fresh.mtu,
        .window_max = std::max(tuning.window_max, 4 * fresh.mtu),
        .packet_size = fresh.mtu,
        .target_delay = tuning.target_delay,
    };
    if (tuning.congestion == CongestionPolicy::swift) {
        fresh.congestion = Swift(window);
    } else {
        fresh.congestion = FixedWindow(window);
    }
    const std::uint64_t seed = random.next();
    switch (tuning.paths) {
    case PathPolicy::adaptive:
        fresh.paths = AdaptivePaths(peer.path_count, seed);
        break;
    case PathPolicy::round_robin:
        fresh.paths = RoundRobinPaths(peer.path_count, seed);
        break;
    case PathPolicy::single:
        fresh.paths = SinglePath(peer.path_count, seed);
        break;
    }
    peer = fresh;
    connections.insert(peer.rx_connection, index);
}

/// Ends the connection: everything outstanding to and from the peer is
/// finished with `cause`; complete unexpected messages stay.
void Engine::Impl::drop_connection(std::uint32_t index, Cause cause)
{
    Peer& peer = peers[index];
    connections.erase(peer.rx_connection);
    if (last_peer == index) {
        last_peer = no_index;
    }
    if (cursor.in_packet && cursor.peer == index) {
        cursor.in_packet = false;
        cursor.awaiting = false;
    }
    if (cursor.pump == index) {
        cursor.pump = no_index;
    }

    // Messages first, marked with the cause; the slots then let them go.
    for (std::uint32_t at = peer.tx_messages.front(); at != no_index;
         at = peer.tx_messages.next(tx_messages, at)) {
        TxMessage& message = tx_messages[at];
        if (message.cause == Cause::none) {
            message.cause = cause == Cause::none ? Cause::closed : cause;
        }
        message.state = TxMessage::State::framed; // nothing more of it will be
    }
    while (peer.tx_queue.pop_front(tx_messages) != no_index) {
    }
    for (std::uint32_t at = peer.grant_queue.pop_front(tx_messages); at != no_index;
         at = peer.grant_queue.pop_front(tx_messages)) {
        TxMessage& message = tx_messages[at];
        if (message.response) {
            message.cause = Cause::closed;
            message.state = TxMessage::State::framed;
            if (message.unacked == 0) {
                complete_tx(at, message.cause);
            }
        }
    }
    close_open_slot(peer);
    withdrawal = withdrawal || !peer.in_flight.empty() || !peer.lost.empty() || !peer.tx_messages.empty();
    for (auto* list : {&peer.ready, &peer.in_flight, &peer.lost}) {
        for (std::uint32_t at = list->pop_front(slots); at != no_index; at = list->pop_front(slots)) {
            const TxSlot& slot = slots[at];
            if (slot.bulk && tx_messages[slot.message].response) {
                tx_messages[slot.message].cause = Cause::closed;
            }
            finish_slot(at);
        }
    }
    // What is left has no slot: never framed, or waiting for a grant or a delivery.
    for (std::uint32_t at = peer.tx_messages.front(); at != no_index;) {
        const std::uint32_t next = peer.tx_messages.next(tx_messages, at);
        if (tx_messages[at].unacked == 0) {
            complete_tx(at, tx_messages[at].cause);
        }
        at = next;
    }
    if (peer.window != no_index) {
        for (std::uint32_t psn = peer.tx_una; psn != peer.tx_next; ++psn) {
            windows[peer.window].clear(psn);
        }
        windows.release(peer.window);
        peer.window = no_index;
    }

    for (std::uint32_t at = peer.rx_messages.front(); at != no_index;) {
        const std::uint32_t next = peer.rx_messages.next(rx_messages, at);
        abandon_rx(at, cause);
        at = next;
    }
    if (peer.rnr_owed) {
        --refusing_peers;
    }
}

void Engine::Impl::fail_peer(std::uint32_t index, Cause cause, Time now)
{
    count.peer_failures.add();
    reset_peer(index, cause, now);
}

/// Ends the connection and is ready for another; what the peer was granted goes to others.
void Engine::Impl::reset_peer(std::uint32_t index, Cause cause, Time now)
{
    drop_connection(index, cause);
    init_connection(index, now);
    issue_grants();
}

/// Gives the record back; the connection must have been dropped.
void Engine::Impl::release_peer(std::uint32_t index)
{
    Peer& peer = peers[index];
    deactivate(index);
    wheel.cancel(index);
    if (!peer.is_successor) {
        route_peer[index_of(peer.route)] = 0;
    }
    peers.release(index);
}

void Engine::Impl::on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now)
{
    const std::uint32_t index = peer_of_route(notice.route);
    if (index == no_index) {
        return;
    }
    Peer& peer = peers[index];
    switch (notice.kind) {
    case RouteNotice::Kind::mtu_changed:
        if (mtu > 2 * packet_overhead) {
            peer.mtu = std::min(mtu, caps.max_packet);
        }
        break;
    case RouteNotice::Kind::process_alive:
        peer.alive_at = now;
        break;
    case RouteNotice::Kind::process_gone:
        if (peer.state == Peer::State::greeting && peer.gone_news != Peer::GoneNews::doubted) {
            peer.gone_news = Peer::GoneNews::heard; // perhaps of the process before the one to be met
            break;
        }
        // Its last words may still be on their way: another processor or another path delivers them.
        peer.gone_at = std::min(peer.gone_at, now + last_words_time);
        arm(index);
        break;
    case RouteNotice::Kind::unreachable:
        // A router of one path may say so while the others work (RFC 1122, 4.2.3.9: a hint, not a verdict).
        if (peer.heard &&
            now - std::max({peer.heard_at, peer.waiting_since, peer.alive_at}) < tuning.peer_timeout) {
            break;
        }
        if (awaits_answer(peer)) {
            fail_peer(index, Cause::unreachable, now);
        }
        break;
    case RouteNotice::Kind::same_host:
    case RouteNotice::Kind::network:
        peer.near = notice.kind == RouteNotice::Kind::same_host;
        break;
    }
}

/// The peer's process is gone, and what it may have said before has had its time.
void Engine::Impl::bury_peer(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    peer.gone_at = time_never;
    if (awaits_answer(peer)) {
        fail_peer(index, Cause::refused, now);
    } else if (peer.state == Peer::State::established) {
        reset_peer(index, Cause::refused, now);
    }
}

bool Engine::Impl::peer_drained(const Peer& peer) const noexcept
{
    return peer.tx_una == peer.tx_next && peer.tx_messages.empty() && peer.grant_queue.empty() &&
           peer.control.empty();
}

// ---------------------------------------------------------------------------

Engine::Engine(const IoCaps& caps, const Limits& limits, const Tuning& tuning, Counters& counters,
               std::span<const std::byte> local_address, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(caps, limits, tuning, counters, local_address, seed))
{
}

Engine::~Engine() = default;

PeerId Engine::open_peer(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths)
{
    const std::uint32_t index = impl_->open_peer(route, mtu, now, paths);
    if (index == no_index) {
        return no_id<PeerId>;
    }
    impl_->peers[index].pinned = true;
    return PeerId{index};
}

void Engine::release_peer(PeerId peer) noexcept
{
    const auto index = static_cast<std::uint32_t>(index_of(peer));
    SRD_CHECK(impl_->peers.live(index));
    impl_->peers[index].pinned = false;
}

void Engine::close_peer(PeerId peer, Time now)
{
    const auto index = static_cast<std::uint32_t>(index_of(peer));
    SRD_CHECK(impl_->peers.live(index));
    impl_->peers[index].pinned = false;
    impl_->reset_peer(index, Cause::removed, now);
}

void Engine::accept_hello(RouteId route, std::uint32_t mtu, Time now, std::uint16_t paths)
{
    impl_->accept_hello(route, mtu, now, paths);
}

RouteId Engine::peer_route(PeerId peer) const
{
    return impl_->peers[static_cast<std::uint32_t>(index_of(peer))].route;
}

void Engine::on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now)
{
    impl_->on_route_notice(notice, mtu, now);
}

Status Engine::submit(const Operation& operation, Time now)
{
    return impl_->submit(operation, now);
}

bool Engine::take_withdrawal() noexcept
{
    return std::exchange(impl_->withdrawal, false);
}

bool Engine::is_established(PeerId peer) const noexcept
{
    return impl_->peers[static_cast<std::uint32_t>(index_of(peer))].state == Peer::State::established;
}

bool Engine::transmit_due() const noexcept
{
    return impl_->transmit_due;
}

Status Engine::accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Time /*now*/,
                      Accepted& outcome)
{
    return impl_->accept(message, iov, cookie, outcome);
}

Status Engine::park(MessageId& message, Time /*now*/)
{
    return impl_->park(message);
}

void Engine::refuse(MessageId message, Time /*now*/)
{
    SRD_CHECK(message == current_message);
    impl_->refuse();
}

void Engine::discard(MessageId message, Time /*now*/)
{
    impl_->discard(message);
}

void Engine::on_packets(std::span<const RxPacket> packets, Time now)
{
    impl_->on_packets(packets, now);
}

void Engine::on_timeout(Time now)
{
    impl_->on_timeout(now);
}

bool Engine::poll_event(Event& event)
{
    return impl_->poll_event(event);
}

std::size_t Engine::poll_transmit(std::span<TxPacket> packets, Time now)
{
    return impl_->poll_transmit(packets, now);
}

void Engine::return_unsent(std::span<const TxPacket> packets, Time now)
{
    impl_->return_unsent(packets, now);
}

void Engine::on_tx_done() noexcept
{
    impl_->on_tx_done();
}

void Engine::on_rx_drained(Time now) noexcept
{
    impl_->rx_drained_at = now;
}

bool Engine::poll_liveness_probe(RouteId& route)
{
    if (impl_->liveness_count == 0) {
        return false;
    }
    route = impl_->liveness_questions[--impl_->liveness_count];
    return true;
}

bool Engine::idle(Time now) const noexcept
{
    return impl_->active.empty() && impl_->tx_done.empty() && impl_->rx_done.empty() &&
           impl_->cursor.pump == no_index && impl_->liveness_count == 0 && impl_->wheel.next() > now;
}

Time Engine::next_timeout() const noexcept
{
    return impl_->wheel.next();
}

bool Engine::drained() const noexcept
{
    return impl_->outstanding_slots == 0 && impl_->outstanding_messages == 0;
}

void Engine::close(Time now)
{
    impl_->closing = true;
    for (std::uint32_t index = 0; index < impl_->peers.watermark(); ++index) {
        if (!impl_->peers.live(index)) {
            continue;
        }
        Peer& peer = impl_->peers[index];
        const bool tell = peer.state == Peer::State::established && !peer.is_successor;
        const Peer before = peer;
        impl_->drop_connection(index, Cause::removed);
        impl_->init_connection(index, now);
        if (tell) {
            // The farewell carries the last acknowledgement.
            peer.tx_connection = before.tx_connection;
            peer.rx = before.rx;
            peer.rx_message_next = before.rx_message_next;
            peer.duplicates = before.duplicates;
            peer.faults_made = before.faults_made;
            peer.closing = true;
            impl_->activate(index);
        }
    }
}

std::size_t Engine::idle_peer_size() noexcept
{
    return sizeof(Peer);
}

} // namespace srd
