// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Event queues: control events (asynchronous address vector and memory
// registration results, what the application writes itself).
// Threading: every function may be called by any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_eq.h>

#include <srd/file_descriptor.hpp>

namespace srd {

struct Fabric;
struct WaitSet;

struct EventQueue {
    /// Throws std::system_error if there is no descriptor.
    EventQueue(Fabric& owner, const fi_eq_attr& attr, void* context);
    ~EventQueue();
    EventQueue(const EventQueue&) = delete;
    EventQueue& operator=(const EventQueue&) = delete;

    /// Adds an event (FI_AV_COMPLETE, FI_MR_COMPLETE, ...) with `entry`'s bytes and wakes a reader.
    /// -FI_ENOMEM if there is no memory, else 0.
    int report(std::uint32_t event, std::span<const std::byte> entry) noexcept;
    /// Adds an error; `error.err_data` is copied.
    int report_error(const fi_eq_err_entry& error) noexcept;

    fid_eq fid{};
    Fabric& fabric;
    std::uint64_t flags = 0;
    fi_wait_obj wait_obj = FI_WAIT_NONE;
    std::atomic<std::uint32_t> bound{0}; ///< objects that report here; it cannot be closed while not 0

    struct Record {
        std::uint32_t event = 0;
        bool failed = false;
        std::vector<std::byte> bytes; ///< the entry, or a fi_eq_err_entry
        std::vector<std::byte> error_data;
    };
    std::mutex mutex;
    std::deque<Record> records;
    std::vector<std::byte> error_data; ///< what the last read error's err_data points to
    WaitSet* wait_set = nullptr;       ///< FI_WAIT_SET
    const FileDescriptor wait_fd;      ///< eventfd, readable while records are there; none for FI_WAIT_NONE
};

inline EventQueue& eq_from(fid_eq* eq) noexcept
{
    return *static_cast<EventQueue*>(static_cast<void*>(eq));
}

/// fi_eq_open(3).
int eq_open(fid_fabric* fabric, fi_eq_attr* attr, fid_eq** eq, void* context) noexcept;
/// 0 if it is safe to sleep on the wait descriptor, -FI_EAGAIN if events wait.
int eq_trywait(fid* eq) noexcept;

} // namespace srd
