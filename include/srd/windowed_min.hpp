// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The smallest of recent values.
#pragma once

#include <algorithm>
#include <cstdint>

#include <srd/time.hpp>

namespace srd {

/// The smallest value seen in the last one to two half-windows: two numbers instead of a queue.
class WindowedMin {
public:
    static constexpr Duration half_window = std::chrono::seconds(5);

    void add(std::uint32_t value, Time now) noexcept
    {
        if (now - start_ >= half_window) {
            previous_ = now - start_ >= 2 * half_window ? none : current_;
            current_ = none;
            start_ = now;
        }
        current_ = std::min(current_, value);
    }
    /// Meaningless before the first add().
    std::uint32_t value() const noexcept { return std::min(previous_, current_); }

private:
    static constexpr std::uint32_t none = 0xffffffffU;
    Time start_{};

    std::uint32_t previous_ = none;
    std::uint32_t current_ = none;
};

} // namespace srd
