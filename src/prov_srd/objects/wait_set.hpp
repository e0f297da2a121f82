// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_poll(3), wait sets: one descriptor for all the completion queues, counters
// and event queues that were opened with FI_WAIT_SET. It is an epoll instance over their own.
//
// Threading: every function may be called by any thread.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_eq.h>

#include <srd/file_descriptor.hpp>

namespace srd {

struct Fabric;
class ProgressGroup;

struct WaitSet {
    /// Throws std::system_error if there are no descriptors.
    WaitSet(Fabric& owner, fi_wait_obj wait_object);
    ~WaitSet();
    WaitSet(const WaitSet&) = delete;
    WaitSet& operator=(const WaitSet&) = delete;

    /// fi_trywait() of one object: 0, -FI_EAGAIN if something is to be read, or another negative fi_errno.
    using TryWait = int (*)(::fid*) noexcept;
    /// `object` is a completion queue, counter or event queue that polls as ready on `member_descriptor`.
    /// 0 or a negative fi_errno. Throws std::bad_alloc.
    int add(::fid& object, int member_descriptor, TryWait object_try_wait);
    /// The member's descriptor leaves the set when the member closes it.
    void remove(const ::fid& object) noexcept;

    /// fi_wait(): 0 when something is to be read, -FI_ETIMEDOUT after `timeout_ms` (negative: never).
    int wait(int timeout_ms) noexcept;
    /// fi_trywait(): 0 if it is safe to sleep on the descriptor, -FI_EAGAIN if something is to be read.
    int try_wait() noexcept;

    fid_wait fid{}; ///< must be first
    Fabric& fabric;
    const fi_wait_obj wait_obj;
    const FileDescriptor descriptor; ///< an epoll instance
    std::size_t size() noexcept;

private:
    struct Member {
        ::fid* object;
        TryWait try_wait;
    };
    std::mutex mutex_; ///< before every other lock
    std::vector<Member> members_;
};

/// fi_trywait(3) of a wait set.
int wait_set_trywait(fid* set) noexcept;

/// The wait set that `object` is; null, with a line, if it is none of `fabric`.
WaitSet* wait_set_of(fid_wait* object, const Fabric& fabric) noexcept;

/// Makes a queue or counter one that can be waited on as `wait_obj` (an enum fi_wait_obj, already checked)
/// says: FI_WAIT_FD and FI_WAIT_SET get a descriptor, and the latter puts it into the set `wanted`, which is
/// then `set`. 0 or a negative fi_errno.
int open_wait(fid& object, ProgressGroup& group, unsigned wait_obj, fid_wait* wanted, const Fabric& fabric,
              WaitSet::TryWait object_try_wait, WaitSet*& set);

/// FI_GETWAIT and FI_GETWAITOBJ of fi_control() for any object that can be waited on; -FI_ENOSYS for other
/// commands. `descriptor` is what the application may sleep on, -1 without.
int control_wait(int command, void* argument, const Fabric& fabric, fi_wait_obj wait_obj,
                 int descriptor) noexcept;

/// fi_wait_open(3).
int wait_open(fid_fabric* fabric, fi_wait_attr* attr, fid_wait** wait_set) noexcept;

} // namespace srd
