// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/watchdog.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <srd/signals_blocked.hpp>

#include "progress/clock.hpp"
#include "progress/domain_progress.hpp"

namespace srd {

ProgressWatchdog::ProgressWatchdog(DomainProgress& domain)
    : domain_(domain), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
    if (!event_.valid()) {
        throw std::system_error(errno, std::generic_category(),
                                "progress watchdog: no descriptors; raise the limit (ulimit -n)");
    }
    const SignalsBlocked blocked;
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "srd-watchdog"); // for people only: may fail
}

ProgressWatchdog::~ProgressWatchdog()
{
    stop_.store(true, std::memory_order_release);
    wake();
    thread_.join();
}

void ProgressWatchdog::wake() noexcept
{
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof(one)); // full means readable
}

void ProgressWatchdog::run() noexcept
{
    while (!stop_.load(std::memory_order_acquire)) {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = ::read(event_.get(), &count, sizeof(count)); // empty is fine
        asleep_on_.assign(1, {event_.get(), POLLIN, 0});
        const Time next = domain_.look_after_silent(asleep_on_);
        domain_.due_work().run_due();
        sleep_on(asleep_on_, std::max(next, clock_now() + shortest_sleep));
    }
}

} // namespace srd
