// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "io/core/packet_io.hpp"

namespace srd {

/// A bounded queue of notices without repetitions; of same_host and network it keeps the last word on a
/// route. One that does not fit is lost. Most are raised again by their cause (the next packet that is too
/// long, the next ICMP message, the next probe); same_host and network are not, and whoever misses one goes
/// on as before, which works either way.
class NoticeQueue {
public:
    void push(RouteId route, RouteNotice::Kind kind) noexcept;
    std::size_t take(std::span<RouteNotice> notices) noexcept;
    bool empty() const noexcept { return count_ == 0; }

private:
    std::array<RouteNotice, 128> notices_{};
    std::size_t count_ = 0;
};

} // namespace srd
