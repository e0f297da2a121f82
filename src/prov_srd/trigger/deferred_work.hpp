// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_trigger(3): operations that wait for a counter. Two kinds share one queue
// per domain:
//   triggered operations   FI_TRIGGER with a struct fi_triggered_context; they start when the counter's
//                          value reaches the threshold, and complete like any other operation
//   deferred work          FI_QUEUE_WORK with a struct fi_deferred_work; it starts when value plus errors
//                          do, and is counted by a counter of its own
//
// Counters change while an endpoint's lock is held, and work takes that lock when it starts. So a
// counter that reaches a threshold only leaves a note (mark_due()); the work is run by whoever next leaves a
// call or finishes a pass with no lock held (run_due()), which for the thread that changed the counter is
// the very call it is in. What a work changes while it runs is noted in the same way: there is no recursion.
//
// Work that waits for one counter starts in the order of its thresholds, then of submission. One that must be
// tried again (-FI_EAGAIN) holds up those behind it, and is tried after every pass.
//
// Everything that a request points to, except the data, is copied when it is queued.
#pragma once

#include <cstdint>
#include <map>
#include <variant>
#include <vector>

#include <rdma/fabric.h>
#include <rdma/fi_trigger.h>

#include "progress/domain_progress.hpp"
#include "progress/due_work.hpp"
#include "progress/progress_lock.hpp"
#include "trigger/requests.hpp"

namespace srd {

class DeferredQueue final : public DueWork {
public:
    explicit DeferredQueue(DomainProgress& domain) noexcept : domain_(domain) {}

    // -- By endpoints: calls with FI_TRIGGER ----------------------------------

    /// Queues an operation that its call has checked: Send-, Rma-, Atomic- or ReceiveArguments.
    /// 0 or a negative fi_errno.
    template <typename Arguments>
    ssize_t queue(OperationStarter& endpoint, const Arguments& arguments) noexcept SRD_EXCLUDES(lock_);
    /// fi_cancel(): ends the first triggered operation with that context. False: there is none.
    bool cancel(const OperationStarter& endpoint, const void* context) noexcept SRD_EXCLUDES(lock_);
    /// `endpoint` closes: its work is dropped.
    void forget(const OperationStarter& endpoint) noexcept SRD_EXCLUDES(lock_);

    // -- By counters ----------------------------------------------------------

    bool names(const CompletionCounter& counter) noexcept override SRD_EXCLUDES(lock_);

    // -- By fi_control() of a domain --------------------------------------------

    /// A change of `counter` by `value` when `triggering` reaches the threshold of `work`. Throws
    /// std::bad_alloc.
    void queue_change(CompletionCounter& counter, std::uint64_t value, bool adds,
                      CompletionCounter& triggering, const fi_deferred_work& work) SRD_EXCLUDES(lock_);
    /// 0, or -FI_ENOENT if it does not wait any more.
    int cancel_work(const fi_deferred_work& work) noexcept SRD_EXCLUDES(lock_);
    /// Of one triggering counter, or (null) all.
    void flush_work(const CompletionCounter* counter) noexcept SRD_EXCLUDES(lock_);

private:
    struct CounterChange {
        CompletionCounter* counter;
        std::uint64_t value;
        bool adds;
    };
    /// A queued operation with the arrays that its arguments point to.
    struct Work {
        Deferral deferral{};
        OperationStarter* endpoint = nullptr; ///< null for a CounterChange
        std::variant<CounterChange, SendArguments, RmaArguments, AtomicArguments, ReceiveArguments> operation;
        std::vector<iovec> iov;
        std::vector<fi_rma_iov> remote;
        std::vector<fi_ioc> operands;
        std::vector<fi_ioc> compare;
        std::vector<fi_ioc> result;
        std::vector<fi_rma_ioc> remote_operands;
    };
    /// Holds lock_, and then starts what others could not start meanwhile.
    class SRD_SCOPED_CAPABILITY Guard {
    public:
        explicit Guard(DeferredQueue& queue) noexcept SRD_ACQUIRE(queue.lock_) : queue_(queue)
        {
            queue_.lock_.lock();
        }
        ~Guard() SRD_RELEASE()
        {
            queue_.lock_.unlock();
            if (queue_.is_due()) {
                queue_.run();
            }
        }
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;

    private:
        DeferredQueue& queue_;
    };
    using Waiting = std::multimap<std::uint64_t, Work>; ///< by threshold, then in the order of submission

    template <typename Arguments>
    void keep(Work& work, const Arguments& arguments);
    void insert(CompletionCounter& counter, std::uint64_t threshold, Work&& work) SRD_EXCLUDES(lock_);

    // is_due() after lock_ was released sees every note of those who could not get the lock, or they find it
    // free, because both are changes of one variable in some order. So none is lost.
    void run() noexcept override SRD_EXCLUDES(lock_);
    bool run_counter(CompletionCounter& counter, Waiting& waiting) noexcept SRD_REQUIRES(lock_);
    ssize_t start(Work& work) noexcept SRD_REQUIRES(lock_);
    static void update_trigger(CompletionCounter& counter, const Waiting& waiting) noexcept;
    static const void* context_of(const Work& work) noexcept;
    template <typename Match>
    bool drop(Match&& match) noexcept SRD_REQUIRES(lock_);

    DomainProgress& domain_;
    // Held while work starts, so it comes before every other lock; always a real one, because a
    // thread comes here again from the work it starts.
    ProgressLock lock_;
    std::map<CompletionCounter*, Waiting> waiting_ SRD_GUARDED_BY(lock_); ///< by triggering counter
};

struct Domain;
/// The queue of an open domain.
DeferredQueue& deferred_queue(const Domain& domain) noexcept;

} // namespace srd
