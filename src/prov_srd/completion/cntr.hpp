// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Counters of completed operations.
// Threading: every function may be called by any thread, under any lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_eq.h>

#include "completion/counted_by.hpp"
#include "progress/progress_group.hpp"

namespace srd {

struct Domain;
struct WaitSet;

struct CompletionCounter {
    CompletionCounter(Domain& owner, fi_wait_obj wait_object, void* context);
    ~CompletionCounter();
    CompletionCounter(const CompletionCounter&) = delete;
    CompletionCounter& operator=(const CompletionCounter&) = delete;

    void add(std::uint64_t count) noexcept
    {
        value.fetch_add(count, std::memory_order_seq_cst);
        changed();
    }
    void set(std::uint64_t count) noexcept
    {
        value.store(count, std::memory_order_seq_cst);
        changed();
    }
    void add_errors(std::uint64_t count) noexcept
    {
        errors.fetch_add(count, std::memory_order_seq_cst);
        changed();
    }
    void set_errors(std::uint64_t count) noexcept
    {
        errors.store(count, std::memory_order_seq_cst);
        changed();
    }
    std::uint64_t total() const noexcept
    {
        return value.load(std::memory_order_seq_cst) + errors.load(std::memory_order_seq_cst);
    }

    /// From now on every endpoint of the domain makes progress for this counter: memory regions count here
    /// (fi_mr_bind), or deferred work does, which any of them may be asked for. Throws std::bad_alloc.
    void count_for_domain();

    /// What somebody who looks now and then has last seen.
    struct Seen {
        std::atomic<std::uint64_t> value{0};
        std::atomic<std::uint64_t> errors{0};
    };
    /// True if the counter is not what it was when `seen` was last brought up to date, which this does.
    bool take_news(Seen& seen) noexcept
    {
        const std::uint64_t now = value.load(std::memory_order_seq_cst);
        const std::uint64_t errors_now = errors.load(std::memory_order_seq_cst);
        const bool is_new = seen.value.exchange(now, std::memory_order_relaxed) != now;
        return (seen.errors.exchange(errors_now, std::memory_order_relaxed) != errors_now) || is_new;
    }
    /// 0 when value >= threshold, -FI_EAVAIL when the errors change, -FI_ETIMEDOUT.
    int wait(std::uint64_t threshold, int timeout_ms) noexcept;
    /// 0 if it is safe to sleep on the descriptor, -FI_EAGAIN if the counter has changed since it was read.
    int try_wait() noexcept;

    fid_cntr fid{}; ///< must be first
    Domain& domain;
    const fi_wait_obj wait_obj;
    ProgressGroup group; ///< the endpoints that are counted here
    std::atomic<std::uint64_t> value{0};
    std::atomic<std::uint64_t> errors{0};
    std::atomic<std::uint32_t> regions{0};   ///< bindings of memory regions
    std::atomic<std::uint32_t> poll_sets{0}; ///< that it is in
    WaitSet* wait_set = nullptr;             ///< FI_WAIT_SET
    Seen polled;                             ///< by fi_poll()
    Seen read;                               ///< by the calls that read it, for try_wait()
    /// The lowest threshold of work that waits for this counter; written by DeferredQueue.
    std::atomic<std::uint64_t> trigger_at{UINT64_MAX};

private:
    /// A thread in wait().
    struct Waiter {
        std::uint64_t threshold;
        std::uint64_t errors; ///< when it began to wait
        Waiter* next = nullptr;
    };
    bool is_done(const Waiter& waiter) const noexcept
    {
        return value.load(std::memory_order_seq_cst) >= waiter.threshold ||
               errors.load(std::memory_order_seq_cst) != waiter.errors;
    }
    int sleep_until_done(Waiter& self, Time end) noexcept;
    void pass_on(const Waiter& self) noexcept;
    void changed() noexcept
    {
        if (total() >= trigger_at.load(std::memory_order_seq_cst)) [[unlikely]] {
            threshold_reached();
        }
        group.notify();
    }
    void threshold_reached() noexcept;

    std::mutex waiters_mutex_;
    Waiter* waiters_ = nullptr;
};

inline void CountedBy::succeeded() const noexcept
{
    for (CompletionCounter* counter : {endpoint, work}) {
        if (counter != nullptr) {
            counter->add(1);
        }
    }
}

inline void CountedBy::failed() const noexcept
{
    for (CompletionCounter* counter : {endpoint, work}) {
        if (counter != nullptr) {
            counter->add_errors(1);
        }
    }
}

/// The counter that `object` is, if it is one of `domain`; else null, with a line that calls it the `what`
/// counter.
CompletionCounter* counter_of(fid_cntr* object, const Domain& domain, const char* what) noexcept;

/// fi_cntr_open(3).
int cntr_open(fid_domain* domain, fi_cntr_attr* attr, fid_cntr** cntr, void* context) noexcept;
/// fi_trywait(3): 0 if it is safe to sleep on the wait descriptor, -FI_EAGAIN if the counter has changed.
int cntr_trywait(fid* cntr) noexcept;

inline CompletionCounter& cntr_from(fid_cntr* cntr) noexcept
{
    return *static_cast<CompletionCounter*>(static_cast<void*>(cntr));
}

} // namespace srd
