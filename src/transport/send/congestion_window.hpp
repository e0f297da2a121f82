// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How much one peer may be sent now: the congestion window and the pacing of
// its policy (cc/), bounded by what the peer can queue. Nothing else may change
// the window.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <variant>

#include <srd/limits.hpp>
#include <srd/time.hpp>

#include "cc/congestion.hpp"
#include "cc/fixed_window.hpp"
#include "cc/swift.hpp"

namespace srd {

class CongestionWindow {
public:
    /// A pacing gap shorter than this is not waited for: it is cheaper to send a little early than to wake
    /// for it.
    static constexpr Duration pace_slack = std::chrono::microseconds(10);

    CongestionWindow() noexcept = default;
    /// `mtu`: bytes of a full packet to the peer. `host_delay`: IoCaps::host_delay.
    CongestionWindow(const Tuning& tuning, Duration host_delay, std::uint32_t mtu)
    {
        const CongestionLimits limits{
            .window_start = std::max(tuning.window_start, 4 * mtu),
            .window_min = 2 * mtu,
            .window_max = std::max(tuning.window_max, 4 * mtu),
            .packet_size = mtu,
            .target_delay = tuning.target_delay + host_delay,
        };
        if (tuning.congestion == CongestionPolicy::swift) {
            policy_ = Swift(limits);
        } else {
            policy_ = FixedWindow(limits);
        }
    }

    /// What leads to the peer carries packets of so many bytes from now on, and `lanes` at the same time.
    void set_packet_size(std::uint32_t mtu, unsigned lanes) noexcept
    {
        std::visit([&](auto& policy) { policy.set_packet_size(mtu, 2 * mtu, lanes); }, policy_);
    }

    /// The peer's hello: bytes that it can queue; 0: it does not know. More than that would be lost whenever
    /// it looks away.
    void set_peer_buffer(std::uint32_t bytes) noexcept { peer_buffer_ = bytes; }

    /// Bytes that may be in flight.
    std::uint32_t bytes(std::uint32_t mtu) const noexcept
    {
        const std::uint32_t window =
            std::visit([](const auto& policy) { return policy.window_bytes(); }, policy_);
        return peer_buffer_ == 0 ? window : std::min(window, std::max(peer_buffer_, 2 * mtu));
    }

    /// May another packet go, with so many bytes in flight? One may whenever nothing is.
    bool open(std::uint32_t bytes_in_flight, bool any_in_flight, std::uint32_t mtu, Time now) noexcept
    {
        if (any_in_flight && bytes_in_flight + mtu > bytes(mtu)) {
            limited_ = true;
            return false;
        }
        if (pace_at_ > now + pace_slack) {
            pacing_ = true;
            paced_ = true;
            return false;
        }
        return true;
    }
    void on_sent(std::uint32_t bytes, Time now) noexcept
    {
        const Duration gap =
            std::visit([&](const auto& policy) { return policy.pacing_gap(bytes); }, policy_);
        if (gap != Duration{}) {
            pace_at_ = std::max(pace_at_, now) + gap;
        }
    }
    /// `sample.window_limited` is filled in here.
    void on_ack(AckSample& sample) noexcept
    {
        sample.window_limited = limited_ || paced_;
        if (sample.acked_bytes != 0 || sample.rtt != Duration{}) {
            std::visit([&](auto& policy) { policy.on_ack(sample); }, policy_);
        }
        if (sample.acked_bytes != 0) {
            limited_ = false;
            paced_ = false;
        }
    }
    void on_loss(const LossSample& sample) noexcept
    {
        std::visit([&](auto& policy) { policy.on_loss(sample); }, policy_);
    }

    /// True while an acknowledgement or the pacing timer must come first.
    bool holds_back(Time now) const noexcept { return limited_ || (pacing_ && pace_at_ > now); }
    Time next_timeout() const noexcept { return pacing_ ? pace_at_ : time_never; }
    /// True if packets that pacing held back may go.
    bool on_timeout(Time now) noexcept
    {
        return pacing_ && pace_at_ <= now ? std::exchange(pacing_, false) : false;
    }

private:
    using Policy = std::variant<Swift, FixedWindow>;
    static_assert(CongestionControl<Swift> && CongestionControl<FixedWindow>);

    bool limited_ = false; ///< it has held us back since the last acknowledgement
    bool pacing_ = false;  ///< something waits for pace_at_
    bool paced_ = false;   ///< it has waited since the last acknowledgement: only a small window paces
    std::uint32_t peer_buffer_ = 0;
    Time pace_at_{}; ///< nothing new before
    Policy policy_{FixedWindow(CongestionLimits{})};
};

} // namespace srd
