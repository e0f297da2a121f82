// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/progress_group.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/log.hpp"
#include "progress/domain_progress.hpp"

namespace srd {

ProgressGroup::ProgressGroup(DomainProgress& domain) : domain_(domain) {}

/// The numbers may soon name files of the child's own.
void ProgressGroup::forked() noexcept
{
    members_lock.abandon(); // whoever held it does not exist here
    is_inherited_ = true;
    epoll_fd_.store(-1);
    armed_.store(false);
    fd_armed_.store(false);
}

void ProgressGroup::attach(ProgressMember& member)
{
    add(member, true);
}

void ProgressGroup::admit(ProgressMember& member)
{
    add(member, false);
}

void ProgressGroup::add(ProgressMember& member, bool bound)
{
    ProgressGuard guard(members_lock);
    const auto known = std::find_if(members_.begin(), members_.end(),
                                    [&](const Member& each) { return each.member == &member; });
    if (known == members_.end()) {
        members_.push_back({&member, bound});
        if (fd() >= 0 && member.enabled() && !domain_.is_threaded()) {
            watch(member.io_fd());
        }
    } else {
        known->bound |= bound;
    }
    count_bound();
}

void ProgressGroup::dismiss(ProgressMember& member) noexcept
{
    remove(member, false);
}

void ProgressGroup::detach(ProgressMember& member) noexcept
{
    remove(member, true);
}

void ProgressGroup::remove(ProgressMember& member, bool bound_too) noexcept
{
    ProgressGuard guard(members_lock);
    const auto removed = std::erase_if(
        members_, [&](const Member& each) { return each.member == &member && (bound_too || !each.bound); });
    if (removed != 0 && fd() >= 0 && member.enabled()) {
        epoll_ctl(fd(), EPOLL_CTL_DEL, member.io_fd(),
                  nullptr); // fails if it was never added: nothing to undo
    }
    count_bound();
}

void ProgressGroup::count_bound() noexcept
{
    const auto bound =
        std::count_if(members_.begin(), members_.end(), [](const Member& each) { return each.bound; });
    bound_count_.store(static_cast<std::uint32_t>(bound), std::memory_order_relaxed);
}

void ProgressGroup::member_enabled(const ProgressMember& member) noexcept
{
    ProgressGuard guard(members_lock);
    if (fd() >= 0 && !domain_.is_threaded()) {
        watch(member.io_fd());
    }
}

Found ProgressGroup::progress() noexcept
{
    if (fd_armed_.load(std::memory_order_relaxed) && fd_armed_.exchange(false)) {
        disarm();
    }
    if (!members_lock.try_lock()) {
        return Found::nothing;
    }
    const Time now = clock_now();
    Found most = Found::nothing;
    for (const Member& member : members_) {
        most = std::max(most, member.member->progress(now));
    }
    const bool give_way = patience_.after_pass(most != Found::nothing, now);
    members_lock.unlock();
    domain_.due_work().run_due();
    if (give_way) {
        const Time from = clock_now();
        sched_yield();
        const Time until = clock_now();
        if (members_lock.try_lock()) {
            patience_.gave_way(from, until);
            members_lock.unlock();
        }
    }
    return most;
}

void ProgressGroup::watch(int descriptor) noexcept
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(fd(), EPOLL_CTL_ADD, descriptor, &interest) != 0 && errno != EEXIST) {
        const int error = errno;
        SRD_WARN(FI_LOG_CQ, "cannot watch descriptor %d: %s; waiting may last until its timeout", descriptor,
                 strerror(error));
    }
}

int ProgressGroup::open_descriptors() noexcept
{
    if (fd() >= 0) {
        return 0;
    }
    if (is_inherited_) {
        return refuse_in_child("waiting for a completion queue or counter");
    }
    ProgressGuard guard(members_lock);
    if (fd() >= 0) {
        return 0;
    }
    FileDescriptor epoll;
    FileDescriptor event;
    FileDescriptor timer;
    const auto is_open = [](FileDescriptor& place, int descriptor) {
        place = FileDescriptor(descriptor);
        return place.valid();
    };
    if (!is_open(epoll, epoll_create1(EPOLL_CLOEXEC)) ||
        !is_open(event, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) ||
        !is_open(timer, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK))) {
        const int error = errno; // of the first that failed
        SRD_WARN(FI_LOG_CQ, "no descriptors to wait with: %s; raise the limit (ulimit -n)", strerror(error));
        return -error;
    }
    epoll_ = std::move(epoll);
    event_ = std::move(event);
    timer_ = std::move(timer);
    epoll_fd_.store(epoll_.get(), std::memory_order_release);
    watch(event_.get());
    watch(timer_.get());
    for (const Member& member : members_) {
        if (member.member->enabled() && !domain_.is_threaded()) {
            watch(member.member->io_fd());
        }
    }
    return 0;
}

void ProgressGroup::wake() noexcept
{
    if (fd() >= 0) {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written =
            write(event_.get(), &one, sizeof(one)); // full means readable
    }
}

void ProgressGroup::drain_event() noexcept
{
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_.get(), &count, sizeof(count)); // empty is fine
}

bool ProgressGroup::arm(Time& deadline) noexcept
{
    drain_event();
    armed_.store(true, std::memory_order_seq_cst);
    deadline = time_never;
    if (domain_.is_threaded()) {
        return true;
    }
    ProgressGuard guard(members_lock);
    for (auto member = members_.begin(); member != members_.end(); ++member) {
        if (!member->member->arm_sleep(deadline)) {
            std::for_each(members_.begin(), member,
                          [](const Member& armed) { armed.member->disarm_sleep(); });
            return false;
        }
    }
    return true;
}

void ProgressGroup::disarm() noexcept
{
    if (domain_.is_threaded()) {
        return;
    }
    ProgressGuard guard(members_lock);
    for (const Member& member : members_) {
        member.member->disarm_sleep();
    }
}

bool ProgressGroup::arm_for_fd() noexcept
{
    if (fd_armed_.exchange(false)) {
        disarm();
    }
    Time deadline{};
    if (!arm(deadline)) {
        return false;
    }
    fd_armed_.store(true);
    itimerspec timer{};
    if (deadline != time_never) {
        const Duration since = std::max(deadline.time_since_epoch(), Duration(1)); // 0 would stop the timer
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
        timer.it_value = {.tv_sec = seconds.count(), .tv_nsec = (since - seconds).count()};
    }
    // Also forgets an earlier expiry. The values are in range, so it cannot fail.
    SRD_CHECK(timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &timer, nullptr) == 0);
    return true;
}

} // namespace srd
