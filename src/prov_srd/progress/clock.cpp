// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "progress/clock.hpp"

#include <ctime>

namespace srd {

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

void sleep_on(int descriptor, Time deadline) noexcept
{
    pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
    sleep_on({&entry, 1}, deadline);
}

void sleep_on(std::span<pollfd> descriptors, Time deadline) noexcept
{
    if (deadline == time_never) {
        ppoll(descriptors.data(), descriptors.size(), nullptr, nullptr);
        return;
    }
    const Time now = clock_now();
    const Duration left = deadline > now ? deadline - now : Duration::zero();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    ppoll(descriptors.data(), descriptors.size(), &timeout,
          nullptr); // an error or a signal only means to look once more
}

} // namespace srd
