// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Delay-based congestion control after Swift (SIGCOMM'20), with the signal that
// spraying needs (arXiv 2509.07907): not the latest round trip but the median
// over the latest ones of different paths. One bad path is the path selector's
// business; the window answers only to what most paths say.
//
//   delay    = median rtt - base, base being the windowed minimum
//   target   = target_delay * (1 + scaling), scaling = 1/sqrt(window in packets) - 1/10,
//              within 0..1: a small window tolerates more queue, so flows converge. Where
//              several interfaces share the window, it is each one's part that counts
//   growth   one packet per rtt, and one more for every further round without a mark and
//              below half the target, up to 16: the few that grow fast among marks would
//              crowd all others; none while a quarter of a round's bytes is marked. Below the
//              start, doubling: the start is chosen to fill a pipe of this class, and
//              doubling beyond it fills the queues of all paths before a mark comes back
//              (128 hosts, 64 paths: 300 drops and a worst flow at 59 %, against 0 and 75 %)
//   delay > target:  window *= 1 - 0.8 (delay - target) / delay
//   three quarters of a round's bytes marked (ECN), or half of two rounds' in a row: window *=
//            1 - fraction / 4. One round like the latter happens to one flow in seventy of a full fabric
//            (1024 hosts), and what it took away is not back before the flow ends: the slowest flow
//            is at 82 % instead of 74 %. In an incast nearly all is marked from the beginning
//   loss above 1/16 of a round: window *= 1 - fraction; less is random and ignored
//   no decrease by more than half, nor more than one per round trip
//   retransmission timeout: window_min, then doubling up to half of what it was
//
// A window grows only while it is what holds the sender back. A loss round has at
// least loss_round_packets, so that one random loss among few is not 1/16.
//
// Pacing: none while the window holds more than two packets. Acknowledgements
// clock the sender, and spacing bulk by timer would take away the batches of
// equal packets (GSO) that a software transport lives on. At one or two packets a
// round trip, bursts of many senders into one port are what remains of incast,
// so these few are spread over the round trip.
//
// Not done: windows below one packet (window_min rules); a separate target for
// delay inside the hosts (the peer's hold time is already out of the samples);
// draining the path from time to time to see its base: a flow that has only ever
// seen a full queue takes the queue for distance until a decrease shows it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include <srd/windowed_min.hpp>

#include "cc/congestion.hpp"

namespace srd {

class Swift {
public:
    explicit Swift(const CongestionLimits& limits) noexcept
        : target_delay_(static_cast<std::uint32_t>(
              std::clamp<std::int64_t>(limits.target_delay.count(), 1000, max_ns))),
          packet_size_(std::max(limits.packet_size, 1U)), window_min_(std::max(limits.window_min, 1U)),
          window_max_(std::max(limits.window_max, window_min_)),
          window_(std::clamp(limits.window_start, window_min_, window_max_)), threshold_(window_)
    {
        update_target();
    }

    void on_ack(const AckSample& ack) noexcept
    {
        if (ack.rtt > Duration::zero()) {
            note_rtt(ack);
        }
        acked_ += ack.acked_bytes;
        round_acked_ += ack.acked_bytes;
        round_marked_ += ack.marked_bytes;
        if (mostly(late_)) {
            if (ack.rtt > Duration::zero()) {
                back_off(ack.now);
            }
        } else if (ack.window_limited && std::uint64_t{round_marked_} * 4 <= round_acked_) {
            grow(ack.acked_bytes);
        }
        // The latest round trip counts too: not to linger in a delay that is over.
        if (ack.now - round_start_ >= Duration(std::min(smoothed_, ring_[head_]))) {
            end_round(ack.now);
        }
    }

    void on_loss(const LossSample& loss) noexcept
    {
        lost_ += loss.lost_bytes;
        if (!loss.timeout) {
            return;
        }
        if (window_ > static_cast<double>(window_min_)) { // a second timeout in a row says nothing new
            threshold_ = std::max(window_ / 2, static_cast<double>(window_min_));
            window_ = static_cast<double>(window_min_);
        }
        decrease_after_ = loss.now + Duration(smoothed_);
        clean_rounds_ = 0;
        acked_ = 0;
        lost_ = 0;
        round_acked_ = round_marked_ = 0;
        forget_samples();
        update_target();
    }

