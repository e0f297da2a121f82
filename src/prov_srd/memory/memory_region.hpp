// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_mr_reg and its relatives: fid_mr objects over the domain's MrTable.
//
// Lifetime: an endpoint gets a MemoryRegion from MrTable::resolve() under its lock, and may use it until it
// leaves the lock. fi_close() takes the key out of the table first and then passes every endpoint's lock.
#pragma once

#include <atomic>
#include <cstdint>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <srd/iov.hpp>

namespace srd {

struct Domain;
struct CompletionCounter;

struct MemoryRegion {
    MemoryRegion(Domain& owner, void* context);
    ~MemoryRegion();
    MemoryRegion(const MemoryRegion&) = delete;
    MemoryRegion& operator=(const MemoryRegion&) = delete;

    int bind(::fid& object, std::uint64_t flags);
    /// From the return on no peer touches the memory.
    void close() noexcept;

    fid_mr fid{}; ///< must be first
    Domain& domain;
    DeviceId device = DeviceId::host; ///< whose memory it is; set before peers may know the key
    /// fi_mr_bind: count what peers have done here. Set while they may already be at it.
    std::atomic<CompletionCounter*> remote_reads{nullptr};
    std::atomic<CompletionCounter*> remote_writes{nullptr};
};

/// The table for fid_domain.mr.
extern fi_ops_mr memory_region_ops;

} // namespace srd
