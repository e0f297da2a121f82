// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What acknowledgements and their absence mean: release, round-trip times,
// loss detection (RACK, RFC 8985, with a reordering window learned from the
// paths), tail probes and the backed-off timeout, receiver-not-ready, timers.
#include "engine_impl.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace srd {

namespace {

constexpr Duration rnr_backoff_first = std::chrono::microseconds(50);
constexpr Duration rnr_backoff_max = std::chrono::milliseconds(10);
constexpr Duration probe_delay_unknown = std::chrono::milliseconds(1); ///< no round trip measured yet
constexpr Duration hello_interval_max = std::chrono::milliseconds(200);
constexpr std::uint8_t reorder_factor_max = 8;
constexpr std::uint16_t reorder_rounds_kept = 64; ///< acknowledgements until the widened window narrows again
/// Probes and timeouts in a row before the interval starts to double.
constexpr std::uint8_t patient_probes = 3;

} // namespace

std::uint32_t Engine::Impl::window_bytes(const Peer& peer) const noexcept
{
    const std::uint32_t window =
        std::visit([](const auto& policy) { return policy.window_bytes(); }, peer.congestion);
    // More than the peer's socket holds would be lost whenever it looks away.
    return peer.peer_buffer == 0 ? window : std::min(window, std::max(peer.peer_buffer, 2 * peer.mtu));
}

/// The fixed order: stale, unsent, release, round trip, paths, congestion, loss, reschedule, one timer.
void Engine::Impl::on_ack(std::uint32_t index, const wire::AckBlock& block, const std::byte* words,
                          Time arrived, Time now)
{
    Peer& peer = peers[index];
    count.rx_acks.add();
    const std::uint32_t cumulative = block.cumulative;
    if (wire::sequence_distance(cumulative, peer.tx_una) < 0) {
        return; // stale: overtaken by a later one
    }
    if (wire::sequence_distance(cumulative, peer.tx_next) > 0) {
        count.rx_malformed.add(); // acknowledges what was never sent
        return;
    }
    if (wire::sequence_distance(block.message_next, peer.message_delivered) > 0 &&
        wire::sequence_distance(block.message_next, peer.message_next) <= 0) {
        peer.message_delivered = block.message_next;
    }

    learn_faults(peer, block.faults);
    release_suspects(index);

    AckSample sample = sample_of(peer, block, arrived, now); // before the echoed packet is released
    release_block(index, block, words, now, sample.acked_bytes);

    if (sample.rtt != Duration{}) {
        peer.rtt.add(sample.rtt, now, now - arrived + Duration(block.hold_ns));
        if (sample.marked) {
            note_bad_path(peer, sample.path, PathOutcome::marked, now);
        }
    }
    note_spurious(peer, block.duplicates);

    if (sample.acked_bytes != 0 || sample.rtt != Duration{}) {
        std::visit([&](auto& policy) { policy.on_ack(sample); }, peer.congestion);
    }
    if (sample.acked_bytes != 0) {
        peer.window_limited = false;
        detect_losses(index, now);
        peer.probe_count = 0;
        peer.probe_at = peer.in_flight.empty() ? time_never : now + probe_delay(peer);
    }
    if (sample.acked_bytes != 0) {
        peer.rnr_count = 0; // it takes something: it is worth asking soon
    }
    on_rnr(index, (block.flags & wire::ack_flag::receiver_not_ready) != 0, now);
    if (has_work(peer)) {
        activate(index);
    }
    arm(index);
}

/// What the block says of the packet it echoes.
AckSample Engine::Impl::sample_of(const Peer& peer, const wire::AckBlock& block, Time arrived, Time now) const
{
    AckSample sample{};
    sample.now = now;
    sample.in_flight = peer.in_flight_bytes;
    sample.window_limited = peer.window_limited;
    const bool echo = (block.flags & wire::ack_flag::echo) != 0;
    const std::uint32_t distance = block.echo_psn - peer.tx_una;
    if (echo && peer.window != no_index && distance < peer.tx_next - peer.tx_una) {
        const std::uint32_t at = windows[peer.window].at(block.echo_psn);
        if (at != no_index && slots[at].attempt == block.echo_attempt && slots[at].sent_at != Time{}) {
            const Duration rtt = arrived - slots[at].sent_at - Duration(block.hold_ns);
            sample.rtt = std::max(rtt, Duration(1));
            sample.path = slots[at].path;
            sample.marked = (block.flags & wire::ack_flag::marked) != 0;
        }
    }
    return sample;
}

