// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/progress_group.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/boundary.hpp"
#include "endpoint/endpoint.hpp"
#include "objects/fabric_domain.hpp"

namespace srd {

namespace {

// Applications spin (Open MPI's blocking send does so without ever yielding), and where there are more of
// them than cores, the peer they wait for may be the one that does not get to run, for a whole slice of the
// scheduler. So whoever has found nothing for some tens of microseconds gives way now and then; that
// costs nothing worth mention if nobody else wants the core.
constexpr std::uint32_t patient_passes = 128;
constexpr std::uint32_t passes_per_yield = 8;

} // namespace

Time clock_now() noexcept
{
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return Time(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

Time end_of_wait(int timeout_ms) noexcept
{
    return timeout_ms < 0 ? time_never : clock_now() + std::chrono::milliseconds(timeout_ms);
}

ProgressGroup::ProgressGroup(Domain& domain) noexcept
    : members_lock(domain.is_shared_by_threads()), domain_(domain),
      threaded_progress_(domain.data_progress == FI_PROGRESS_AUTO)
{
}

ProgressGroup::~ProgressGroup()
{
    for (const int descriptor : {fd(), event_fd_, timer_fd_}) {
        if (descriptor >= 0) {
            close(descriptor);
        }
    }
}

void ProgressGroup::attach(Endpoint& endpoint)
{
    add(endpoint, true);
}

void ProgressGroup::admit(Endpoint& endpoint)
{
    add(endpoint, false);
}

void ProgressGroup::add(Endpoint& endpoint, bool bound)
{
    ProgressGuard guard(members_lock);
    const auto member = std::find_if(members_.begin(), members_.end(),
                                     [&](const Member& each) { return each.endpoint == &endpoint; });
    if (member == members_.end()) {
        members_.push_back({&endpoint, bound});
        if (fd() >= 0 && endpoint.enabled() && !threaded_progress_) {
            watch(endpoint.io_fd());
        }
    } else {
        member->bound |= bound;
    }
    count_bound();
}

void ProgressGroup::count_bound() noexcept
{
    const auto bound =
        std::count_if(members_.begin(), members_.end(), [](const Member& each) { return each.bound; });
    bound_count_.store(static_cast<std::uint32_t>(bound), std::memory_order_relaxed);
}

void ProgressGroup::detach(Endpoint& endpoint) noexcept
{
    ProgressGuard guard(members_lock);
    if (fd() >= 0 && endpoint.enabled()) {
        epoll_ctl(fd(), EPOLL_CTL_DEL, endpoint.io_fd(),
                  nullptr); // fails if it was never added: nothing to undo
    }
    std::erase_if(members_, [&](const Member& each) { return each.endpoint == &endpoint; });
    count_bound();
}

void ProgressGroup::endpoint_enabled(const Endpoint& endpoint) noexcept
{
    ProgressGuard guard(members_lock);
    if (fd() >= 0 && !threaded_progress_) {
        watch(endpoint.io_fd());
    }
}

void ProgressGroup::progress() noexcept
{
    if (fd_armed_.load(std::memory_order_relaxed) && fd_armed_.exchange(false)) {
        disarm();
    }
    if (!members_lock.try_lock()) {
        return;
    }
    const Time now = clock_now();
    bool worked = false;
    for (const Member& member : members_) {
        worked |= member.endpoint->progress(now);
    }
    idle_passes_ = worked ? 0 : idle_passes_ + 1;
    const bool give_way = idle_passes_ >= patient_passes && idle_passes_ % passes_per_yield == 0;
    members_lock.unlock();
    domain_.deferred_work.run_due();
    if (give_way) {
        sched_yield();
    }
}

void ProgressGroup::watch(int descriptor) noexcept
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(fd(), EPOLL_CTL_ADD, descriptor, &interest) != 0 && errno != EEXIST) {
        SRD_WARN(FI_LOG_CQ, "cannot watch descriptor %d: %s; waiting may last until its timeout", descriptor,
                 strerror(errno));
    }
}

int ProgressGroup::open_descriptors() noexcept
{
    if (fd() >= 0) {
        return 0;
    }
    ProgressGuard guard(members_lock);
    if (fd() >= 0) {
        return 0;
    }
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    timer_fd_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (epoll < 0 || event_fd_ < 0 || timer_fd_ < 0) {
        const int error = errno;
        for (int* descriptor : {&event_fd_, &timer_fd_}) {
            if (*descriptor >= 0) {
                close(*descriptor);
            }
            *descriptor = -1;
        }
        if (epoll >= 0) {
            close(epoll);
        }
        SRD_WARN(FI_LOG_CQ, "no descriptors to wait with: %s; raise the limit (ulimit -n)", strerror(error));
        return -error;
    }
    epoll_fd_.store(epoll, std::memory_order_release);
    watch(event_fd_);
    watch(timer_fd_);
    for (const Member& member : members_) {
        if (member.endpoint->enabled() && !threaded_progress_) {
            watch(member.endpoint->io_fd());
        }
    }
    return 0;
}

void ProgressGroup::wake() noexcept
{
    if (fd() >= 0) {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one)); // full means readable
    }
}

void ProgressGroup::drain_event() noexcept
{
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof(count)); // empty is fine
}

bool ProgressGroup::arm(Time& deadline) noexcept
{
    drain_event();
    armed_.store(true, std::memory_order_seq_cst);
    deadline = time_never;
    if (threaded_progress_) {
        return true;
    }
    ProgressGuard guard(members_lock);
    for (auto member = members_.begin(); member != members_.end(); ++member) {
        if (!member->endpoint->arm_sleep(deadline)) {
            std::for_each(members_.begin(), member,
                          [](const Member& armed) { armed.endpoint->disarm_sleep(); });
            return false;
        }
    }
    return true;
}

void ProgressGroup::disarm() noexcept
{
    if (threaded_progress_) {
        return;
    }
    ProgressGuard guard(members_lock);
    for (const Member& member : members_) {
        member.endpoint->disarm_sleep();
    }
}

void sleep_on(int descriptor, Time deadline) noexcept
{
    pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
    if (deadline == time_never) {
        ppoll(&entry, 1, nullptr, nullptr);
        return;
    }
    const Time now = clock_now();
    const Duration left = deadline > now ? deadline - now : Duration::zero();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    ppoll(&entry, 1, &timeout, nullptr); // an error or a signal only means to look once more
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
    timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &timer, nullptr); // also forgets an earlier expiry
    return true;
}

} // namespace srd
