// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// When a thread that polls in vain gives way (sched_yield).
//
// Applications spin, Open MPI's blocking send without ever yielding. Where there are more of them than cores,
// the peer that one waits for may be the one that does not get to run. So whoever has found nothing for a
// while gives way; and where somebody else ran then, soon again, until nobody takes the core. On a core of
// its own a thread loses next to nothing, and on a shared one a message costs a change of processes instead
// of everybody's patience in turn.
//
// A neighbour that computes keeps the core for a slice of the scheduler's, milliseconds. Giving way to that
// one soon would cost a slice per message, so it is treated as if nobody were there.
#pragma once

#include <chrono>
#include <cstdint>

#include <srd/time.hpp>

namespace srd {

class IdlePatience {
public:
    /// How long a thread with a core of its own looks before it gives way.
    static constexpr Duration patience = std::chrono::microseconds(20);
    /// One that shares its core: about what a change of processes costs, but no fewer passes than these. An
    /// application that yields between its calls has others run in that time, and no need of us.
    static constexpr Duration short_patience = std::chrono::microseconds(2);
    static constexpr std::uint32_t few_passes = 8;
    /// Giving way takes less where nobody takes the core (0.5 us; there and back is above 2).
    static constexpr Duration empty_yield = std::chrono::nanoseconds(1200);
    /// Who keeps the core for so long computes.
    static constexpr Duration long_slice = std::chrono::microseconds(500);

    /// After a pass that began at `now`. True: give way, then say gave_way().
    bool after_pass(bool worked, Time now) noexcept
    {
        if (worked) {
            passes_ = 0;
            return false;
        }
        if (passes_++ == 0) {
            idle_since_ = now;
        }
        return passes_ >= few_passes && now - idle_since_ >= (shared_ ? short_patience : patience);
    }

    /// The thread gave way at `from` and runs again at `until`.
    void gave_way(Time from, Time until) noexcept
    {
        const Duration away = until - from;
        shared_ = away > empty_yield && away < long_slice;
        passes_ = 0;
    }

private:
    Time idle_since_{};        ///< the first of `passes_`
    std::uint32_t passes_ = 0; ///< in a row that found nothing
    bool shared_ = false;      ///< somebody else ran when we gave way last
};

} // namespace srd