/// Releases what the block acknowledges, cumulatively and one by one; adds to `acked_bytes`.
void Engine::Impl::release_block(std::uint32_t index, const wire::AckBlock& block, const std::byte* words,
                                 Time now, std::uint32_t& acked_bytes)
{
    Peer& peer = peers[index];
    if (peer.window == no_index) {
        return;
    }
    const std::uint32_t una_before = peer.tx_una;
    const std::uint32_t sent = peer.tx_next - una_before;
    const std::uint32_t prefix = block.cumulative - una_before;
    for (std::uint32_t i = 0; i < prefix; ++i) {
        release_acked(index, una_before + i, block, now, acked_bytes);
    }
    for (std::uint32_t word = 0; word < block.words; ++word) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, words + word * sizeof(bits), sizeof(bits));
        for (; bits != 0; bits &= bits - 1) {
            const std::uint32_t offset =
                prefix + word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
            if (offset >= sent) {
                break;
            }
            release_acked(index, una_before + offset, block, now, acked_bytes);
        }
    }
    const TxWindow& window = windows[peer.window];
    while (peer.tx_una != peer.tx_next && window.at(peer.tx_una) == no_index) {
        ++peer.tx_una;
    }
    if (peer.tx_una == peer.tx_next) {
        windows.release(peer.window);
        peer.window = no_index;
    }
}

/// Retransmissions that were in vain widen the reordering window; a long time without narrows it.
void Engine::Impl::note_spurious(Peer& peer, std::uint16_t duplicates)
{
    const auto spurious = static_cast<std::uint16_t>(duplicates - peer.remote_duplicates);
    if (spurious != 0 && spurious <= packet_window) {
        count.retransmits_spurious.add(spurious);
        peer.reorder_factor =
            std::min<std::uint8_t>(static_cast<std::uint8_t>(peer.reorder_factor * 2), reorder_factor_max);
        peer.reorder_rounds = reorder_rounds_kept;
    } else if (peer.reorder_factor > 1 && --peer.reorder_rounds == 0) {
        peer.reorder_factor = static_cast<std::uint8_t>(peer.reorder_factor / 2);
        peer.reorder_rounds = reorder_rounds_kept;
    }
    peer.remote_duplicates = duplicates;
}

void Engine::Impl::release_acked(std::uint32_t index, std::uint32_t psn, const wire::AckBlock& block,
                                 Time now, std::uint32_t& acked_bytes)
{
    Peer& peer = peers[index];
    TxWindow& window = windows[peer.window];
    const std::uint32_t slot_index = window.at(psn);
    if (slot_index == no_index) {
        return;
    }
    TxSlot& slot = slots[slot_index];
    const std::uint32_t bytes = slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
    switch (slot.state) {
    case TxSlot::State::in_flight:
        peer.in_flight.erase(slots, slot_index);
        peer.in_flight_bytes -= bytes;
        break;
    case TxSlot::State::lost:
        peer.lost.erase(slots, slot_index);
        break;
    case TxSlot::State::open:
    case TxSlot::State::ready:
    case TxSlot::State::acked:
        return; // was never sent: a forged acknowledgement
    }
    window.clear(psn);
    acked_bytes += bytes;
    // Karn: of a packet sent more than once, only the echo tells which copy arrived. Taking the
    // original's arrival for the latest copy's would make everything sent in between look lost.
    const bool echoed = (block.flags & wire::ack_flag::echo) != 0 && block.echo_psn == psn &&
                        block.echo_attempt == slot.attempt;
    const bool ambiguous = slot.attempt != 0 && !echoed;
    if (!ambiguous) {
        if (sent_after(slot, peer.rack_sent_at, peer.rack_psn)) {
            peer.rack_sent_at = slot.sent_at;
            peer.rack_psn = slot.psn;
        }
        peer.path_proven = peer.path_proven || slot.path == peer.burst_path;
        std::visit([&](auto& paths) { paths.feedback(slot.path, PathOutcome::good, now); }, peer.paths);
    }
    finish_slot(slot_index);
}

/// True if `slot` was sent after the packet that is described: packets of one burst have one time, and then
/// the higher psn was sent later (RFC 8985, 6.2).
bool Engine::Impl::sent_after(const TxSlot& slot, Time time, std::uint32_t psn) noexcept
{
    return slot.sent_at != time ? slot.sent_at > time : wire::sequence_distance(slot.psn, psn) > 0;
}

/// How long after its sending a packet counts as lost once a later one was acknowledged: the slowest
/// recent round trip over any path, and a margin that grows when retransmissions prove needless.
Duration Engine::Impl::loss_delay(const Peer& peer) const noexcept
{
    if (!peer.rtt.valid()) {
        return probe_delay_unknown;
    }
    const Duration reference = peer.rtt.recent_max();
    const Duration margin = std::max<Duration>(peer.rtt.min() / 2, std::chrono::microseconds(10));
    return reference + margin * peer.reorder_factor;
}

