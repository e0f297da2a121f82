// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a completion queue and a counter have in common: the endpoints whose
// progress reading them drives, and a way to sleep until something may have
// happened there.
//
// Sleeping: arm() first, then look once more, then sleep() (or let the
// application sleep on fd()), then disarm(). Between arm() and disarm()
//   - notify() makes the descriptor readable,
//   - an endpoint that gets an earlier timer than was known at arm() wakes us
//     (Endpoint::wake_sleepers), so that no retransmission is slept over.
// Under FI_PROGRESS_AUTO the progress thread serves packets and timers, and
// only notify() ends a sleep.
#pragma once

#include <atomic>
#include <vector>

#include <srd/time.hpp>

#include "progress_lock.hpp"

namespace srd {

struct Endpoint;
struct Domain;

/// CLOCK_MONOTONIC. The only clock of the provider.
Time clock_now() noexcept;
/// Sleeps until `descriptor` is readable, `deadline`, or a signal.
void sleep_on(int descriptor, Time deadline) noexcept;

class ProgressGroup {
public:
    explicit ProgressGroup(Domain& domain) noexcept;
    ~ProgressGroup();
    ProgressGroup(const ProgressGroup&) = delete;
    ProgressGroup& operator=(const ProgressGroup&) = delete;

    // -- Members ------------------------------------------------------------

    /// `endpoint` is bound here; once for each.
    void attach(Endpoint& endpoint) SRD_EXCLUDES(members_lock);
    /// `endpoint` is not bound here, but may do what is reported here: it makes progress like a member.
    void admit(Endpoint& endpoint) SRD_EXCLUDES(members_lock);
    /// On return nobody touches `endpoint` through this group.
    void detach(Endpoint& endpoint) noexcept SRD_EXCLUDES(members_lock);
    /// `endpoint` has a descriptor now.
    void endpoint_enabled(const Endpoint& endpoint) noexcept SRD_EXCLUDES(members_lock);
    /// True if endpoints are bound here.
    bool has_members() const noexcept { return bound_count_.load(std::memory_order_relaxed) != 0; }

    /// One pass over every enabled endpoint, unless another thread is at it. Then starts the domain's
    /// triggered operations that are due.
    void progress() noexcept SRD_EXCLUDES(members_lock);

    // -- Waiting ------------------------------------------------------------

    /// Makes the descriptors that waiting needs. 0 or a negative fi_errno. Any number of times.
    int open_descriptors() noexcept SRD_EXCLUDES(members_lock);
    /// Polls readable when a look is worth it; -1 before open_descriptors().
    int fd() const noexcept { return epoll_fd_.load(std::memory_order_acquire); }

    /// Announces that the caller is going to sleep. False: packets wait, make a pass first
    /// (nothing is armed). `deadline` is set to the latest time to wake.
    bool arm(Time& deadline) noexcept SRD_EXCLUDES(members_lock);
    void disarm() noexcept SRD_EXCLUDES(members_lock);
    void sleep(Time deadline) const noexcept { sleep_on(fd(), deadline); }
    /// For an application that sleeps on fd(): like arm(), with the deadline as a timer in the descriptor;
    /// lasts until the next progress().
    bool arm_for_fd() noexcept;

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
        Endpoint* endpoint;
        bool bound;
    };

    void add(Endpoint& endpoint, bool bound) SRD_EXCLUDES(members_lock);
    void count_bound() noexcept SRD_REQUIRES(members_lock);
    void watch(int descriptor) noexcept;
    void drain_event() noexcept;

    Domain& domain_;
    const bool threaded_progress_; ///< FI_PROGRESS_AUTO
    std::vector<Member> members_ SRD_GUARDED_BY(members_lock);
    std::uint32_t idle_passes_ SRD_GUARDED_BY(members_lock) = 0; ///< passes in a row that found nothing to do
    std::atomic<std::uint32_t> bound_count_{0};
    std::atomic<bool> armed_{false};
    std::atomic<bool> fd_armed_{false}; ///< arm_for_fd() counts as a sleeper until the next progress()
    std::atomic<int> epoll_fd_{-1};
    int event_fd_ = -1;
    int timer_fd_ = -1;
};

} // namespace srd
