// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Loss recovery of one connection. Four ways in which a packet comes to be sent
// again, each with its own counter:
//
//   rack      a packet sent later was acknowledged, and a reordering window has passed since (RACK,
//             RFC 8985). The window is learned from the paths: the slowest recent round trip over any
//             of them, and a margin that doubles when repetitions prove needless
//   probe     nothing was acknowledged for longer than answers take: the newest packet goes again, for its
//             acknowledgement tells about all before it (TLP)
//   timeout   the same after that: the oldest. The first few go over other paths and follow quickly: it is
//             too soon to believe that the network is full
//   refused   the receiver was not ready (ReceiverNotReady)
//
// How long answers take is what the two hosts have shown: the estimate of RFC 6298,
// the slowest recent one and its margin, and a fraction of Tuning::rto_min that
// grows to the whole where repetitions prove needless, and where they are often needed:
// a full network is not helped by more of them (127 into one port: 32,000 drops, not 14,000).
//
// After `fruitless_probes` in a row questions go out until something is heard, at
// intervals that double from rto_min, and with them only packets as short as they are:
// a host without the time to read would drown in repetitions.
//
// Not decided here: what a loss means for the congestion window, and over which
// path the repetition goes. A timeout does not shrink the window: what
// acknowledgements then show to be lost is for the congestion policy, and a peer
// that was merely busy is not congestion.
#pragma once

#include <cstdint>

#include <srd/counters.hpp>
#include <srd/limits.hpp>
#include <srd/time.hpp>

#include "cc/congestion.hpp"
#include "send/packet_window.hpp"
#include "send/rtt.hpp"

namespace srd {

class Recovery {
public:
    /// Repetitions without an answer after which questions go out until something is heard.
    static constexpr std::uint8_t fruitless_probes = 4;
    /// Of a probe, and of the reordering window, while no round trip is measured.
    static constexpr Duration delay_unknown = std::chrono::milliseconds(1);
    /// As many times longer than others a packet may take whose way has a queue of its own.
    static constexpr int queue_patience = 4;

    /// A lone packet that is no longer goes again sooner than others: a request or a grant, for which a whole
    /// flow waits while its first path is dead, costs next to nothing to repeat.
    static constexpr std::uint32_t hasty_bytes = 256;
    static constexpr int hasty_factor = 4;

    explicit Recovery(const FirstNumbers& first = {}) noexcept : duplicates_(first.duplicates) {}

    const RttEstimator& rtt() const noexcept { return rtt_; }
    /// The latest repetitions were all in vain: what goes out now takes any path.
    bool is_fruitless() const noexcept { return probe_count_ >= fruitless_probes; }
    unsigned repeats_in_vain() const noexcept { return probe_count_; }
    Time next_timeout() const noexcept { return earliest(loss_at_, probe_at_); }
    bool loss_due(Time now) const noexcept { return loss_at_ <= now; }
    bool probe_due(Time now) const noexcept { return probe_at_ <= now; }

    /// An echoed round trip; `held`: the time, taken out of it, for which the packet and its acknowledgement
    /// lay with their readers.
    void add_rtt(Duration sample, Time now, Duration held) noexcept { rtt_.add(sample, now, held); }

    /// The round trip that the peer has measured, in ns, 0 if it has not: better than nothing.
    void on_told_rtt(std::uint64_t ns, Time now) noexcept
    {
        if (!rtt_.valid()) {
            rtt_.add(Duration(static_cast<std::int64_t>(ns)), now);
        }
    }

    /// How long the slowest of the packets that an acknowledgement tells of took, with its wait for the
    /// others: one that takes as long is not lost.
    void add_response(Duration response) noexcept { rtt_.add_response(response); }

    /// `slot` is acknowledged. Ambiguous (Karn): it was sent more than once, and only an echo could tell
    /// which copy arrived. Taking the original's arrival for the latest copy's would make everything sent in
    /// between look lost.
    void on_acked(const TxSlot& slot, bool ambiguous) noexcept;

    /// AckBlock::duplicates: retransmissions that were in vain widen the reordering window; a long time
    /// without any narrows it.
    void on_duplicates(std::uint16_t duplicates, Counters& count) noexcept;

    // `peers`: PacketPool::peers_in_use().

    /// After an acknowledgement that released something.
    void on_progress(bool any_in_flight, const Tuning& tuning, std::uint32_t peers, Time now) noexcept;

