// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Virtual time: a queue of future events. Events of the same instant fire in
// the order in which they were scheduled, so a run is a function of its seed.
#pragma once

#include <cstdint>
#include <vector>

#include <srd/time.hpp>

namespace srd::sim {

/// Something that events happen to. Must outlive the events scheduled for it.
class SimTarget {
public:
    virtual void fire(std::uint32_t what, std::uint64_t value) = 0;

protected:
    ~SimTarget() = default;
};

class SimClock {
public:
    Time now() const noexcept { return now_; }
    bool empty() const noexcept { return heap_.empty(); }
    std::uint64_t fired() const noexcept { return fired_; }

    /// When the next event is due; time_never if none is.
    Time next() const noexcept { return heap_.empty() ? time_never : heap_.front().when; }

    /// Calls target.fire(what, value) at `when`, or now if that has passed.
    void at(Time when, SimTarget& target, std::uint32_t what, std::uint64_t value = 0);

    /// Fires the next event if it is due by `until`; else moves the time to `until` and returns false.
    bool step(Time until);

private:
    struct Entry {
        Time when{};
        std::uint64_t order = 0;
        SimTarget* target = nullptr;
        std::uint64_t value = 0;
        std::uint32_t what = 0;
    };
    static bool later(const Entry& a, const Entry& b) noexcept
    {
        return a.when != b.when ? a.when > b.when : a.order > b.order;
    }

    std::vector<Entry> heap_;
    Time now_{};
    std::uint64_t order_ = 0;
    std::uint64_t fired_ = 0;
};

} // namespace srd::sim
