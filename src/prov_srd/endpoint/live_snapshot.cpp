// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What ProgressUnit shows to whoever watches (srd/live_stats.hpp).
#include <algorithm>
#include <chrono>
#include <new>
#include <string>

#include "common/say.hpp"
#include "endpoint/progress_unit.hpp"
#include "endpoint/receive.hpp"
#include "entry/params.hpp"
#include "progress/clock.hpp"

namespace srd {
namespace {

/// Puts the peer into the list, if it is among the first: in the order of how long they are waited for.
void insert(LiveSnapshot& snapshot, const SocketAddress& address, const PeerView& view) noexcept
{
    const auto begin = snapshot.peer.begin();
    const auto end = begin + snapshot.listed;
    const auto place = std::find_if(
        begin, end, [&](const LivePeer& other) { return other.view.waiting_us < view.waiting_us; });
    if (place == snapshot.peer.end()) {
        return;
    }
    snapshot.listed = std::min(snapshot.listed + 1, LiveSnapshot::max_peers);
    std::move_backward(place, begin + snapshot.listed - 1, begin + snapshot.listed);
    *place = {};
    place->address_size = std::min(address.bytes().size(), place->address.size());
    std::copy_n(address.bytes().begin(), place->address_size, place->address.begin());
    place->view = view;
}

} // namespace

void ProgressUnit::take_snapshot(LiveSnapshot& snapshot, Time now) const noexcept
{
    const bool sleeps = sleepers_ != 0 || called_at_ == Time{}; // in a call of ours, or served by a thread
    const Duration silent = sleeps ? Duration{} : now - called_at_;
    snapshot.silent_us =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(silent).count());
    snapshot.receives = receive_.posted_receives();
    const PacketIo& io = *io_;
    engine_->view_peers(now, [&](RouteId route, const PeerView& view) {
        ++snapshot.peers;
        snapshot.peers_waited += view.awaits != PeerView::Awaits::nothing;
        insert(snapshot, io.route_address(route), view);
    });
}

/// Keeps the last `records` events from now on. That no file can be had is said once, and not tried again
/// until somebody wants another number.
void ProgressUnit::trace(std::uint32_t records) noexcept
{
    if (records == traced_) {
        return;
    }
    traced_ = records;
    engine_->set_trace(nullptr);
    trace_.reset();
    if (records == 0) {
        return;
    }
    try {
        std::string error;
        const PacketIo& io = *io_;
        trace_ = TraceRing::make(
            records, io.local_address(),
            [&io](RouteId route) -> const SocketAddress& { return io.route_address(route); }, error);
        if (trace_ == nullptr) {
            say("FI_SRD_TRACE", ("cannot trace: " + error).c_str());
        }
    } catch (const std::bad_alloc&) { // then there is none
    }
    engine_->set_trace(trace_.get());
}

void ProgressUnit::show() noexcept
{
    const bool asked = live_.is_asked();
    const std::uint32_t traced = live_.traced(params().trace);
    if (!asked && traced == traced_seen_.load(std::memory_order_relaxed)) {
        return;
    }
    traced_seen_.store(traced, std::memory_order_relaxed);
    const UnitGuard guard(*this);
    if (enabled()) {
        trace(traced);
    }
    if (asked && enabled()) {
        LiveSnapshot snapshot;
        take_snapshot(snapshot, clock_now());
        live_.publish(snapshot);
    }
}

} // namespace srd
