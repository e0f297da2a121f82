// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A domain: what its endpoints, address vectors, queues, counters and memory
// regions share. Lifetime: as fabric.hpp says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <srd/address.hpp>
#include <srd/check.hpp>

#include "common/profile.hpp"
#include "entry/job_keys.hpp"
#include "mr_table.hpp"
#include "objects/fabric.hpp"
#include "progress/domain_progress.hpp"

namespace srd {

struct EventQueue;

struct Domain {
    /// Throws std::bad_alloc. local_address is empty if the interface is not there.
    Domain(Fabric& owner, const fi_info& info, std::shared_ptr<JobKeys> keys, void* context);
    ~Domain();
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;

    fid_domain fid{}; ///< must be first
    Fabric& fabric;

    // What the application opened the domain with; never changes.
    const std::string name; ///< the network interface and the backend (backend.hpp)
    const int mr_mode;
    const bool serves_devices;               ///< FI_HMEM
    const std::uint32_t api_version;         ///< the libfabric API that the application asked for
    const std::shared_ptr<JobKeys> job_keys; ///< of endpoints that have none of their own; null: none
    SocketAddress local_address; ///< the interface's address; its port is 0 unless the application chose one

    MrTable memory_regions;
    EventQueue* event_queue = nullptr; ///< fi_domain_bind
    bool memory_events = false;        ///< fi_domain_bind with FI_REG_MR: registrations report there

    DomainProgress progress;
    Profiles profiles;

    std::atomic<std::uint32_t> children{0}; ///< endpoints, address vectors, queues, counters, regions
    void retain() noexcept { children.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept { SRD_CHECK(children.fetch_sub(1, std::memory_order_release) != 0); }
};

inline Domain& domain_from(fid_domain* domain) noexcept
{
    return *static_cast<Domain*>(static_cast<void*>(domain));
}

/// fi_domain(3). Defined in provider/domain_calls.cpp: its operation table names functions of rooms above.
int domain_open(fid_fabric* fabric, fi_info* info, fid_domain** domain, void* context) noexcept;

} // namespace srd
