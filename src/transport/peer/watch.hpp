// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Watches over silent peers: has them asked, gives them up, and tells of those that are waited for in vain.
// What silence means is Liveness's law; how a connection ends is PeerLifecycle's.
#pragma once

#include <cstdint>

#include <srd/peer_view.hpp>
#include <srd/status.hpp>
#include <srd/time.hpp>
#include <srd/types.hpp>

#include "operation.hpp"
#include "peer/lifecycle.hpp"
#include "shared.hpp"

namespace srd {

class PeerWatch {
public:
    PeerWatch(Shared& shared, PeerLifecycle& lifecycle) noexcept : s_(shared), lifecycle_(lifecycle) {}

    /// The peer's timer has come: asks it, or gives it up.
    void check_silence(std::uint32_t peer, Time now);
    /// Somebody waits for messages of the peer behind `route`: see whether it is still there.
    void want_sign(RouteId route, Time now);

    bool any_waiting() const noexcept { return waiting_.peer != no_index; }
    /// The peer as people see it, who want to know what is waited for.
    PeerView view(std::uint32_t peer, Time now) const noexcept;

    /// Event::Kind::waiting; false: nothing to tell.
    bool poll_waiting(Event& event) noexcept;

private:
    /// Before this nobody needs to know, and then it is told again after twice the time.
    static constexpr Duration patience = std::chrono::seconds(10);

    struct Waiting {
        std::uint32_t peer = no_index;
        Duration silence{};
        Cause cause = Cause::none;
    };

    void tell_waiting(std::uint32_t peer, Time now) noexcept;
    Cause cause_of_silence(std::uint32_t peer, Time now) const noexcept;

    Shared& s_;
    PeerLifecycle& lifecycle_;
    Waiting waiting_;
    Time next_telling_{};
    Duration telling_interval_ = patience;
};

} // namespace srd