    /// A packet has been sent: the probe timer runs from the first. `bytes_in_flight`: with it.
    void on_sent(std::uint32_t bytes_in_flight, const Tuning& tuning, std::uint32_t peers, Time now) noexcept
    {
        if (probe_at_ == time_never) {
            hasty_ = bytes_in_flight <= hasty_bytes;
            probe_at_ = now + probe_delay(tuning, peers);
        }
    }

    /// Something came from a peer that was asked questions only: one more repetition, unless the
    /// acknowledgement follows on the heels of this. True: the timer has changed.
    bool on_heard(bool any_in_flight, const Tuning& tuning, std::uint32_t peers, Time now) noexcept;

    /// Moves what counts as lost to the lost list, telling `on_lost(slot)` of each. Nothing is lost to a peer
    /// that refuses messages (`blocked`): refused packets only look like it. `tail`: nothing else is to be
    /// sent. `may_be_queued(slot)`: what was acknowledged tells nothing of that packet, which has gone
    /// through another interface; it gets `queue_patience` times as long.
    template <typename MayBeQueued, typename OnLost>
    LossSample detect(PacketWindow& window, PacketPool& pool, bool blocked, bool tail, Time now,
                      MayBeQueued&& may_be_queued, OnLost&& on_lost)
    {
        LossSample sample{};
        sample.now = now;
        sample.in_flight = window.bytes_in_flight();
        loss_at_ = time_never;
        if (blocked) {
            return sample;
        }
        const Duration delay = loss_delay(tail);
        for (std::uint32_t at = window.oldest_in_flight(), next = at; at != no_index; at = next) {
            const TxSlot& slot = pool[at];
            next = PacketWindow::next_in_flight(pool, at);
            if (sent_after_rack(slot)) {
                break;
            }
            if (slot.sent_at() + delay > now) {
                loss_at_ = earliest(loss_at_, slot.sent_at() + delay);
                break;
            }
            if (slot.sent_at() + queue_patience * delay > now && may_be_queued(slot)) {
                loss_at_ = earliest(loss_at_, slot.sent_at() + queue_patience * delay);
                continue;
            }
            sample.lost_bytes += slot.wire_bytes();
            on_lost(slot);
            window.lose(pool, at, TxSlot::Repair::rack, false);
        }
        sample.timeout = probe_count_ >= 2 && !window.any_in_flight();
        return sample;
    }

    /// What the probe timer makes of the silence.
    enum class Probe : std::uint8_t {
        nothing, ///< nothing is in flight
        repeat,  ///< `slot` is on the lost list, to go first
        ask,     ///< a question goes out
    };
    struct ProbeResult {
        Probe probe = Probe::nothing;
        std::uint32_t slot =
            no_index; ///< repeated, if any (also with Probe::ask: the last long one, and short ones)
    };
    ProbeResult on_probe_timer(PacketWindow& window, PacketPool& pool, bool blocked, const Tuning& tuning,
                               Time now) noexcept;

    /// Everything is sent anew: the timers start over with it.
    void on_resend_all() noexcept { loss_at_ = probe_at_ = time_never; }

private:
    static constexpr std::uint8_t reorder_factor_max = 8;

    Duration loss_delay(bool tail) const noexcept;
    /// By then whatever has arrived is acknowledged, as far as the latest round trips tell.
    Duration latest_answer() const noexcept;
    Duration probe_delay(const Tuning& tuning, std::uint32_t peers) const noexcept;
    /// True if `slot` was sent after the latest packet known to have arrived: packets of one burst have one
    /// time, and then the higher psn was sent later (RFC 8985, 6.2).
    bool sent_after_rack(const TxSlot& slot) const noexcept;

    Time rack_sent_at_{};          ///< latest sent_at of any acknowledged packet
    std::uint32_t rack_psn_ = 0;   ///< the highest of those sent then
    std::uint8_t probe_count_ = 0; ///< probes and timeouts since the last progress
    std::uint8_t reorder_factor_ = 1;
    std::uint8_t patience_ = 1; ///< doubled by every silence that needed a probe
    bool hasty_ : 1 = false;    ///< the timer was set for a lone short packet
    std::uint8_t calm_ : 7 = 0; ///< acknowledgements since the latest of these
    std::uint16_t reorder_rounds_ = 0;
    std::uint16_t duplicates_;  ///< AckBlock::duplicates as last seen
    Time loss_at_ = time_never; ///< a packet will be lost if not acknowledged by then
    Time probe_at_ = time_never;
    RttEstimator rtt_;
};

} // namespace srd
