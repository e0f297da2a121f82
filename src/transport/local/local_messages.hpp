// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Short messages between endpoints of one host. They need no packet, hence no psn, acknowledgement, window or
// timer: what was written into the memory that both ends see (LocalRoad) has arrived.
//
// Laws:
//  - Both roads share one sequence of messages, and both end in Placement. A message in memory waits there
//    for its turn, so order is kept whichever road its predecessors took.
//  - Only an established connection is written to, and each message names it. One of a connection that has
//    ended is rejected: a successor does not get it, and its writer does not take it for delivered.
//  - What the reader has taken was delivered, as have all messages before it: that moves the window of
//    messages, and opens fences, as an acknowledgement does (Shared::delivered_before). An acknowledgement
//    follows only where something from packets was held behind it.
//  - The memory may be full only for as long as its reader looks the other way. When it stays full, packets
//    are sent instead, and everything that the engine knows of silent peers applies.
#pragma once

#include <cstdint>

#include <srd/time.hpp>

#include "io/core/local_road.hpp"
#include "operation.hpp"
#include "peer/lifecycle.hpp"
#include "peer/watch.hpp"
#include "receive/placement.hpp"
#include "shared.hpp"

namespace srd {

class LocalMessages {
public:
    LocalMessages(Shared& shared, Placement& placement, PeerLifecycle& lifecycle, PeerWatch& watch) noexcept
        : s_(shared), placement_(placement), lifecycle_(lifecycle), watch_(watch)
    {
    }

    /// Engine::send_local has the contract.
    LocalRoad::Sent send(const Operation& operation);
    /// The next message in memory whose turn it is.
    bool poll(Event& event, Time now);
    /// Peers that do not read what was written for them may have gone.
    void look_for_readers(Time now);

private:
    bool is_open_to(const Peer& peer, const Operation& operation) const noexcept;

    Shared& s_;
    Placement& placement_;
    PeerLifecycle& lifecycle_;
    PeerWatch& watch_;
};

} // namespace srd