/// Tells the path policy of a mark or a loss, and counts what it makes of it.
void Engine::Impl::note_bad_path(Peer& peer, PathId path, PathOutcome outcome, Time now)
{
    std::visit(
        [&](auto& paths) {
            if constexpr (requires { paths.blackouts(); }) {
                const std::uint32_t switches = paths.switches();
                const std::uint32_t blackouts = paths.blackouts();
                paths.feedback(path, outcome, now);
                count.path_switches.add(paths.switches() - switches);
                count.path_blackouts.add(paths.blackouts() - blackouts);
            } else {
                paths.feedback(path, outcome, now);
            }
        },
        peer.paths);
}

void Engine::Impl::detect_losses(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    peer.loss_at = time_never;
    if (peer.rnr_blocked) {
        return; // refused packets look like lost ones
    }
    const Duration delay = loss_delay(peer);
    LossSample sample{};
    sample.now = now;
    sample.in_flight = peer.in_flight_bytes;
    for (std::uint32_t at = peer.in_flight.front(); at != no_index; at = peer.in_flight.front()) {
        const TxSlot& slot = slots[at];
        if (sent_after(slot, peer.rack_sent_at, peer.rack_psn)) {
            break;
        }
        if (slot.sent_at + delay > now) {
            peer.loss_at = slot.sent_at + delay;
            break;
        }
        sample.lost_bytes += slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
        note_bad_path(peer, slot.path, PathOutcome::lost, now);
        mark_lost(index, at);
    }
    if (sample.lost_bytes != 0) {
        sample.timeout = peer.probe_count >= 2 && peer.in_flight.empty();
        std::visit([&](auto& policy) { policy.on_loss(sample); }, peer.congestion);
        activate(index);
    }
}

void Engine::Impl::mark_lost(std::uint32_t index, std::uint32_t slot_index)
{
    Peer& peer = peers[index];
    TxSlot& slot = slots[slot_index];
    SRD_DCHECK(slot.state == TxSlot::State::in_flight);
    peer.in_flight.erase(slots, slot_index);
    peer.in_flight_bytes -= slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
    slot.state = TxSlot::State::lost;
    slot.repair = TxSlot::Repair::rack;
    peer.path_proven = peer.path_proven && slot.path != peer.burst_path;
    peer.lost.push_back(slots, slot_index);
}

/// The peer refuses (or takes again) messages. Nothing is lost and nothing is
/// congested: wait, then send everything again.
void Engine::Impl::on_rnr(std::uint32_t index, bool not_ready, Time now)
{
    Peer& peer = peers[index];
    if (not_ready && !peer.rnr_blocked) {
        if (peer.rnr_count == 0) {
            peer.rnr_since = now;
        }
        const Duration backoff = rnr_backoff_first * (1U << std::min<unsigned>(peer.rnr_count, 8));
        peer.rnr_count = static_cast<std::uint8_t>(std::min<unsigned>(peer.rnr_count + 1U, 255));
        peer.rnr_blocked = true;
        peer.rnr_at = now + std::min(backoff, rnr_backoff_max);
        count.tx_rnr_backoffs.add();
    } else if (!not_ready && peer.rnr_blocked) {
        peer.rnr_blocked = false;
        peer.rnr_at = time_never;
        peer.rnr_count = 0;
        resend_all(index);
    }
}

/// Control first, then the oldest first: the receiver's next message is in the oldest packet, and
/// anything else it can only refuse again.
void Engine::Impl::resend_all(std::uint32_t index)
{
    Peer& peer = peers[index];
    for (const bool control : {true, false}) {
        for (std::uint32_t psn = peer.tx_una; psn != peer.tx_next; ++psn) {
            const std::uint32_t at = windows[peer.window].at(psn);
            if (at == no_index || slots[at].control != control) {
                continue;
            }
            TxSlot& slot = slots[at];
            if (slot.state == TxSlot::State::in_flight) {
                peer.in_flight.erase(slots, at);
                slot.state = TxSlot::State::lost;
            } else if (slot.state == TxSlot::State::lost) {
                peer.lost.erase(slots, at);
            } else {
                continue;
            }
            slot.repair = TxSlot::Repair::refused;
            peer.lost.push_back(slots, at);
        }
    }
    peer.in_flight_bytes = 0;
    peer.loss_at = time_never;
    peer.probe_at = time_never;
    activate(index);
}

