// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/ack_handler.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace srd {

void AckHandler::on_ack(std::uint32_t index, const wire::AckBlock& block, const wire::MarkBlock& marks,
                        const std::byte* words, Time arrived, Time now)
{
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    s_.count.rx_acks.add();
    const std::uint32_t cumulative = block.cumulative;
    if (wire::sequence_distance(cumulative, connection.window.una()) < 0) {
        return; // stale: overtaken by a later one
    }
    if (wire::sequence_distance(cumulative, connection.window.next()) > 0) {
        s_.count.rx_malformed.add(); // acknowledges what was never sent
        return;
    }
    connection.queue.on_delivered(block.message_next);
    connection.queue.faults().learn(block.faults);
    s_.outgoing.release_suspects(connection.queue);

    Told told{block, marks.first, marks.bits};
    AckSample sample = sample_of(connection, told, arrived, now); // before the echoed packet is released
    release_block(index, told, words, sample);

    if (sample.rtt != Duration{}) {
        connection.recovery.add_rtt(sample.rtt, now, now - arrived + Duration(block.hold_ns));
        if (peer.rails.several()) {
            s_.way_times[index].on_sample(peer.rails.way_of(sample.path), sample.rtt, now);
        }
    }
    if (told.oldest != time_never) {
        connection.recovery.add_response(arrived - Duration(block.hold_ns) - told.oldest);
    }
    connection.recovery.on_duplicates(block.duplicates, s_.count);

    connection.congestion.on_ack(sample);
    if (sample.acked_bytes != 0) {
        detect_losses(index, now);
        connection.recovery.on_progress(connection.window.any_in_flight(), s_.tuning,
                                        s_.packets.peers_in_use(), now);
        connection.refusal.on_progress();
    }
    if (connection.refusal.on_ack(block.flags, s_.count, now)) {
        resend_all(index);
    }
    if (peer.has_work()) {
        s_.peers.activate(index);
    }
    s_.peers.arm(index);
}

/// What the block says of the packet it echoes.
AckSample AckHandler::sample_of(const Connection& connection, const Told& told, Time arrived,
                                Time now) const noexcept
{
    const wire::AckBlock& block = told.block;
    AckSample sample{};
    sample.now = now;
    sample.in_flight = connection.window.bytes_in_flight();
    const PacketWindow& window = connection.window;
    const bool echo = (block.flags & wire::ack_flag::echo) != 0;
    if (!echo || block.echo_psn - window.una() >= window.next() - window.una()) {
        return sample;
    }
    const std::uint32_t at = window.find_sent(s_.packets, block.echo_psn);
    // What the receiver has read in memory took time that says nothing about the way.
    if (at != no_index && s_.packets[at].attempt() == block.echo_attempt && !s_.packets[at].named) {
        const TxSlot& slot = s_.packets[at];
        const Duration rtt = arrived - slot.sent_at() - Duration(block.hold_ns);
        sample.rtt = std::max(rtt, Duration(1));
        sample.path = slot.path;
    }
    return sample;
}

/// Releases what the block acknowledges, cumulatively and one by one, and counts it in `sample`.
void AckHandler::release_block(std::uint32_t index, Told& told, const std::byte* words, AckSample& sample)
{
    const wire::AckBlock& block = told.block;
    PacketWindow& window = s_.peers[index].connection.window;
    if (window.empty()) {
        return;
    }
    const std::uint32_t una = window.una();
    const std::uint32_t sent = window.next() - una;
    const std::uint32_t prefix = block.cumulative - una;
    for (std::uint32_t i = 0; i < prefix; ++i) {
        release(index, una + i, told, sample);
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
            release(index, una + offset, told, sample);
        }
    }
    window.advance(s_.packets);
}

void AckHandler::release(std::uint32_t index, std::uint32_t psn, Told& told, AckSample& sample)
{
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    const wire::AckBlock& block = told.block;
    const std::uint32_t at = connection.window.release(s_.packets, psn);
    if (at == no_index) {
        return;
    }
    const TxSlot& slot = s_.packets[at];
    sample.acked_bytes += slot.wire_bytes();
    const bool echoed = (block.flags & wire::ack_flag::echo) != 0 && block.echo_psn == psn &&
                        block.echo_attempt == slot.attempt();
    const bool ambiguous = slot.attempt() != 0 && !echoed;
    connection.recovery.on_acked(slot, ambiguous);
    connection.trains.on_acked(slot.in_train);
    if (!ambiguous) {
        told.oldest = std::min(told.oldest, slot.sent_at());
        if (peer.rails.several()) [[unlikely]] {
            s_.way_times[index].on_arrived(peer.rails.way_of(slot.path), slot.sent_at());
        }
    }
    if (told.marked(psn)) {
        connection.ack_clock.on_mark();
        sample.marked_bytes += slot.wire_bytes();
        if (!ambiguous) {
            connection.paths.on_bad(slot.path, PathOutcome::marked, s_.count, sample.now);
        }
    } else if (!ambiguous) {
        connection.paths.on_good(slot.path, sample.now);
    }
    s_.outgoing.packet_acked(connection.queue, slot);
    s_.packets.release(at);
}

