// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a completion queue and a counter have in common: the endpoints whose
// progress reading them drives, and a way to sleep until something may have
// happened there.
//
// Sleeping: arm() first, then look once more, then sleep (or let the
// application sleep on fd()), then disarm(). Between arm() and disarm()
//   - notify() makes the descriptor readable,
//   - an endpoint that gets an earlier timer than was known at arm() wakes us
//     (ProgressUnit::wake_sleepers), so that no retransmission is slept over.
// Under FI_PROGRESS_AUTO the progress thread serves packets and timers, and
// only notify() ends a sleep. In a child of fork() there is nothing to sleep on
// (-FI_EOPBADSTATE).
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include <sched.h>

#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>

#include <srd/check.hpp>
#include <srd/file_descriptor.hpp>
#include <srd/time.hpp>

#include "common/fork.hpp"
#include "progress/clock.hpp"
#include "progress/idle_patience.hpp"
#include "progress/progress_lock.hpp"
#include "progress/progress_member.hpp"

namespace srd {

class DomainProgress;

class ProgressGroup final : ForkObserver {
public:
    /// Throws std::bad_alloc, std::system_error.
    explicit ProgressGroup(DomainProgress& domain);
    ProgressGroup(const ProgressGroup&) = delete;
    ProgressGroup& operator=(const ProgressGroup&) = delete;

    // -- Members ------------------------------------------------------------

    /// `member` is bound here; once for each. Throws std::bad_alloc.
    void attach(ProgressMember& member) SRD_EXCLUDES(members_lock);
    /// `member` is not bound here, but may do what is reported here: it makes progress like one that is.
    /// Throws std::bad_alloc.
    void admit(ProgressMember& member) SRD_EXCLUDES(members_lock);
    /// Undoes admit(), not attach().
    void dismiss(ProgressMember& member) noexcept SRD_EXCLUDES(members_lock);
    /// On return nobody touches `member` through this group.
    void detach(ProgressMember& member) noexcept SRD_EXCLUDES(members_lock);
    /// `member` has a descriptor now.
    void member_enabled(const ProgressMember& member) noexcept SRD_EXCLUDES(members_lock);
    /// True if endpoints are bound here.
    bool has_members() const noexcept { return bound_count_.load(std::memory_order_relaxed) != 0; }

    /// One pass over every enabled endpoint, unless another thread is at it. Then starts the domain's
    /// triggered operations that are due. Returns the most that one of the passes has found.
    Found progress() noexcept SRD_EXCLUDES(members_lock);

    // -- Waiting ------------------------------------------------------------

    /// Makes the descriptors that waiting needs. 0 or a negative fi_errno. Any number of times.
    int open_descriptors() noexcept SRD_EXCLUDES(members_lock);
    /// Polls readable when a look is worth it; -1 before open_descriptors().
    int fd() const noexcept { return epoll_fd_.load(std::memory_order_acquire); }

    /// Between two looks of a call that waits until `end`: returns when another look is worth it. With
    /// FI_WAIT_YIELD it only gives way; else it sleeps, unless `still_idle()`, asked when nothing can be
    /// missed any more, says no. open_descriptors() comes first.
    template <typename StillIdle>
    void pause(fi_wait_obj wait_obj, Time end, StillIdle&& still_idle) noexcept SRD_EXCLUDES(members_lock)
    {
        Time deadline{};
        if (wait_obj == FI_WAIT_YIELD) {
            sched_yield();
        } else if (arm(deadline)) {
            if (still_idle()) {
                sleep_on(fd(), std::min(deadline, end));
            }
            disarm();
        }
    }
    /// fi_trywait(): 0 if the application may sleep on fd(), -FI_EAGAIN if `has_news()`, or another negative
    /// fi_errno.
    template <typename HasNews>
    int try_wait(HasNews&& has_news) noexcept SRD_EXCLUDES(members_lock)
    {
        if (const int error = open_descriptors(); error != 0) {
            return error;
        }
        do {
            progress();
            if (has_news()) {
                return -FI_EAGAIN;
            }
        } while (!arm_for_fd());
        return has_news() ? -FI_EAGAIN : 0;
    }

    /// Something has happened: wakes whoever armed. Any thread, cheap if nobody did.
    void notify() noexcept
    {
        if (armed_.load(std::memory_order_seq_cst) && armed_.exchange(false, std::memory_order_seq_cst)) {
            wake();
        }
    }
    /// Makes the descriptor readable until the next arm().
    void wake() noexcept;

    ProgressLock members_lock;

private:
    struct Member {
        ProgressMember* member;
        bool bound;
    };

    void forked() noexcept override;
    void add(ProgressMember& member, bool bound) SRD_EXCLUDES(members_lock);
    void remove(ProgressMember& member, bool bound_too) noexcept SRD_EXCLUDES(members_lock);
    void count_bound() noexcept SRD_REQUIRES(members_lock);
    void watch(int descriptor) noexcept;
    void drain_event() noexcept;
    /// Announces that the caller is going to sleep. False: packets wait, make a pass first
    /// (nothing is armed). `deadline` is set to the latest time to wake.
    bool arm(Time& deadline) noexcept SRD_EXCLUDES(members_lock);
    void disarm() noexcept SRD_EXCLUDES(members_lock);
    /// Like arm(), with the deadline as a timer in the descriptor; lasts until the next progress().
    bool arm_for_fd() noexcept SRD_EXCLUDES(members_lock);

    DomainProgress& domain_;
    std::vector<Member> members_ SRD_GUARDED_BY(members_lock);
    IdlePatience patience_ SRD_GUARDED_BY(members_lock);
    std::atomic<std::uint32_t> bound_count_{0};
    std::atomic<bool> armed_{false};
    std::atomic<bool> fd_armed_{false}; ///< arm_for_fd() counts as a sleeper until the next progress()
    std::atomic<int> epoll_fd_{-1};     ///< of epoll_, published when all three are ready
    bool is_inherited_ = false;         ///< in a child of fork(): the descriptors are closed
    FileDescriptor epoll_;
    FileDescriptor event_; ///< what notify() writes to
    FileDescriptor timer_; ///< the deadline of arm_for_fd()
};

} // namespace srd
