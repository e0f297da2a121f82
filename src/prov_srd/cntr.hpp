// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Counters of completed operations.
// Threading: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_eq.h>

#include "progress_group.hpp"

namespace srd {

struct Domain;

struct CompletionCounter {
    CompletionCounter(Domain& owner, fi_wait_obj wait_object, void* context);
    CompletionCounter(const CompletionCounter&) = delete;
    CompletionCounter& operator=(const CompletionCounter&) = delete;

    void succeeded() noexcept
    {
        value.fetch_add(1, std::memory_order_release);
        group.notify();
    }
    void failed() noexcept
    {
        errors.fetch_add(1, std::memory_order_release);
        group.notify();
    }

    fid_cntr fid{}; ///< must be first
    Domain& domain;
    const fi_wait_obj wait_obj;
    ProgressGroup group; ///< the endpoints that are counted here
    std::atomic<std::uint64_t> value{0};
    std::atomic<std::uint64_t> errors{0};
};

inline CompletionCounter& cntr_from(fid_cntr* cntr) noexcept
{
    return *static_cast<CompletionCounter*>(static_cast<void*>(cntr));
}

} // namespace srd
