// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/sim_clock.hpp"

#include <algorithm>

namespace srd::sim {

void SimClock::at(Time when, SimTarget& target, std::uint32_t what, std::uint64_t value)
{
    heap_.push_back({std::max(when, now_), order_++, &target, value, what});
    std::push_heap(heap_.begin(), heap_.end(), later);
}

bool SimClock::step(Time until)
{
    if (heap_.empty() || heap_.front().when > until) {
        now_ = std::max(now_, until);
        return false;
    }
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Entry entry = heap_.back();
    heap_.pop_back();
    now_ = entry.when;
    ++fired_;
    entry.target->fire(entry.what, entry.value);
    return true;
}

} // namespace srd::sim
