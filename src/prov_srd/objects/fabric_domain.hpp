// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The two objects that everything else hangs from.
//
// Every libfabric object of ours begins with its fid, so a fid pointer is the
// object's pointer (checked by static_assert on standard layout where the
// object is plain, and by construction elsewhere).
//
// Lifetime: a child retains its parent when it is made and releases it when
// it is closed; a parent with children answers fi_close() with -FI_EBUSY.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>

#include <srd/address.hpp>

#include "mr_table.hpp"
#include "objects/fork.hpp"
#include "trigger/deferred_work.hpp"

namespace srd {

struct Endpoint;      // endpoint.hpp
class ProgressGroup;  // progress_group.hpp
class ProgressThread; // progress_thread.hpp
struct EventQueue;

struct Fabric {
    fid_fabric fid{}; ///< fid.api_version is written by the core after fi_fabric() returned
    std::string name;
    std::atomic<std::uint32_t> children{0};

    const std::uint32_t process = process_generation();
    /// It and all its objects are the parent's, copied by fork(): closing them does nothing (fork.hpp).
    bool inherited() const noexcept { return process != process_generation(); }

    void retain() noexcept { children.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept { children.fetch_sub(1, std::memory_order_release); }
};

struct Domain {
    Domain(Fabric& owner, const fi_info& info, void* context);
    ~Domain();
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;

    fid_domain fid{};
    Fabric& fabric;

    // What the application opened the domain with; never changes.
    std::string name; ///< the network interface and the backend (backend.hpp)
    fi_threading threading = FI_THREAD_SAFE;
    fi_progress data_progress = FI_PROGRESS_MANUAL;
    int mr_mode = 0;
    std::uint32_t api_version = 0; ///< the libfabric API that the application asked for
    SocketAddress local_address; ///< the interface's address; its port is 0 unless the application chose one
    /// Several threads may be in the data path of an object of this domain.
    bool is_shared_by_threads() const noexcept
    {
        return threading != FI_THREAD_DOMAIN || data_progress == FI_PROGRESS_AUTO;
    }

    MrTable memory_regions;
    EventQueue* event_queue = nullptr; ///< fi_domain_bind
    bool memory_events = false;        ///< fi_domain_bind with FI_REG_MR: registrations report there

    DeferredQueue deferred_work;

    std::atomic<std::uint32_t> children{0}; ///< endpoints, address vectors, queues, counters, regions
    void retain() noexcept { children.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept { children.fetch_sub(1, std::memory_order_release); }

    /// Enabled endpoints, for whoever makes progress for the whole domain.
    std::mutex endpoints_mutex;
    std::vector<Endpoint*> endpoints;
    /// Of counters at which memory regions or deferred work count: all `endpoints` are in them. Guarded by
    /// endpoints_mutex.
    std::vector<ProgressGroup*> region_groups;
    /// FI_PROGRESS_AUTO: made by the first endpoint that is enabled, ends with the domain.
    /// Guarded by endpoints_mutex.
    std::shared_ptr<ProgressThread> progress_thread;

    /// A 64-bit number from the operating system's random device.
    static std::uint64_t random_seed();
};

inline Fabric& fabric_from(fid_fabric* fabric) noexcept
{
    return *static_cast<Fabric*>(static_cast<void*>(fabric));
}
inline Domain& domain_from(fid_domain* domain) noexcept
{
    return *static_cast<Domain*>(static_cast<void*>(domain));
}

int fabric_open(fi_fabric_attr* attr, fid_fabric** fabric, void* context) noexcept;
int domain_open(fid_fabric* fabric, fi_info* info, fid_domain** domain, void* context) noexcept;

// Made by the data path (endpoint.cpp, cq.cpp, cntr.cpp); fi_trywait() asks the queues.
int endpoint_open(fid_domain* domain, fi_info* info, fid_ep** endpoint, void* context) noexcept;
int cq_open(fid_domain* domain, fi_cq_attr* attr, fid_cq** cq, void* context) noexcept;
int cntr_open(fid_domain* domain, fi_cntr_attr* attr, fid_cntr** cntr, void* context) noexcept;
/// fi_query_atomic(3), in ops_atomic.cpp.
int query_atomic(fid_domain* domain, fi_datatype datatype, fi_op op, fi_atomic_attr* attr,
                 std::uint64_t flags) noexcept;
/// 0 if it is safe to sleep on the wait descriptor, -FI_EAGAIN if completions wait.
int cq_trywait(fid* cq) noexcept;
int cntr_trywait(fid* cntr) noexcept;
/// fi_trywait() of any object, else -FI_EINVAL with a line.
int object_trywait(fid& object) noexcept;

} // namespace srd
