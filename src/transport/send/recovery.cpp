// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/recovery.hpp"

#include <algorithm>

namespace srd {

namespace {

/// A packet that is no more work than the question.
constexpr std::uint32_t question_bytes = sizeof(wire::PacketHeader) + sizeof(wire::HelloFrame);
/// So many may wait for answers before these are expected to wait for each other.
constexpr std::uint32_t small_crowd = 8;
constexpr std::uint8_t calm_rounds = 64; ///< acknowledgements without a silence until patience is halved
constexpr std::uint16_t reorder_rounds_kept = 64; ///< acknowledgements until the widened window narrows again

} // namespace

bool Recovery::sent_after_rack(const TxSlot& slot) const noexcept
{
    return slot.sent_at() != rack_sent_at_ ? slot.sent_at() > rack_sent_at_
                                           : wire::sequence_distance(slot.psn(), rack_psn_) > 0;
}

void Recovery::on_acked(const TxSlot& slot, bool ambiguous) noexcept
{
    if (!ambiguous && sent_after_rack(slot)) {
        rack_sent_at_ = slot.sent_at();
        rack_psn_ = slot.psn();
    }
}

void Recovery::on_duplicates(std::uint16_t duplicates, Counters& count) noexcept
{
    const auto spurious = static_cast<std::uint16_t>(duplicates - duplicates_);
    if (spurious != 0 && spurious <= packet_window) {
        count.retransmits_spurious.add(spurious);
        reorder_factor_ =
            std::min<std::uint8_t>(static_cast<std::uint8_t>(reorder_factor_ * 2), reorder_factor_max);
        reorder_rounds_ = reorder_rounds_kept;
    } else if (reorder_factor_ > 1 && --reorder_rounds_ == 0) {
        reorder_factor_ = static_cast<std::uint8_t>(reorder_factor_ / 2);
        reorder_rounds_ = reorder_rounds_kept;
    }
    duplicates_ = duplicates;
    SRD_DCHECK(reorder_factor_ >= 1 && reorder_factor_ <= reorder_factor_max);
}

void Recovery::on_progress(bool any_in_flight, const Tuning& tuning, std::uint32_t peers, Time now) noexcept
{
    if (probe_count_ != 0) {
        patience_ = std::min<std::uint8_t>(static_cast<std::uint8_t>(patience_ * 2), reorder_factor_max);
        calm_ = 0;
    } else if (patience_ > 1 && ++calm_ == calm_rounds) {
        patience_ = static_cast<std::uint8_t>(patience_ / 2);
        calm_ = 0;
    }
    probe_count_ = 0;
    hasty_ = false;
    probe_at_ = any_in_flight ? now + probe_delay(tuning, peers) : time_never;
}

bool Recovery::on_heard(bool any_in_flight, const Tuning& tuning, std::uint32_t peers, Time now) noexcept
{
    if (!is_fruitless() || !any_in_flight) {
        return false;
    }
    probe_count_ = fruitless_probes - 1;
    probe_at_ = now + probe_delay(tuning, peers);
    return true;
}

Recovery::ProbeResult Recovery::on_probe_timer(PacketWindow& window, PacketPool& pool, bool blocked,
                                               const Tuning& tuning, Time now) noexcept
{
    probe_at_ = time_never;
    if (!window.any_in_flight() || blocked) {
        return {};
    }
    const bool hasty = hasty_;
    hasty_ = false;
    if (hasty && window.bytes_in_flight() > hasty_bytes) {
        const Time due = pool[window.newest_in_flight()].sent_at() + probe_delay(tuning, pool.peers_in_use());
        if (due > now) { // more has followed
            probe_at_ = due;
            return {};
        }
    }
    ProbeResult result;
    if (!is_fruitless() || pool[window.oldest_in_flight()].wire_bytes() <= question_bytes) {
        const bool tail = probe_count_ == 0;
        result.slot = tail ? window.newest_in_flight() : window.oldest_in_flight();
        window.lose(pool, result.slot, tail ? TxSlot::Repair::probe : TxSlot::Repair::timeout, true);
    }
    if (probe_count_ < 255) {
        ++probe_count_;
    }
    result.probe = is_fruitless() ? Probe::ask : Probe::repeat;
    probe_at_ = now + probe_delay(tuning, pool.peers_in_use());
    return result;
}

/// How long after its sending a packet counts as lost once a later one was acknowledged: the slowest
/// recent answer over any path, and a margin that grows when retransmissions prove needless. At the end of
/// what is to be sent nothing but these packets is waited for: as soon as they are late, they go again.
Duration Recovery::loss_delay(bool tail) const noexcept
{
    if (!rtt_.valid()) {
        return delay_unknown;
    }
    const Duration delay = latest_answer();
    const Duration spread = std::max<Duration>(4 * rtt_.variance(), rtt_.min() / 4 * reorder_factor_);
    return tail ? std::min(delay, rtt_.smoothed() + spread) : delay;
}

Duration Recovery::latest_answer() const noexcept
{
    const Duration margin = std::max<Duration>(rtt_.min() / 2, std::chrono::microseconds(10));
    return rtt_.recent_max() + margin * reorder_factor_;
}

Duration Recovery::probe_delay(const Tuning& tuning, std::uint32_t peers) const noexcept
{
    if (!rtt_.valid()) {
        return std::min(delay_unknown * (1U << std::min<unsigned>(probe_count_, 8)), tuning.rto_max);
    }
    if (!is_fruitless()) {
        // Hosts that answer evenly need no patience. It comes back where repetitions were needless, and where
        // silence is frequent: there the network is full. Where many peers are spoken to at once, answers
        // wait for each other in both hosts, each for the first time.
        const std::uint32_t crowd = std::max(1U, peers / small_crowd);
        const std::uint32_t patience =
            std::min<std::uint32_t>(std::max(reorder_factor_, patience_) * crowd, 8);
        const int haste = hasty_ ? hasty_factor : 1;
        const Duration floor = tuning.rto_min * patience / (probe_count_ == 0 ? 4 * haste : 8);
        return rtt_.rto(std::max(std::min(floor, tuning.rto_min), latest_answer()), tuning.rto_max, 0);
    }
    return rtt_.rto(tuning.rto_min, tuning.rto_max, probe_count_ - fruitless_probes);
}

} // namespace srd
