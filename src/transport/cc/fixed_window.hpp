// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The baseline: a window that never changes. For measuring what congestion
// control costs or brings, and for networks with flow control of their own.
#pragma once

#include <algorithm>

#include "cc/congestion.hpp"

namespace srd {

class FixedWindow {
public:
    explicit FixedWindow(const CongestionLimits& limits) noexcept
        : window_(std::max(std::min(limits.window_start, limits.window_max), limits.window_min))
    {
    }

    void on_ack(const AckSample&) noexcept {}
    void on_loss(const LossSample&) noexcept {}
    void set_packet_size(std::uint32_t, std::uint32_t, unsigned) noexcept {}
    std::uint32_t window_bytes() const noexcept { return window_; }
    Duration pacing_gap(std::uint32_t) const noexcept { return Duration::zero(); }

private:
    std::uint32_t window_;
};

static_assert(CongestionControl<FixedWindow>);

} // namespace srd
