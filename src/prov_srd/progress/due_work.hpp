// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Work that a change of a counter starts (trigger/), as seen from below: whoever
// changes a counter leaves a note, and whoever next holds no lock starts the work.
#pragma once

#include <atomic>
#include <cstdint>

namespace srd {

struct CompletionCounter;

class DueWork {
public:
    DueWork() = default;
    virtual ~DueWork() = default;
    DueWork(const DueWork&) = delete;
    DueWork& operator=(const DueWork&) = delete;

    /// A counter has reached a threshold. Any lock may be held.
    void mark_due() noexcept { due_.fetch_or(1, std::memory_order_acq_rel); }
    /// Starts what is due, unless another thread is at it. No lock may be held.
    void run_due() noexcept
    {
        if (due_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
            run();
        }
    }
    /// Whether work that is queued or not complete names `counter`. No lock may be held.
    virtual bool names(const CompletionCounter& counter) noexcept = 0;

protected:
    /// Starts what is due, now that is_due() is or was true.
    virtual void run() noexcept = 0;
    void clear_due() noexcept { due_.store(0, std::memory_order_relaxed); }
    /// A change of the variable, like mark_due(), so that the two have an order.
    bool is_due() noexcept { return due_.fetch_or(0, std::memory_order_acq_rel) != 0; }

private:
    std::atomic<std::uint32_t> due_{0};
};

} // namespace srd