    /// The path's MTU has changed, or the number of interfaces (lanes) that share the window, each of which
    /// has a queue of its own. What fits the path has not.
    void set_packet_size(std::uint32_t bytes, std::uint32_t window_min, unsigned lanes) noexcept
    {
        packet_size_ = std::max(bytes, 1U);
        lanes_ = static_cast<std::uint8_t>(lanes) & 0x3fU;
        // What is acknowledged makes room where it came from, so that window_min for each lane leaves some of
        // them idle; twice that for each further one keeps them all busy.
        window_min_ = std::clamp(window_min * (2 * lanes - 1), 1U, window_max_);
        window_ = std::max(window_, static_cast<double>(window_min_));
        update_target();
    }

    std::uint32_t window_bytes() const noexcept
    {
        return std::clamp(static_cast<std::uint32_t>(window_), window_min_, window_max_);
    }

    Duration pacing_gap(std::uint32_t bytes) const noexcept
    {
        const std::uint32_t window = window_bytes();
        if (window > 2 * std::uint64_t{packet_size_}) {
            return Duration::zero();
        }
        return Duration(static_cast<std::int64_t>(std::uint64_t{bytes} * smoothed_ / window));
    }

private:
    static constexpr std::int64_t max_ns = 0x7fffffff;
    static constexpr unsigned ring_size = 16;
    static constexpr std::uint32_t loss_round_packets = 32;
    static constexpr std::uint32_t mark_round_packets = 16; ///< two packets of a small window say little
    static constexpr unsigned max_clean_rounds = 15;
    static constexpr PathId no_path = no_id<PathId>;

    // The ring holds at most one of a run of samples from one path: a burst on
    // one path is one opinion, and with a single path the signal is the latest.
    void note_rtt(const AckSample& ack) noexcept
    {
        const auto rtt = static_cast<std::uint32_t>(std::min<std::int64_t>(ack.rtt.count(), max_ns));
        base_.add(rtt, ack.now);
        if (smoothed_ == 0) {
            smoothed_ = rtt;
        } else {
            smoothed_ = static_cast<std::uint32_t>((std::uint64_t{smoothed_} * 7 + rtt) / 8);
        }

        if (ack.path != last_path_ || count_ == 0) {
            last_path_ = ack.path;
            head_ = static_cast<std::uint8_t>((head_ + 1U) % ring_size);
            count_ = static_cast<std::uint8_t>(std::min(count_ + 1U, ring_size));
        }
        ring_[head_] = rtt;
        fresh_ = static_cast<std::uint8_t>(std::min(fresh_ + 1U, ring_size));
        const unsigned bit = 1U << head_;
        late_ = static_cast<std::uint16_t>(rtt - base() > target_ ? late_ | bit : late_ & ~bit);
    }

    bool mostly(std::uint16_t mask) const noexcept
    {
        // Counting bits is a call on processors of the baseline, and almost always there are none.
        return mask != 0 && static_cast<unsigned>(std::popcount(mask)) * 2 > count_;
    }
    std::uint32_t base() const noexcept { return base_.value(); }

    // The median less the base. The samples in use are the last count_ of the ring, ending at head_.
    std::uint32_t delay() const noexcept
    {
        if (count_ == 1) { // one path: no median to look for, which costs a small packet 14 ns
            return ring_[head_] - std::min(base(), ring_[head_]);
        }
        std::array<std::uint32_t, ring_size> sorted{};
        for (unsigned i = 0; i < count_; ++i) {
            sorted[i] = ring_[(head_ + ring_size - i) % ring_size];
        }
        const auto middle = sorted.begin() + count_ / 2;
        std::nth_element(sorted.begin(), middle, sorted.begin() + count_);
        return *middle - std::min(base(), *middle); // the base may have been forgotten and found higher
    }

    // Keeps the samples of the round that ends, or the last eight: with few acknowledgements per round
    // trip the median would otherwise tell of round trips long ago.
    void age_samples() noexcept
    {
        const unsigned keep = std::max<unsigned>(fresh_, ring_size / 2);
        fresh_ = 0;
        for (; count_ > keep; --count_) {
            const unsigned oldest = 1U << ((head_ + ring_size + 1 - count_) % ring_size);
            late_ = static_cast<std::uint16_t>(late_ & ~oldest);
        }
    }

    void forget_samples() noexcept
    {
        count_ = 0;
        late_ = 0;
    }

