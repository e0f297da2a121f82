// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/watchdog.hpp"

#include <algorithm>

#include "progress/clock.hpp"
#include "progress/domain_progress.hpp"

namespace srd {

ProgressWatchdog::ProgressWatchdog(DomainProgress& domain) : domain_(domain)
{
    thread_.start("srd-watchdog", [this] { run(); });
}

void ProgressWatchdog::run() noexcept
{
    while (!thread_.stopping()) {
        thread_.drain();
        asleep_on_.assign(1, {thread_.fd(), POLLIN, 0});
        const Time next = domain_.look_after_silent(asleep_on_);
        domain_.due_work().run_due();
        domain_.show_all();
        const Time now = clock_now();
        sleep_on(asleep_on_, std::clamp(next, now + shortest_sleep, now + DomainProgress::show_interval));
    }
}

} // namespace srd
