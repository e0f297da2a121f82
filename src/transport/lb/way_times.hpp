// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What packets lately met on each of several ways to a peer (Rails): how long they took, which way that
// recommends, and which have arrived: each way has queues of its own, so a packet is not late because one
// that was sent later on another way has arrived.
//
// Acknowledgements clock the paths: what came back goes out again where it came back from, so ways of
// different rate get what they carry. But it stays there, too: a way that has got little at first, or was
// dead meanwhile, would get little for ever. So now and then a batch takes the way that is fastest by a clear
// margin, until the queues on all of them take the same time.
//
//  - one batch in `period` at the most is moved: what is told of a way is a round trip old, and all of them
//    would go to the one that was free then;
//  - a way of which nothing was heard for a while counts as free; one that has lost a packet, as none, until
//    something is heard of it or a while has passed.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

#include <srd/limits.hpp>
#include <srd/time.hpp>

namespace srd {

/// All bytes zero: nothing is known.
class WayTimes {
public:
    static constexpr unsigned period = 4;
    static constexpr unsigned dead_losses = 12;
    static constexpr Duration while_fresh = std::chrono::milliseconds(10);

    /// A packet that took the way was acknowledged after so long.
    void on_sample(unsigned way, Duration rtt, Time now) noexcept
    {
        Seen& seen = seen_[way];
        const auto ns = static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt.count(), 1, lost - 1));
        const bool goes_on = seen.ns != lost && is_fresh(seen, now);
        seen.ns = goes_on ? static_cast<std::uint32_t>((std::uint64_t{seen.ns} * 3 + ns) / 4) : ns;
        seen.at = stamp(now);
    }
    void on_lost(unsigned way, Time now) noexcept
    {
        seen_[way].ns = lost;
        seen_[way].at = stamp(now);
        ++seen_[way].lost_in_a_row;
    }
    /// So many packets of the way were lost that nothing gets through any more, as it seems.
    bool is_dead(unsigned way) const noexcept { return seen_[way].lost_in_a_row >= dead_losses; }
    /// Something does, after all.
    void revive(unsigned way) noexcept { seen_[way].lost_in_a_row = 0; }
    /// A packet that was sent on the way at `sent_at` has arrived.
    void on_arrived(unsigned way, Time sent_at) noexcept
    {
        seen_[way].passed = std::max(seen_[way].passed, sent_at);
        revive(way);
    }
    /// One that was sent later has.
    bool has_passed(unsigned way, Time sent_at) const noexcept { return seen_[way].passed > sent_at; }

    /// The way that a batch takes which would take `way`: that, or a faster one of `open`.
    unsigned choose(unsigned way, std::uint32_t open, Time now) noexcept
    {
        if (++batches_ % period != 0) {
            return way;
        }
        unsigned best = way;
        for (std::uint32_t left = open; left != 0; left &= left - 1) {
            const auto other = static_cast<unsigned>(std::countr_zero(left));
            best = time_of(other, now) < time_of(best, now) ? other : best;
        }
        return time_of(best, now) + time_of(best, now) / 4 < time_of(way, now) ? best : way;
    }

private:
    struct Seen {
        std::uint32_t ns; ///< smoothed; 0: never
        std::uint32_t at; ///< stamp()
        Time passed;      ///< when the latest packet was sent that has arrived, as far as is known
        std::uint32_t lost_in_a_row;
    };
    static constexpr std::uint32_t lost = 0xffffffff;

    static std::uint32_t stamp(Time now) noexcept
    {
        return static_cast<std::uint32_t>(now.time_since_epoch().count() >> 10);
    }
    static bool is_fresh(const Seen& seen, Time now) noexcept
    {
        const std::int64_t age = std::int64_t{stamp(now) - seen.at} << 10;
        const std::int64_t wait = seen.ns == lost ? 0 : std::int64_t{seen.ns} * 4;
        return seen.ns != 0 && age < std::max(while_fresh.count(), wait);
    }
    std::uint64_t time_of(unsigned way, Time now) const noexcept
    {
        return is_fresh(seen_[way], now) ? seen_[way].ns : 0;
    }

    std::array<Seen, std::size_t{max_rails} * max_rails> seen_;
    std::uint32_t batches_;
};

} // namespace srd
