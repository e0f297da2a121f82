// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "io/core/packet_io.hpp"

namespace srd {

/// A bounded queue of notices without repetitions. One that does not fit is lost; each kind is
/// raised again by its cause (the next oversized packet, the next ICMP message, the next probe).
class NoticeQueue {
public:
    void push(RouteId route, RouteNotice::Kind kind, Time since = {}) noexcept;
    std::size_t take(std::span<RouteNotice> notices) noexcept;
    bool empty() const noexcept { return count_ == 0; }

private:
    std::array<RouteNotice, 128> notices_{};
    std::size_t count_ = 0;
};

} // namespace srd
