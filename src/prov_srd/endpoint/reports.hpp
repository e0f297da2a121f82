// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How an endpoint tells the application of what has ended: entries of its
// completion queues, with the peer's address where libfabric wants it.
// Threading: the endpoint's lock.
#pragma once

#include <cstdint>

#include <rdma/fabric.h>

#include <srd/status.hpp>
#include <srd/types.hpp>

#include "endpoint/bindings.hpp"
#include "endpoint/peers.hpp"

namespace srd {

struct Completion;
struct CompletionError;

class Reports {
public:
    /// `self`, `caps`: of the endpoint.
    Reports(::fid& self, const Bindings& bindings, Peers& peers, std::uint64_t caps) noexcept
        : self_(self), bindings_(bindings), peers_(peers), caps_(caps)
    {
    }

    /// Writes `failure` to `queue` (null: nobody wants it); `route` is the peer's, or no_id.
    void failure(CompletionQueue* queue, CompletionError& failure, RouteId route) noexcept
        SRD_REQUIRES(endpoint_lock);
    /// Writes a completion of the receiving side that `from` has caused, with its source.
    void arrival(Completion& completion, RouteId from) noexcept SRD_REQUIRES(endpoint_lock);

    /// Writes an error event to the endpoint's event queue, if it has one: with the peer's address as
    /// err_data.
    void peer_lost(RouteId route, Cause cause) noexcept SRD_REQUIRES(endpoint_lock);

private:
    ::fid& self_;
    const Bindings& bindings_;
    Peers& peers_;
    const std::uint64_t caps_;
};

} // namespace srd
