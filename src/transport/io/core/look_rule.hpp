// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <chrono>

#include <srd/time.hpp>

namespace srd {

/// When to look again at a source where each look is a system call and mostly finds nothing, because packets
/// take another way: every `interval`, and after one that found something, every time for a while.
class LookRule {
public:
    explicit constexpr LookRule(Duration interval) noexcept : interval_(interval) {}

    bool due(Time now) const noexcept { return now >= due_; }
    /// Due for so long already, or every time because of what was found.
    bool urgent(Time now, Duration since) const noexcept
    {
        return now >= due_ && (now < active_until_ || now >= due_ + since);
    }
    void looked(Time now, bool found) noexcept
    {
        if (found) {
            active_until_ = now + streak;
        }
        due_ = now < active_until_ ? now : now + interval_;
    }
    /// Something may be there: look next time in any case.
    void hurry() noexcept { due_ = Time{}; }

private:
    static constexpr Duration streak = std::chrono::milliseconds(1);

    Duration interval_;
    Time due_{};
    Time active_until_{};
};

} // namespace srd
