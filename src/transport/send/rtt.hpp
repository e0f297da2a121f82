// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the round trips to one peer look like: smoothed and deviation as RFC
// 6298 has them, the windowed minimum as the path's own delay, and maximum,
// minimum and median over the latest samples, which with spraying are samples
// of many paths: their spread is how far apart the paths are.
//
// Samples are kept in 32 bits of nanoseconds; longer ones than 4.29 s count as
// 4.29 s. Adding is constant time; the median is computed when asked for.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <srd/time.hpp>
#include <srd/windowed_min.hpp>

namespace srd {

class RttEstimator {
public:
    /// Assumed while nothing is known. Far above any round trip of the networks in
    /// question, and short enough that a lost first packet is no catastrophe.
    static constexpr Duration initial = std::chrono::milliseconds(5);

    /// How much of the time for which a packet lies with its reader counts for the timeout. Whoever is
    /// not looking for longer than that computes: repeating one packet for it is cheaper than repairing late.
    static constexpr Duration most_held = std::chrono::milliseconds(1);

    /// `sample`: of an echoed transmission, the time taken out for which it, or the acknowledgement, lay with
    /// its reader (`held`); zero and less are ignored.
    void add(Duration sample, Time now, Duration held = Duration::zero()) noexcept
    {
        if (sample <= Duration::zero()) {
            return;
        }
        const auto value = static_cast<std::uint32_t>(std::min<std::int64_t>(sample.count(), 0xfffffffeLL));
        const Duration response = sample + std::clamp(held, Duration::zero(), most_held);
        smooth(static_cast<std::uint32_t>(std::min<std::int64_t>(response.count(), 0xfffffffeLL)));
        min_.add(value, now);
        note_recent(value);
    }

    /// The same of a packet that is not echoed: the time between its sending and the arrival of the latest
    /// one with which it was acknowledged counts for recent_max(), as far as it is not beyond all measure.
    void add_response(Duration response) noexcept
    {
        if (!valid_ || response <= Duration::zero()) {
            return;
        }
        const std::int64_t most = std::min<std::int64_t>(std::int64_t{smoothed_} * 3, 0xfffffffeLL);
        std::uint32_t& group = group_max_[(next_ + group_size * groups - 1) / group_size % groups];
        group = std::max(group, static_cast<std::uint32_t>(std::min<std::int64_t>(response.count(), most)));
    }

    bool valid() const noexcept { return valid_; }

    /// Of the response: the round trip with the time, as far as it counts, that packets lay with their
    /// readers.
    Duration smoothed() const noexcept { return valid() ? Duration(smoothed_) : initial; }
    Duration variance() const noexcept { return valid() ? Duration(variance_) : initial / 2; }
    /// Over the last 5 to 10 s.
    Duration min() const noexcept { return valid() ? Duration(min_.value()) : initial; }
    /// Over the last 49 to 64 samples.
    Duration recent_max() const noexcept
    {
        return valid() ? Duration(*std::max_element(group_max_.begin(), group_max_.end())) : initial;
    }
    /// The retransmission timeout: smoothed + 4 variance, at least `floor`, doubled `backoff` times,
    /// at most `ceiling`.
    Duration rto(Duration floor, Duration ceiling, unsigned backoff) const noexcept
    {
        std::int64_t timeout = std::max(smoothed() + 4 * variance(), floor).count();
        for (; backoff != 0 && timeout < ceiling.count(); --backoff) {
            timeout *= 2;
        }
        return std::min(Duration(timeout), ceiling);
    }

private:
    static constexpr std::size_t group_size = 16; // samples
    static constexpr std::size_t groups = 4;

    void smooth(std::uint32_t value) noexcept
    {
        if (!valid()) {
            smoothed_ = value;
            variance_ = value / 2;
            return;
        }
        const std::int64_t error = std::int64_t{value} - smoothed_;
        const std::int64_t deviation = error < 0 ? -error : error;
        variance_ = static_cast<std::uint32_t>(variance_ + (deviation - variance_) / 4);
        smoothed_ = static_cast<std::uint32_t>(smoothed_ + error / 8);
    }

    void note_recent(std::uint32_t value) noexcept
    {
        if (next_ % group_size == 0) {
            next_ %= group_size * groups;
            group_max_[next_ / group_size] = value;
        }
        const std::size_t group = next_ / group_size;
        group_max_[group] = std::max(group_max_[group], value);
        ++next_;
        valid_ = true;
    }

    std::uint32_t smoothed_ = 0;
    std::uint32_t variance_ = 0;
    WindowedMin min_;
    std::array<std::uint32_t, groups> group_max_{};
    std::uint8_t next_ = 0; // 0 .. group_size * groups
    bool valid_ = false;    // a sample has come
};

static_assert(sizeof(RttEstimator) <= 64, "one per peer; an idle peer is to fit in 1 KiB");

} // namespace srd
