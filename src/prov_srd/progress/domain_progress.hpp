// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Progress for a whole domain: its enabled endpoints, the counters that every
// one of them makes progress for, and the thread: the one of FI_PROGRESS_AUTO, or
// else the one for applications that fall silent.
//
// Laws:
//  - An endpoint is in the list exactly while it is enabled, except that it stays
//    until its memory is not read any more (fi_close() removes it last).
//  - Adding either succeeds wholly or throws and has changed nothing.
//
// Threading: any thread. The mutex comes after DeferredQueue's lock and before
// ProgressGroup::members_lock and the endpoints' locks.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <srd/time.hpp>

#include "progress/due_work.hpp"
#include "progress/progress_member.hpp"

namespace srd {

class ProgressGroup;
class ProgressThread;
class ProgressWatchdog;

class DomainProgress {
public:
    /// `name`: the domain's, which tells the network interface.
    DomainProgress(std::string name, fi_progress data_progress);
    ~DomainProgress();
    DomainProgress(const DomainProgress&) = delete;
    DomainProgress& operator=(const DomainProgress&) = delete;

    /// FI_PROGRESS_AUTO: a thread serves packets and timers.
    bool is_threaded() const noexcept { return data_progress_ == FI_PROGRESS_AUTO; }

    // -- What counters start ------------------------------------------------

    /// Once, by whoever opens the domain.
    void set_due_work(std::unique_ptr<DueWork> work) noexcept { due_work_ = std::move(work); }
    DueWork& due_work() const noexcept { return *due_work_; }

    // -- Endpoints ----------------------------------------------------------

    /// Takes in `member`. `enable` (noexcept) makes it enabled; it is called when nothing can fail any more.
    /// Throws std::bad_alloc, std::system_error; then nothing has changed.
    template <typename Enable>
    void add(ProgressMember& member, Enable&& enable)
    {
        const std::lock_guard guard(mutex_);
        admit(member);
        enable();
        members_.push_back(&member); // admit() made room
        announce(member);
    }
    /// On return nobody touches `member` through this object.
    void remove(ProgressMember& member) noexcept;
    /// Calls `body` for each endpoint. Whoever closes one waits.
    template <typename Body>
    void for_each(Body&& body) noexcept
    {
        const std::lock_guard guard(mutex_);
        for (ProgressMember* member : members_) {
            body(*member);
        }
    }

    /// From now on every endpoint of the domain makes progress for `group` too. Again for the same: nothing.
    /// Throws std::bad_alloc; then nothing has changed.
    void add_group(ProgressGroup& group);
    void remove_group(ProgressGroup& group) noexcept;

    // -- Passes -------------------------------------------------------------

    /// One pass over every endpoint. True if anything happened.
    bool progress_all() noexcept;
    /// ProgressMember::arm_sleep() of every endpoint, or of none (then false).
    bool arm_all(Time& deadline) noexcept;
    void disarm_all() noexcept;
    /// ProgressMember::look_after() of every endpoint. Returns when to look again, and adds what to sleep on
    /// to `descriptors`.
    Time look_after_silent(std::vector<pollfd>& descriptors) noexcept;
    /// ProgressMember::show() of every endpoint.
    void show_all() noexcept
    {
        for_each([](ProgressMember& member) { member.show(); });
    }
    /// What fi_profile(3) shows of all endpoints that there have been.
    ProfileValues profile() noexcept;
    /// Somebody who asks for live statistics waits no longer.
    static constexpr Duration show_interval = std::chrono::milliseconds(200);
    /// The application calls for an endpoint that it has been silent for. The endpoint's lock may be held.
    void application_is_back() noexcept;

private:
    void admit(ProgressMember& member);
    void announce(const ProgressMember& member) noexcept;

    const std::string name_;
    const fi_progress data_progress_;
    std::unique_ptr<DueWork> due_work_;

    std::mutex mutex_; ///< guards what follows
    std::vector<ProgressMember*> members_;
    ProfileValues closed_;               ///< of members that are not there any more
    std::vector<ProgressGroup*> groups_; ///< of add_group(): all `members_` are in them
    // One of the two is made by the first endpoint that is enabled, and stays as long as there are any.
    std::unique_ptr<ProgressThread> thread_;
    std::unique_ptr<ProgressWatchdog> watchdog_;
};

} // namespace srd
