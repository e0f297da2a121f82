// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The root of all objects.
//
// Every libfabric object of ours contains its fid as the first member of the
// struct that the fid's address is cast to, so a fid pointer is the object's pointer.
//
// Lifetime: a child retains its parent when it is made and releases it when
// it is closed; a parent with children answers fi_close() with -FI_EBUSY.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include <rdma/fabric.h>

#include <srd/check.hpp>

#include "common/fork.hpp"

namespace srd {

struct Fabric {
    fid_fabric fid{}; ///< fid.api_version is written by the core after fi_fabric() returned
    std::string name;
    std::atomic<std::uint32_t> children{0}; ///< domains, event queues, wait sets

    const std::uint32_t process = process_generation();
    /// It and all its objects are the parent's, copied by fork(): closing them does nothing (fork.hpp).
    bool inherited() const noexcept { return process != process_generation(); }

    void retain() noexcept { children.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept { SRD_CHECK(children.fetch_sub(1, std::memory_order_release) != 0); }
};

inline Fabric& fabric_from(fid_fabric* fabric) noexcept
{
    return *static_cast<Fabric*>(static_cast<void*>(fabric));
}

/// fi_fabric(3). Defined in provider/fabric_calls.cpp: its operation table names functions of rooms above.
int fabric_open(fi_fabric_attr* attr, fid_fabric** fabric, void* context) noexcept;

} // namespace srd
