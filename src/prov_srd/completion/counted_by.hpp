// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which counters an operation changes when it completes. The functions are in cntr.hpp.
#pragma once

#include <cstdint>

namespace srd {

struct CompletionCounter;

struct CountedBy {
    CompletionCounter* endpoint = nullptr; ///< bound to the endpoint for this kind of operation, or null
    CompletionCounter* work = nullptr;     ///< completion counter of deferred work, or null

    bool nobody() const noexcept { return endpoint == nullptr && work == nullptr; }
    inline void succeeded() const noexcept;
    inline void failed() const noexcept;
};

/// True if one of the operations in `records` (a slab, whose items have a CountedBy) is deferred work that
/// `counter` is going to count.
template <typename Records>
bool any_counts_work_by(const Records& records, const CompletionCounter& counter) noexcept
{
    for (std::uint32_t index = 0; index < records.watermark(); ++index) {
        if (records.live(index) && records[index].counted_by.work == &counter) {
            return true;
        }
    }
    return false;
}

} // namespace srd
