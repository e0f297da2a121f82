// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How an endpoint tells the application of what has ended: entries of its
// completion queues, with the peer's address where libfabric wants it.
// Threading: the endpoint's lock.
#pragma once

#include <cstdint>

#include <srd/types.hpp>

#include "endpoint/bindings.hpp"
#include "endpoint/peers.hpp"

namespace srd {

struct Completion;
struct CompletionError;

class Reports {
public:
    Reports(const Bindings& bindings, Peers& peers, std::uint64_t caps) noexcept
        : bindings_(bindings), peers_(peers), caps_(caps)
    {
    }

    /// Writes `failure` to `queue` (null: nobody wants it); `route` is the peer's, or no_id.
    void failure(CompletionQueue* queue, CompletionError& failure, RouteId route) noexcept
        SRD_REQUIRES(endpoint_lock);
    /// Writes a completion of the receiving side that `from` has caused, with its source.
    void arrival(Completion& completion, RouteId from) noexcept SRD_REQUIRES(endpoint_lock);

private:
    const Bindings& bindings_;
    Peers& peers_;
    const std::uint64_t caps_; ///< of the endpoint
};

} // namespace srd