Duration Engine::Impl::probe_delay(const Peer& peer) const noexcept
{
    if (!peer.rtt.valid()) {
        return std::min(probe_delay_unknown * (1U << std::min<unsigned>(peer.probe_count, 8)),
                        tuning.rto_max);
    }
    // The first repetitions go over other paths: it is too soon to believe that the network is full.
    const unsigned doublings = std::max<unsigned>(peer.probe_count, patient_probes) - patient_probes;
    return peer.rtt.rto(tuning.rto_min, tuning.rto_max, doublings);
}

void Engine::Impl::repeat_packet(Peer& peer, Time now)
{
    const std::uint32_t at = peer.probe_count == 0 ? peer.in_flight.back() : peer.in_flight.front();
    TxSlot& slot = slots[at];
    std::visit([&](auto& paths) { paths.feedback(slot.path, PathOutcome::timed_out, now); }, peer.paths);
    peer.in_flight.erase(slots, at);
    peer.in_flight_bytes -= slot.length + static_cast<std::uint32_t>(sizeof(wire::PacketHeader));
    slot.state = TxSlot::State::lost;
    peer.path_proven = peer.path_proven && slot.path != peer.burst_path;
    slot.repair = peer.probe_count == 0 ? TxSlot::Repair::probe : TxSlot::Repair::timeout;
    peer.lost.push_front(slots, at);
}

/// Nothing has been acknowledged for a while. First the newest packet goes
/// again (its acknowledgement tells about all before it), then the oldest;
/// then, backing off, only the question whether the peer still knows us, until
/// anything is heard (on_heard): a host without the time to read would drown in
/// repetitions. The window is left alone: what acknowledgements then show to be
/// lost is for the congestion policy, and a peer that was merely busy is not.
void Engine::Impl::on_probe_timer(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    peer.probe_at = time_never;
    if (peer.in_flight.empty() || peer.rnr_blocked) {
        return;
    }
    if (peer.probe_count < fruitless_probes) {
        repeat_packet(peer, now);
    }
    if (peer.probe_count < 255) {
        ++peer.probe_count;
    }
    if (peer.probe_count >= fruitless_probes) {
        peer.hello_due = true; // answered by whoever lives at the address now
        peer.hello_is_reply = false;
    }
    peer.probe_at = now + probe_delay(peer);
    activate(index);
}

void Engine::Impl::on_timeout(Time now)
{
    now_ = now;
    wheel.expire(now, [&](std::uint32_t index) {
        peers[index].armed_at = time_never;
        on_peer_timer(index, now);
    });
}

void Engine::Impl::on_peer_timer(std::uint32_t index, Time now)
{
    Peer& peer = peers[index];
    if (peer.is_successor) {
        if (peer.liveness_at <= now) {
            peers[peer_of_route(peer.route)].successor = no_index; // it never proved itself
            drop_connection(index, Cause::never_answered);
            release_peer(index);
            return;
        }
        arm(index);
        return;
    }
    if (peer.gone_at <= now) {
        bury_peer(index, now);
        arm(index);
        return;
    }
    if (peer.ack_at <= now) {
        peer.ack_at = time_never;
        peer.ack_now = true;
        activate(index);
    }
    if (peer.hello_at <= now) {
        peer.hello_count = static_cast<std::uint8_t>(std::min<unsigned>(peer.hello_count + 1U, 16));
        peer.hello_due = true;
        peer.hello_is_reply = false;
        peer.hello_at = now + std::min<Duration>(std::chrono::milliseconds(1) * (1U << peer.hello_count),
                                                 hello_interval_max);
        activate(index);
    }
    if (peer.rnr_at <= now) {
        peer.rnr_at = time_never;
        peer.rnr_blocked = false;
        if (now - peer.rnr_since >= tuning.rnr_timeout) {
            fail_peer(index, Cause::peer_out_of_memory, now);
            return;
        }
        resend_all(index);
    }
    if (peer.loss_at <= now) {
        detect_losses(index, now);
    }
    if (peer.probe_at <= now) {
        on_probe_timer(index, now);
    }
    if (peer.pace_blocked && peer.pace_at <= now) {
        peer.pace_blocked = false;
        activate(index);
    }
    if (peer.liveness_at <= now) {
        check_silence(index, now);
    }
    arm(index);
}

/// Keeps one timer per peer, at or before the earliest of its deadlines. A
/// deadline that has moved back is noticed when the timer fires.
void Engine::Impl::arm(std::uint32_t index)
{
    Peer& peer = peers[index];
    const Time deadline =
        earliest(peer.ack_at, peer.hello_at, peer.rnr_at, peer.loss_at, peer.probe_at, peer.liveness_at,
                 peer.gone_at, peer.pace_blocked ? peer.pace_at : time_never);
    if (deadline < peer.armed_at) {
        peer.armed_at = deadline;
        wheel.arm(index, deadline);
    }
}

} // namespace srd
