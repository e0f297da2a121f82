// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/progress_thread.hpp"

#include <cerrno>
#include <csignal>
#include <system_error>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.hpp"
#include "entry/backend.hpp"
#include "entry/info.hpp"
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

/// The application's signal handlers must not run on a thread it does not know: while one lives, no signal
/// comes to the calling thread and to those that it starts.
class SignalsBlocked {
public:
    SignalsBlocked()
    {
        sigset_t all;
        sigfillset(&all);
        if (const int code = pthread_sigmask(SIG_SETMASK, &all, &before_); code != 0) {
            throw std::system_error(code, std::generic_category(), "progress thread: pthread_sigmask");
        }
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

} // namespace

ProgressThread::ProgressThread(DomainProgress& domain, const std::string& domain_name)
    : domain_(domain), epoll_(checked(epoll_create1(EPOLL_CLOEXEC))),
      event_(checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)))
{
    add_to_epoll(epoll_.get(), event_.get());
    start(domain_name);
}

void ProgressThread::start(const std::string& domain_name)
{
    const int node =
        Numa::machine().count() > 1 ? interface_node(parse_domain_name(domain_name).interface) : no_node;
    const SignalsBlocked blocked;
    thread_ = std::thread([this, node, domain_name] {
        if (node != no_node && numa_bind_thread(node)) {
            SRD_INFO(FI_LOG_DOMAIN, "the progress thread of %s stays on NUMA node %d", domain_name.c_str(),
                     node);
        }
        run();
    });
    pthread_setname_np(thread_.native_handle(), "srd-progress"); // for people only: may fail
}

ProgressThread::~ProgressThread()
{
    stop_.store(true, std::memory_order_release);
    wake();
    thread_.join();
}

void ProgressThread::wake() noexcept
{
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof(one)); // full means readable
}

void ProgressThread::watch(int io_fd)
{
    add_to_epoll(epoll_.get(), io_fd);
    wake(); // a new endpoint: look at its timers
}

void ProgressThread::unwatch(int io_fd) noexcept
{
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, io_fd, nullptr);
}

void ProgressThread::sleep_all() noexcept
{
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_.get(), &count, sizeof(count)); // empty is fine
    Time deadline = time_never;
    if (!domain_.arm_all(deadline)) {
        return;
    }
    sleep_on(epoll_.get(), stop_.load(std::memory_order_acquire) ? Time::min() : deadline);
    domain_.disarm_all();
}

void ProgressThread::run() noexcept
{
    while (!stop_.load(std::memory_order_acquire)) {
        const bool busy = domain_.progress_all();
        domain_.due_work().run_due();
        if (busy) {
            std::this_thread::yield(); // fi_close() may be waiting for the mutex
            continue;
        }
        sleep_all();
    }
}

} // namespace srd
