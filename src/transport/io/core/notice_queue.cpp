// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/core/notice_queue.hpp"

#include <algorithm>

namespace srd {

namespace {

/// Of these two the last word about a route counts.
bool tells_the_way(RouteNotice::Kind kind) noexcept
{
    return kind == RouteNotice::Kind::same_host || kind == RouteNotice::Kind::network;
}

} // namespace

void NoticeQueue::push(RouteId route, RouteNotice::Kind kind, Time since) noexcept
{
    for (RouteNotice& notice : std::span(notices_.data(), count_)) {
        if (notice.route == route &&
            (notice.kind == kind || (tells_the_way(notice.kind) && tells_the_way(kind)))) {
            notice.kind = kind;
            notice.since = since;
            return;
        }
    }
    if (count_ < notices_.size()) {
        notices_[count_++] = {route, kind, since};
    }
}

std::size_t NoticeQueue::take(std::span<RouteNotice> notices) noexcept
{
    const std::size_t taken = std::min(count_, notices.size());
    std::copy_n(notices_.begin(), taken, notices.begin());
    std::copy(notices_.begin() + static_cast<std::ptrdiff_t>(taken),
              notices_.begin() + static_cast<std::ptrdiff_t>(count_), notices_.begin());
    count_ -= taken;
    return taken;
}

} // namespace srd