    void grow(std::uint32_t acked_bytes) noexcept
    {
        const auto acked = static_cast<double>(acked_bytes);
        if (window_ < threshold_) {
            window_ = std::min(window_ + acked, std::max(threshold_, window_));
        } else {
            const auto packet = static_cast<double>(packet_size_);
            window_ += packet * static_cast<double>(1 + clean_rounds_) * acked / window_;
        }
        window_ = std::min(window_, static_cast<double>(window_max_));
        grown_ = true;
    }

    void back_off(Time now) noexcept
    {
        clean_rounds_ = 0;
        if (now < decrease_after_) {
            return;
        }
        const std::uint32_t queued = delay();
        if (queued > target_) {
            decrease(now, 1.0 - 0.8 * static_cast<double>(queued - target_) / queued);
        }
    }

    void decrease(Time now, double factor) noexcept
    {
        if (now < decrease_after_ || factor >= 1.0) {
            return;
        }
        window_ = std::max(window_ * std::max(factor, 0.5), static_cast<double>(window_min_));
        threshold_ = window_; // no more doubling
        decrease_after_ = now + Duration(smoothed_);
        forget_samples(); // the next decision is for what comes after this one
        update_target();
    }

    // Once per round trip.
    void end_round(Time now) noexcept
    {
        round_start_ = now;
        age_samples();
        if (count_ != 0 && round_marked_ == 0 && delay() < target_ / 2) {
            clean_rounds_ = static_cast<std::uint8_t>(std::min(clean_rounds_ + 1U, max_clean_rounds));
        } else {
            clean_rounds_ = 0;
        }
        if (round_acked_ >= std::uint64_t{packet_size_} * mark_round_packets) {
            const bool again = most_marked_;
            most_marked_ = std::uint64_t{round_marked_} * 2 > round_acked_;
            const bool nearly_all = std::uint64_t{round_marked_} * 4 > std::uint64_t{round_acked_} * 3;
            if ((most_marked_ && again) || nearly_all) {
                decrease(now, 1.0 - static_cast<double>(round_marked_) / (4.0 * round_acked_));
            }
            round_acked_ = round_marked_ = 0;
        }
        const std::uint64_t seen = std::uint64_t{acked_} + lost_;
        if (seen >= std::uint64_t{packet_size_} * loss_round_packets) {
            if (std::uint64_t{lost_} * 16 > seen) {
                clean_rounds_ = 0;
                decrease(now, 1.0 - static_cast<double>(lost_) / static_cast<double>(seen));
            }
            acked_ = 0;
            lost_ = 0;
        }
        if (grown_) { // whatever else changes the window does this itself
            grown_ = false;
            update_target();
        }
    }

    void update_target() noexcept
    {
        const double packets = std::max(window_ / static_cast<double>(packet_size_ * lanes_), 1.0);
        const double scaling = std::clamp(1.0 / std::sqrt(packets) - 0.1, 0.0, 1.0);
        target_ = target_delay_ + static_cast<std::uint32_t>(static_cast<double>(target_delay_) * scaling);
    }

    std::uint32_t target_delay_; // ns
    std::uint32_t packet_size_;
    std::uint32_t window_min_;
    std::uint32_t window_max_;
    double window_;            // bytes
    double threshold_;         // bytes: below, the window doubles every rtt
    std::uint32_t target_ = 0; // ns above base, with scaling
    std::uint32_t smoothed_ = 0;
    WindowedMin base_;
    Time decrease_after_{};
    Time round_start_{};
    std::uint32_t acked_ = 0; // bytes in this loss round
    std::uint32_t lost_ = 0;
    std::array<std::uint32_t, ring_size> ring_{};
    std::uint32_t round_acked_ = 0;  // bytes since the round began, ...
    std::uint32_t round_marked_ = 0; // ... and those of them that bore a mark
    std::uint16_t late_ = 0;         // which samples of the ring were over the target
    std::uint8_t count_ = 0;
    std::uint8_t head_ = 0;
    std::uint8_t fresh_ = 0; // samples in this round
    std::uint8_t clean_rounds_ = 0;
    bool grown_ : 1 = false;       // since the last round
    bool most_marked_ : 1 = false; // of the last round's bytes
    std::uint8_t lanes_ : 6 = 1;
    PathId last_path_ = no_path;
};

static_assert(CongestionControl<Swift>);
static_assert(sizeof(Swift) <= 160, "one per peer; an idle peer is to fit in 1 KiB");

} // namespace srd
