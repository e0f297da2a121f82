// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The entry points, turned over to the parts; timers; what must hold in between.
#include "engine.hpp"

#include <algorithm>
#include <utility>

namespace srd {

namespace {

/// Peers to which a pass repeats something because they are silent. The others have their turn in the next
/// passes, which come soon because each is short. Where a hundred endpoints are polled by one thread, or by
/// processes that share a processor, everybody seems silent to everybody: if a pass repeated all that is due,
/// each would take the longer, what it has no time to read would be dropped, and that would go on for ever.
constexpr unsigned max_repeating = 2;

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
/// shares that new operations and unexpected messages leave free (OutgoingPool::response_reserve,
/// IncomingPool::create) must be enough for one packet, or peers that wait for each other would wait for
/// ever.
std::uint32_t at_least(std::uint32_t records, std::uint32_t packets) noexcept
{
    return std::max(records, packets * wire::max_rma_frames);
}

std::uint32_t index(PeerId peer) noexcept
{
    return static_cast<std::uint32_t>(index_of(peer));
}

} // namespace

Shared::Shared(const IoCaps& io_caps, const Limits& limits, const Tuning& engine_tuning, Counters& counters,
               std::span<const std::byte> address, std::uint64_t seed, EndpointSeals* endpoint_seals)
    : caps(io_caps), tuning(engine_tuning), count(counters), random(seed), names(random, engine_tuning.first),
      seals(endpoint_seals), peers(limits), way_times(limits.max_peers),
      packets(limits.tx_slots, limits.max_peers),
      outgoing(at_least(limits.tx_messages, 4), limits.tx_buffers, engine_tuning.first.message),
      incoming(at_least(limits.rx_messages, 8), limits.unexpected_bytes, limits.max_peers,
               {random.next(), random.next(), random.next(), random.next()}),
      grants(effective_grant_budget(io_caps, engine_tuning))
{
    SRD_CHECK(!address.empty() && address.size() <= identity.address.size());
    std::memcpy(identity.address.data(), address.data(), address.size());
    identity.address_length = static_cast<std::uint8_t>(address.size());
    identity.incarnation = random.next_nonzero();
    identity.max_packet = caps.max_packet;
    identity.rx_buffer = caps.rx_buffer;
    identity.dialect = tuning.dialect;
    SRD_CHECK(caps.rail_count >= 1 && caps.rail_count <= max_rails &&
              caps.rails.size() == (caps.rail_count - 1) * rail_size);
    if (caps.rail_count == 1) {
        identity.dialect.features &= ~feature::rails;
    }
}

Engine::Engine(const IoCaps& caps, const Limits& limits, const Tuning& tuning, Counters& counters,
               std::span<const std::byte> local_address, std::uint64_t seed, EndpointSeals* seals)
    : shared_(caps, limits, tuning, counters, local_address, seed, seals), placement_(shared_),
      target_(shared_, placement_), initiator_(shared_, placement_, target_),
      framing_(shared_, placement_, initiator_, target_), lifecycle_(shared_, placement_),
      watch_(shared_, lifecycle_), search_(shared_), rails_(shared_),
      local_(shared_, placement_, lifecycle_, watch_), submission_(shared_, framing_, initiator_, lifecycle_),
      acks_(shared_), transmit_(shared_, framing_, limits.tx_descs),
      inbound_(shared_, lifecycle_, watch_, acks_, submission_, placement_, initiator_, target_, search_,
               rails_, local_)
{
}

void Engine::use_devices(DeviceMemory& memory, std::byte* host) noexcept
{
    shared_.staging.use(memory, host);
    shared_.devices.use(memory, host + DeviceStaging::space);
}

// -- Peers ----------------------------------------------------------------------------------

PeerId Engine::open_peer(const RouteInfo& route, Time now)
{
    const std::uint32_t peer = lifecycle_.open(route, PeerLifecycle::Search::whole, now);
    if (peer == no_index) {
        return no_id<PeerId>;
    }
    shared_.peers[peer].pinned = true;
    return PeerId{peer};
}

void Engine::release_peer(PeerId peer) noexcept
{
    SRD_CHECK(shared_.peers.live(index(peer)));
    shared_.peers[index(peer)].pinned = false;
}

void Engine::close_peer(PeerId peer, Time now)
{
    release_peer(peer);
    lifecycle_.reset(index(peer), Cause::removed, now);
    check();
}

Introduction Engine::on_introduction(RouteId route, std::span<const std::byte> address, HelloPacket& answer,
                                     Time now)
{
    return lifecycle_.on_introduction(route, address, answer, now);
}

Introduction Engine::accept_hello(const RouteInfo& route, HelloPacket& answer, Time now)
{
    const Introduction result = lifecycle_.accept_hello(route, answer, now);
    check();
    return result;
}

RouteId Engine::take_released_route() noexcept
{
    return lifecycle_.take_released_route();
}

void Engine::on_peer_rails(PeerId peer, std::uint8_t count, std::uint16_t ways, Time now)
{
    rails_.told(index(peer), count, ways, now);
    check();
}

void Engine::want_sign(RouteId route, Time now)
{
    watch_.want_sign(route, now);
    check();
}

RouteId Engine::peer_route(PeerId peer) const
{
    return shared_.peers[index(peer)].route.id();
}

void Engine::on_route_notice(const RouteNotice& notice, std::uint32_t mtu, Time now)
{
    lifecycle_.on_route_notice(notice, mtu, now);
    check();
}

// -- Sending --------------------------------------------------------------------------------

Status Engine::submit(const Operation& operation, Time now)
{
    const Status status = submission_.submit(operation, now);
    check();
    return status;
}

LocalRoad::Sent Engine::send_local(const Operation& operation)
{
    const LocalRoad::Sent sent = local_.send(operation);
    check();
    return sent;
}

void Engine::look_for_readers(Time now)
{
    local_.look_for_readers(now);
    check();
}

bool Engine::is_established(PeerId peer) const noexcept
{
    return shared_.peers[index(peer)].handshake.established();
}

// -- Receiving and being accessed -------------------------------------------------------------

Status Engine::accept(MessageId message, std::span<const iovec> iov, std::uint64_t cookie, Accepted& outcome,
                      DeviceId device)
{
    const Status status = placement_.accept(message, iov, device, cookie, outcome);
    check();
    return status;
}

Status Engine::park(MessageId& message)
{
    const Status status = placement_.park(message);
    check();
    return status;
}

void Engine::refuse(MessageId message)
{
    placement_.refuse(message);
    check();
}

bool Engine::defer(MessageId message) noexcept
{
    if (!may_defer_ || message != current_message || !shared_.reader.may_defer()) {
        return false;
    }
    shared_.reader.defer();
    return true;
}

void Engine::discard(MessageId message)
{
    placement_.discard(message);
    check();
}

bool Engine::place(std::span<const iovec> memory, DeviceId device)
{
    return target_.place(memory, device);
}

void Engine::confirm()
{
    target_.confirm();
    check();
}

void Engine::serve(std::span<const iovec> memory, std::uint64_t key, bool tell, std::uint64_t cookie,
                   DeviceId device)
{
    target_.serve(memory, device, key, tell, cookie);
    check();
}

void Engine::reject(Cause cause)
{
    target_.reject(cause);
    check();
}

void Engine::revoke(std::uint64_t key)
{
    target_.revoke(key);
    shared_.staging.quiesce();
}

// -- The pass -------------------------------------------------------------------------------

void Engine::on_packets(std::span<const RxPacket> packets, Time now)
{
    inbound_.on_packets(packets, now);
    check();
}

bool Engine::poll_event(Event& event)
{
    if (shared_.device_failed_peer != no_index) [[unlikely]] {
        const std::uint32_t peer = std::exchange(shared_.device_failed_peer, no_index);
        if (shared_.peers.live(peer)) {
            lifecycle_.fail(peer, Cause::device_failed, shared_.device_failed_at);
            lifecycle_.greet(peer,
                             shared_.device_failed_at); // it waits for the rest, and learns that none comes
        }
    }
    const bool polled = inbound_.poll_event(event) || (search_.any_event() && search_.poll_event(event));
    // What peers have written to a device is there before anything that may tell of it, and before the
    // packets' memory is another's. (A failure is that of some operation, which is told so at its own end.)
    if (shared_.devices.any_begun() && (!polled || event.kind != Event::Kind::write)) [[unlikely]] {
        static_cast<void>(shared_.devices.settle());
    }
    if (polled && event.cause != Cause::none) [[unlikely]] {
        shared_.staging.quiesce(); // the buffer of what has failed is the application's again
    }
    check();
    return polled;
}

void Engine::on_timeout(Time now)
{
    unsigned repeating = 0;
    shared_.peers.expire(now, [&](std::uint32_t peer) {
        const bool may_repeat = !shared_.peers[peer].repeats(now) || ++repeating <= max_repeating;
        on_peer_timeout(peer, may_repeat, now);
    });
    check();
}

void Engine::on_peer_timeout(std::uint32_t peer, bool may_repeat, Time now)
{
    if (!lifecycle_.on_timeout(peer, now)) {
        return;
    }
    if (shared_.peers[peer].connection.receiver.on_timeout(now)) {
        shared_.peers.activate(peer); // an acknowledgement is no repetition, and others wait for it
    }
    if (!may_repeat) {
        shared_.peers.postpone(peer, now + TimingWheel::resolution);
        return;
    }
    if (shared_.peers[peer].handshake.on_timeout(now)) {
        shared_.peers.activate(peer);
    }
    if (acks_.on_timeout(peer, now) == AckHandler::Due::give_up) {
        lifecycle_.fail(peer, Cause::peer_out_of_memory, now);
        return;
    }
    search_.on_timeout(peer, now);
    rails_.on_timeout(peer, now);
    watch_.check_silence(peer, now);
    shared_.peers.arm(peer);
}

std::size_t Engine::poll_transmit(std::span<TxPacket> packets, Time now)
{
    submission_.on_transmit();
    const std::size_t built = transmit_.poll(packets, now);
    check();
    return built;
}

void Engine::return_unsent(std::span<const TxPacket> packets, Time now)
{
    transmit_.return_unsent(packets, now);
    check();
}

void Engine::on_tx_done() noexcept
{
    transmit_.on_burst_done();
}

bool Engine::take_revocation() noexcept
{
    return std::exchange(shared_.revocation_due, false);
}

void Engine::on_rx_drained(Time now) noexcept
{
    shared_.questions.on_rx_drained(now);
}

bool Engine::poll_liveness_question(LivenessQuestions::Question& question)
{
    return shared_.questions.take(question);
}

bool Engine::idle(Time now) const noexcept
{
    return !shared_.reader.has_deferred() && !shared_.peers.any_active() && !watch_.any_waiting() &&
           !shared_.outgoing.any_done() && !shared_.incoming.any_done() && !search_.any_event() &&
           shared_.device_failed_peer == no_index && shared_.reader.turn_of() == no_index &&
           shared_.questions.empty() && shared_.peers.next_timeout() > now;
}

bool Engine::all_read() const noexcept
{
    return shared_.caps.local == nullptr || shared_.caps.local->all_taken();
}

Time Engine::next_look(Time now) noexcept
{
    constexpr Duration interval = std::chrono::milliseconds(1);
    const bool passed_over = shared_.caps.local != nullptr && shared_.caps.local->any_passed_over();
    return std::exchange(shared_.awaits_readers, false) || passed_over ? now + interval : time_never;
}

Time Engine::next_timeout() const noexcept
{
    return shared_.peers.next_timeout();
}

// -- Closing and inspection -------------------------------------------------------------------

bool Engine::all_acknowledged() const noexcept
{
    return shared_.packets.in_use() == 0 && shared_.outgoing.drained();
}

void Engine::close(Time now)
{
    lifecycle_.close(now);
    resume(); // nothing of it is anybody's any more
    check();
}

std::size_t Engine::idle_peer_size() noexcept
{
    return sizeof(Peer);
}

void Engine::check() const
{
#ifndef NDEBUG
    constexpr std::uint32_t looks_per_entry = 32;
    if (entries_unchecked_ != 0) {
        --entries_unchecked_;
        return;
    }
    check_invariants();
    entries_unchecked_ = (shared_.peers.watermark() + shared_.packets.in_use() +
                          shared_.outgoing.watermark() + shared_.incoming.in_use()) /
                         looks_per_entry;
#endif
}

void Engine::check_invariants() const
{
    const Shared& s = shared_;
    std::uint64_t granted = 0;
    std::uint32_t refusing = 0;
    std::uint32_t wanting = 0;
    std::uint32_t held_messages = 0;
    for (std::uint32_t peer = 0; peer < s.peers.watermark(); ++peer) {
        if (!s.peers.live(peer)) {
            continue;
        }
        s.peers.check(peer);
        const Connection& connection = s.peers[peer].connection;
        connection.window.check(s.packets, peer);
        refusing += connection.receiver.refusing() ? 1U : 0U;
        std::uint32_t held = 0;
        for (std::uint32_t at = s.peers[peer].incoming.front(); at != no_index;
             at = IncomingPool::All::next(s.incoming, at)) {
            const RxMessage& message = s.incoming[at];
            SRD_CHECK(message.peer == peer);
            SRD_CHECK(message.received <= message.total);
            SRD_CHECK(!message.is<Answer>() || message.control.listed);
            SRD_CHECK(!message.grant.listed || (message.is_granted() && message.limit < message.total));
            held += message.stage == RxMessage::Stage::held ? 1U : 0U;
            wanting += message.grant.listed ? 1U : 0U;
            if (message.is_granted()) {
                SRD_CHECK(message.limit <= message.total && message.received <= message.limit);
                granted += message.limit - message.received;
            }
            if (const ReadReceive* read = message.as<ReadReceive>()) {
                SRD_CHECK(read->asked <= message.limit);
            }
        }
        SRD_CHECK(held == connection.receiver.held());
        held_messages += held;
    }
    s.outgoing.check([&](std::uint32_t peer) -> const SendQueue& { return s.peers[peer].connection.queue; });
    s.grants.check(granted, wanting);
    s.incoming.check();
    SRD_CHECK(held_messages == s.incoming.held_messages());
    SRD_CHECK(refusing == s.refusing_peers);
}

} // namespace srd
