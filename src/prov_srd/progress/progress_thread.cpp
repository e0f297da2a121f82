// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/progress_thread.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <sys/epoll.h>

#include "common/log.hpp"
#include "entry/backend.hpp"
#include "entry/interface_group.hpp"
#include "numa.hpp"
#include "progress/clock.hpp"
#include "progress/domain_progress.hpp"

namespace srd {
namespace {

FileDescriptor checked(int descriptor)
{
    if (descriptor < 0) {
        throw std::system_error(errno, std::generic_category(),
                                "progress thread: no descriptors; raise the limit (ulimit -n)");
    }
    return FileDescriptor(descriptor);
}

void add_to_epoll(int epoll, int descriptor)
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &interest) != 0) {
        throw std::system_error(errno, std::generic_category(), "progress thread: cannot watch a descriptor");
    }
}

} // namespace

ProgressThread::ProgressThread(DomainProgress& domain, const std::string& domain_name)
    : domain_(domain), epoll_(checked(epoll_create1(EPOLL_CLOEXEC)))
{
    add_to_epoll(epoll_.get(), thread_.fd());
    start(domain_name);
}

void ProgressThread::start(const std::string& domain_name)
{
    const int node =
        Numa::machine().count() > 1 ? interface_node(parse_domain_name(domain_name).interface) : no_node;
    thread_.start("srd-progress", [this, node, domain_name] {
        if (node != no_node && numa_bind_thread(node)) {
            SRD_INFO(FI_LOG_DOMAIN, "the progress thread of %s stays on NUMA node %d", domain_name.c_str(),
                     node);
        }
        run();
    });
}

void ProgressThread::watch(int io_fd)
{
    add_to_epoll(epoll_.get(), io_fd);
    thread_.wake(); // a new endpoint: look at its timers
}

void ProgressThread::unwatch(int io_fd) noexcept
{
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, io_fd, nullptr);
}

void ProgressThread::sleep_all() noexcept
{
    thread_.drain();
    Time deadline = time_never;
    if (!domain_.arm_all(deadline)) {
        return;
    }
    deadline = std::min(deadline, clock_now() + DomainProgress::show_interval);
    sleep_on(epoll_.get(), thread_.stopping() ? Time::min() : deadline);
    domain_.disarm_all();
}

void ProgressThread::run() noexcept
{
    constexpr unsigned busy_passes_per_show = 1024;
    for (unsigned passes = 0; !thread_.stopping(); ++passes) {
        const bool busy = domain_.progress_all();
        domain_.due_work().run_due();
        if (!busy || passes % busy_passes_per_show == 0) {
            domain_.show_all();
        }
        if (busy) {
            std::this_thread::yield(); // fi_close() may be waiting for the mutex
            continue;
        }
        sleep_all();
    }
}

} // namespace srd
