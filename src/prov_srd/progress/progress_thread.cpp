// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/progress_thread.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <system_error>

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.hpp"
#include "endpoint/endpoint.hpp"
#include "entry/backend.hpp"
#include "entry/info.hpp"
#include "numa.hpp"
#include "objects/fabric_domain.hpp"
#include "progress/progress_group.hpp"

namespace srd {
namespace {

void add_to_epoll(int epoll, int descriptor)
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &interest) != 0) {
        throw std::system_error(errno, std::generic_category(), "progress thread: cannot watch a descriptor");
    }
}

} // namespace

ProgressThread::ProgressThread(Domain& domain)
    : domain_(domain), epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
    try {
        if (epoll_fd_ < 0 || event_fd_ < 0) {
            throw std::system_error(errno, std::generic_category(),
                                    "progress thread: no descriptors; raise the limit (ulimit -n)");
        }
        add_to_epoll(epoll_fd_, event_fd_);
        // The application's signal handlers must not run on a thread it does not know.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        const int node =
            Numa::machine().count() > 1 ? interface_node(parse_domain_name(domain.name).interface) : no_node;
        thread_ = std::thread([this, node] {
            if (node != no_node && numa_bind_thread(node)) {
                SRD_INFO(FI_LOG_DOMAIN, "the progress thread of %s stays on NUMA node %d",
                         domain_.name.c_str(), node);
            }
            run();
        });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        pthread_setname_np(thread_.native_handle(), "srd-progress");
    } catch (...) {
        close(epoll_fd_);
        close(event_fd_);
        throw;
    }
}

ProgressThread::~ProgressThread()
{
    stop_.store(true, std::memory_order_release);
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
    thread_.join();
    close(epoll_fd_);
    close(event_fd_);
}

void ProgressThread::watch(int io_fd)
{
    add_to_epoll(epoll_fd_, io_fd);
    const std::uint64_t one = 1; // a new endpoint: look at its timers
    [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
}

void ProgressThread::unwatch(int io_fd) noexcept
{
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, io_fd, nullptr);
}

bool ProgressThread::progress_all() noexcept
{
    const std::lock_guard guard(domain_.endpoints_mutex);
    const Time now = clock_now();
    bool busy = false;
    for (Endpoint* endpoint : domain_.endpoints) {
        busy |= endpoint->progress(now);
    }
    return busy;
}

void ProgressThread::sleep_all() noexcept
{
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof(count));
    Time deadline = time_never;
    {
        const std::lock_guard guard(domain_.endpoints_mutex);
        auto& endpoints = domain_.endpoints;
        for (auto endpoint = endpoints.begin(); endpoint != endpoints.end(); ++endpoint) {
            if (!(*endpoint)->arm_sleep(deadline)) {
                std::for_each(endpoints.begin(), endpoint, [](Endpoint* armed) { armed->disarm_sleep(); });
                return;
            }
        }
    }
    sleep_on(epoll_fd_, stop_.load(std::memory_order_acquire) ? Time::min() : deadline);
    const std::lock_guard guard(domain_.endpoints_mutex);
    for (Endpoint* endpoint : domain_.endpoints) {
        endpoint->disarm_sleep();
    }
}

void ProgressThread::run() noexcept
{
    while (!stop_.load(std::memory_order_acquire)) {
        const bool busy = progress_all();
        domain_.deferred_work.run_due();
        if (busy) {
            std::this_thread::yield(); // fi_close() may be waiting for the mutex
            continue;
        }
        sleep_all();
    }
}

} // namespace srd
