// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What ProgressUnit shows to whoever watches (srd/live_stats.hpp).
#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <string>
#include <utility>

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

/// The former one.
std::unique_ptr<TraceRing> ProgressUnit::use_trace(std::unique_ptr<TraceRing> ring) noexcept
{
    const UnitGuard guard(*this);
    engine_->set_trace(ring.get());
    return std::exchange(trace_, std::move(ring));
}

/// That no file can be had is said once, and not tried again until somebody wants another number.
void ProgressUnit::follow_trace_order() noexcept
{
    const std::uint32_t records = live_.traced(params().trace);
    if (records == traced_) {
        return;
    }
    traced_ = records;
    use_trace(nullptr); // its memory is free before the next is taken
    if (records == 0) {
        return;
    }
    try {
        std::string error;
        auto ring = TraceRing::make(
            records, local_address(),
            [this](RouteId route)
                SRD_NO_LOCK_ANALYSIS -> const SocketAddress& { return io_->route_address(route); },
            error);
        if (ring == nullptr) {
            say("FI_SRD_TRACE", ("cannot trace: " + error).c_str());
        }
        use_trace(std::move(ring));
    } catch (const std::bad_alloc&) { // then there is none
    }
}

void ProgressUnit::profile(ProfileValues& sums) noexcept
{
    sums.add(counters());
    const UnitGuard guard(*this);
    sums.unexpected += receive_.unexpected_messages();
}

void ProgressUnit::show() noexcept
{
    if (!enabled()) {
        return;
    }
    follow_trace_order();
    if (live_.is_asked()) {
        const UnitGuard guard(*this);
        LiveSnapshot snapshot;
        take_snapshot(snapshot, clock_now());
        live_.publish(snapshot);
    }
}

} // namespace srd
