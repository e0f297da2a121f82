// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <chrono>

#include <srd/time.hpp>

namespace srd {

/// When to poll a source where each poll is a system call and mostly finds nothing, because packets take
/// another way: every `interval`, and after one that found something, every time for a while.
class PollBackoff {
public:
    explicit constexpr PollBackoff(Duration interval) noexcept : interval_(interval) {}

    bool due(Time now) const noexcept { return now >= due_; }
    /// Due since `wait` or longer, or every time because of what was found: it goes before other sources.
    bool overdue(Time now, Duration wait) const noexcept
    {
        return now >= due_ && (now < active_until_ || now >= due_ + wait);
    }
    void polled(Time now, bool found) noexcept
    {
        if (found) {
            active_until_ = now + active_time;
        }
        due_ = now < active_until_ ? now : now + interval_;
    }
    /// Something may be there: poll next time in any case.
    void hurry() noexcept { due_ = Time{}; }

private:
    static constexpr Duration active_time = std::chrono::milliseconds(1);

    Duration interval_;
    Time due_{};
    Time active_until_{};
};

} // namespace srd
