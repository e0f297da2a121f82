// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How many granted bytes may be under way to us. A sender's congestion window knows its own share of a queue;
// where many send to us at once, the last switch before us holds what all of them have under way, and drops
// it before any of them has heard of it. We see that queue in the marks (ECN) of what arrives, and invite
// less:
//
//   one sender                      the most; its window does the rest
//   several, a round without marks  a step more, and twice that for each further such round
//   several, a round with marks     window *= 1 - share / 4, share being the smoothed share of marked bytes,
//                                   and not below the least
//
// A round is the arrival of as many bytes as may be under way. Where no switch marks, the most is reached in
// three. The least is what keeps a port of 100 Gbit/s busy while grants travel. Half as much drops nothing
// where 48 send to one, but where all send to all, grants lie with senders that are busy with others, and
// more of them must be out: 54 % of the ideal, not 62.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include <srd/intrusive_list.hpp>

namespace srd {

class GrantBudget {
public:
    /// `most`: bytes.
    explicit GrantBudget(std::uint64_t most) noexcept
        : most_(most), least_(std::min(least, most)), window_(std::min(start, most))
    {
    }

    /// May be under way now.
    std::uint64_t bytes() const noexcept { return several_ ? window_ : most_; }

    /// `peer` wants to send, or has sent, granted bytes.
    void on_sender(std::uint32_t peer) noexcept
    {
        if (peer != latest_) {
            mixed_ = latest_ != no_index;
            several_ = several_ || mixed_;
            latest_ = peer;
        }
    }
    /// Several send, and have had more under way than may be since they do.
    bool is_crowded() const noexcept { return crowded_ && several_; }

    /// `peer` has begun to send bytes without a grant; with them, `outstanding` are under way.
    void on_unscheduled(std::uint32_t peer, std::uint64_t outstanding) noexcept
    {
        on_sender(peer);
        crowded_ = crowded_ || outstanding > bytes();
    }
    /// Granted bytes have arrived. True: there may be more under way than before.
    bool on_arrived(std::uint32_t peer, std::uint64_t bytes, bool marked) noexcept
    {
        on_sender(peer);
        arrived_ += bytes;
        marked_ += marked ? bytes : 0;
        const std::uint64_t before = this->bytes();
        if (arrived_ < before) {
            return false;
        }
        end_round();
        return this->bytes() > before;
    }

private:
    static constexpr std::uint64_t start = 512U << 10;
    static constexpr std::uint64_t least = 384U << 10;
    static constexpr std::uint64_t step = 64U << 10;
    static constexpr unsigned fast = 3; ///< rounds after which growth doubles what several begin with
    static constexpr unsigned fastest = 6;

    void end_round() noexcept
    {
        const double share =
            static_cast<double>(std::exchange(marked_, 0)) / static_cast<double>(std::exchange(arrived_, 0));
        if (several_) {
            share_ += (share - share_) / 4;
            if (share == 0) {
                window_ = std::min(window_ + (step << clean_), most_);
                clean_ = std::min(clean_ + 1, fastest);
            } else {
                window_ = std::max(
                    static_cast<std::uint64_t>(static_cast<double>(window_) * (1 - share_ / 4)), least_);
                clean_ = 0;
            }
        }
        several_ = std::exchange(mixed_, false);
        crowded_ = crowded_ && several_;
    }

    std::uint64_t most_;
    std::uint64_t least_;
    std::uint64_t window_;      ///< of several senders together
    std::uint64_t arrived_ = 0; ///< in this round
    std::uint64_t marked_ = 0;  ///< of them
    double share_ = 0;          ///< marked, smoothed over rounds
    unsigned clean_ = fast;     ///< rounds without a mark, up to the fastest growth
    std::uint32_t latest_ = no_index;
    bool mixed_ = false;   ///< this round's bytes are of several senders
    bool several_ = false; ///< this one's or the last one's
    bool crowded_ = false; ///< more than bytes() were under way
};

} // namespace srd
