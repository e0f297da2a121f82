// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an endpoint is bound to: address vector, completion queues, counters,
// event queue.
//
// Law: what is bound stays until the endpoint closes, so a pointer that was read
// here is good for the endpoint's life. Everything but counters is bound before
// the endpoint is enabled.
//
// Threading: binding is serialized by the application; counters, which may be
// bound to an enabled endpoint, are read and written under the endpoint's lock.
#pragma once

#include <cstdint>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_endpoint.h>

#include "completion/cq.hpp"
#include "endpoint/progress_unit.hpp"
#include "objects/av.hpp"

namespace srd {

struct Domain;
struct CompletionQueue;
struct CompletionCounter;
struct EventQueue;
class ProgressGroup;

/// fi_endpoint(3): reads count with fetching atomics, writes with the others. Null: nobody counts.
struct OperationCounters {
    CompletionCounter* send = nullptr;
    CompletionCounter* receive = nullptr;
    CompletionCounter* read = nullptr;
    CompletionCounter* write = nullptr;
    CompletionCounter* remote_read = nullptr;
    CompletionCounter* remote_write = nullptr;
};

class Bindings {
public:
    /// `caps`: of the endpoint.
    Bindings(Domain& domain, ProgressUnit& unit, AvObserver& observer, std::uint64_t caps) noexcept
        : domain_(domain), unit_(unit), observer_(observer), caps_(caps)
    {
    }

    /// fi_ep_bind(3): 0 or a negative fi_errno, with a line. Throws std::bad_alloc; then nothing has changed.
    int bind(::fid& object, std::uint64_t flags);
    /// What fi_enable() needs is there: 0 or a negative fi_errno, with a line.
    int check() const noexcept;
    /// The endpoint is enabled now.
    void announce() noexcept;
    /// On return nobody makes progress for the endpoint through a queue or counter.
    void leave_groups() noexcept;
    /// The rest of what close() undoes.
    void release() noexcept;

    /// Null before one is bound.
    AddressVector* vector() const noexcept { return av_; }
    /// Null if none is bound.
    EventQueue* event_queue() const noexcept { return event_queue_; }
    CompletionQueue* transmit_queue() const noexcept { return tx_cq_; }
    CompletionQueue* receive_queue() const noexcept { return rx_cq_; }
    /// An operation with these flags writes an entry when it succeeds (FI_SELECTIVE_COMPLETION).
    bool transmit_wants_entry(std::uint64_t flags) const noexcept
    {
        return tx_cq_ != nullptr && (!tx_selective_ || (flags & FI_COMPLETION) != 0);
    }
    bool receive_wants_entry(std::uint64_t flags) const noexcept
    {
        return !rx_selective_ || (flags & FI_COMPLETION) != 0;
    }
    /// CompletionQueue::is_in_use() of one of them.
    bool any_queue_in_use() const noexcept
    {
        return (rx_cq_ != nullptr && rx_cq_->is_in_use()) || (tx_cq_ != nullptr && tx_cq_->is_in_use());
    }
    const OperationCounters& counters() const noexcept SRD_REQUIRES(endpoint_lock) { return counters_; }

private:
    int bind_vector(AddressVector& av);
    int bind_queue(CompletionQueue& cq, std::uint64_t flags);
    int bind_counter(CompletionCounter& counter, std::uint64_t flags);
    int bind_events(EventQueue& events);
    template <typename Body>
    void for_each_group(Body&& body) noexcept;

    Domain& domain_;
    ProgressUnit& unit_;
    AvObserver& observer_;
    const std::uint64_t caps_;
    AddressVector* av_ = nullptr;
    EventQueue* event_queue_ = nullptr;
    CompletionQueue* tx_cq_ = nullptr;
    CompletionQueue* rx_cq_ = nullptr;
    bool tx_selective_ = false;
    bool rx_selective_ = false;
    OperationCounters counters_ SRD_GUARDED_BY(endpoint_lock);
    std::vector<CompletionCounter*> counters_bound_; ///< each once
};

} // namespace srd
