// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which counters an operation changes when it completes. The functions are in cntr.hpp.
#pragma once

namespace srd {

struct CompletionCounter;

struct CountedBy {
    CompletionCounter* endpoint = nullptr; ///< bound to the endpoint for this kind of operation, or null
    CompletionCounter* work = nullptr;     ///< completion counter of deferred work, or null

    bool nobody() const noexcept { return endpoint == nullptr && work == nullptr; }
    inline void succeeded() const noexcept;
    inline void failed() const noexcept;
};

} // namespace srd