/// An interface, a cable or a switch that is gone takes all paths of its ways with it: they are not given up
/// one by one.
void AckHandler::on_lost_way(std::uint32_t index, PathId path, Time now)
{
    Peer& peer = s_.peers[index];
    if (!peer.rails.several()) [[likely]] {
        return;
    }
    const std::uint8_t way = peer.rails.way_of(path);
    s_.way_times[index].on_lost(way, now);
    if (s_.way_times[index].is_dead(way) && peer.rails.close(way, now)) {
        peer.connection.paths.set_open(peer.rails.ways(), peer.rails.open());
        s_.trace_event(TraceKind::path_dark, peer, static_cast<std::uint32_t>(index_of(path)));
        s_.peers.arm(index);
    }
}

void AckHandler::on_lost_path(std::uint32_t index, PathId path, Time now)
{
    Peer& peer = s_.peers[index];
    on_lost_way(index, path, now);
    const std::uint64_t blackouts = s_.count.path_blackouts.value();
    const std::uint64_t switches = s_.count.path_switches.value();
    peer.connection.paths.on_bad(path, PathOutcome::lost, s_.count, now);
    if (s_.count.path_blackouts.value() != blackouts) {
        s_.trace_event(TraceKind::path_dark, peer, static_cast<std::uint32_t>(index_of(path)));
    } else if (s_.count.path_switches.value() != switches) {
        s_.trace_event(TraceKind::path_avoided, peer, static_cast<std::uint32_t>(index_of(path)));
    }
}

void AckHandler::detect_losses(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    const bool tail = !connection.window.anything_to_send() && !connection.queue.any_waiting() &&
                      !connection.queue.any_granted();
    const LossSample sample = connection.recovery.detect(
        connection.window, s_.packets, connection.refusal.blocked(), tail, now,
        [&](const TxSlot& slot) {
            return peer.rails.several() &&
                   !s_.way_times[index].has_passed(peer.rails.way_of(slot.path), slot.sent_at());
        },
        [&](const TxSlot& slot) {
            on_lost_path(index, slot.path, now);
            connection.trains.on_lost(slot.in_train, now);
        });
    if (sample.lost_bytes != 0) {
        connection.congestion.on_loss(sample);
        s_.peers.activate(index);
    }
}

/// The peer takes messages again, or perhaps does.
void AckHandler::resend_all(std::uint32_t index)
{
    Connection& connection = s_.peers[index].connection;
    connection.window.resend_all(s_.packets, TxSlot::Repair::refused);
    connection.recovery.on_resend_all();
    s_.peers.activate(index);
}

AckHandler::Due AckHandler::on_timeout(std::uint32_t index, Time now)
{
    Peer& peer = s_.peers[index];
    Connection& connection = peer.connection;
    switch (connection.refusal.on_timeout(s_.tuning, now)) {
    case ReceiverNotReady::Due::nothing:
        break;
    case ReceiverNotReady::Due::resend:
        resend_all(index);
        break;
    case ReceiverNotReady::Due::give_up:
        return Due::give_up;
    }
    if (connection.recovery.loss_due(now)) {
        detect_losses(index, now);
    }
    if (connection.recovery.probe_due(now)) {
        const Recovery::ProbeResult result = connection.recovery.on_probe_timer(
            connection.window, s_.packets, connection.refusal.blocked(), s_.tuning, now);
        if (result.slot != no_index) {
            const PathId path = s_.packets[result.slot].path;
            connection.paths.on_timed_out(path, s_.count, now);
            on_lost_way(index, path, now);
        }
        if (result.probe == Recovery::Probe::ask) {
            // Answered by whoever lives at the address now. Where most paths are dead in both directions, two
            // at a time find each other too late.
            const unsigned rounds = connection.recovery.repeats_in_vain() - Recovery::fruitless_probes;
            peer.handshake.ask_over(2U << std::min(rounds, 2U));
        } else if (!peer.handshake.confirmed()) {
            peer.handshake.ask();
        }
        if (result.probe != Recovery::Probe::nothing) {
            s_.peers.activate(index);
        }
    }
    if (connection.congestion.on_timeout(now)) {
        s_.peers.activate(index);
    }
    return Due::nothing;
}

} // namespace srd
