// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an endpoint starts at its peers: sends, reads, writes, atomics.
//
//   transmit.cpp         what all of them share; sends, reads and writes; completions
//   transmit_atomic.cpp  atomics
//
// Law: an operation that was started has a TransmitRecord until the engine
// reports its end, and its index is the engine's cookie; one of which nobody wants to
// hear (silent and not counted) has none. Each ends once.
//
// Threading: the calls take the endpoint's lock; what has SRD_REQUIRES is for who has it.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

#include <srd/slab.hpp>

#include "endpoint/bindings.hpp"
#include "endpoint/options.hpp"
#include "endpoint/peers.hpp"
#include "endpoint/progress_unit.hpp"
#include "endpoint/reports.hpp"
#include "trigger/deferred_work.hpp"

namespace srd {

class Transmit {
public:
    /// `self`: the endpoint, which work that `queue` holds back is started at later.
    Transmit(ProgressUnit& unit, const Options& options, const Bindings& bindings, Peers& peers,
             Reports& reports, DeferredQueue& queue, OperationStarter& self) noexcept
        : unit_(unit), options_(options), bindings_(bindings), peers_(peers), reports_(reports),
          queue_(queue), self_(self)
    {
    }

    /// Room for `operations` at one time. Throws std::bad_alloc.
    void start(std::uint32_t operations) SRD_REQUIRES(endpoint_lock) { records_.emplace(operations); }

    // -- Calls: 0 or a negative fi_errno -----------------------------------------

    ssize_t send(const SendArguments& arguments) noexcept SRD_EXCLUDES(endpoint_lock);
    ssize_t access(const RmaArguments& arguments) noexcept SRD_EXCLUDES(endpoint_lock);
    ssize_t atomic(const AtomicArguments& arguments) noexcept SRD_EXCLUDES(endpoint_lock);

    // -- For the progress unit ---------------------------------------------------

    void on_send_done(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    /// Deferred work that was started here and is not complete is going to be counted by `counter`.
    bool counts_work_by(const CompletionCounter& counter) const noexcept SRD_REQUIRES(endpoint_lock);

private:
    /// What the application wants to know when something it started completes.
    struct TransmitRecord {
        bool wants_completion;
        bool silent;
        void* context;
        std::uint64_t flags; ///< of the completion
        CountedBy counted_by;
    };
    /// How an operation of one kind completes.
    struct Completes {
        std::uint64_t flags;                            ///< of its completion
        CompletionCounter* OperationCounters::*counter; ///< of the endpoint, that counts it
    };

    /// Flags and sizes that no transmit call takes: 0 or a negative fi_errno, with a line about `call`.
    ssize_t check(const char* call, SizeKind kind, std::uint64_t flags, std::size_t length) const noexcept;
    /// The common part of every transmit call. `operation` lacks what the request says.
    ssize_t begin(Operation& operation, const Request& request, const Completes& completes) noexcept
        SRD_EXCLUDES(endpoint_lock);
    /// begin(), of a send or write whose payload is on a device.
    ssize_t begin_from_device(Operation& operation, const Request& request, const Completes& completes,
                              std::size_t length) noexcept SRD_EXCLUDES(endpoint_lock);
    ssize_t submit(Operation& operation, const Request& request, TransmitRecord& record) noexcept
        SRD_REQUIRES(endpoint_lock);
    ssize_t not_submitted(const Operation& operation, Status status) noexcept SRD_REQUIRES(endpoint_lock);
    void report_done(const TransmitRecord& record) noexcept SRD_REQUIRES(endpoint_lock);
    void report_failed(const TransmitRecord& record, int error, Cause cause, RouteId route) noexcept
        SRD_REQUIRES(endpoint_lock);

    ProgressUnit& unit_;
    const Options& options_;
    const Bindings& bindings_;
    Peers& peers_;
    Reports& reports_;
    DeferredQueue& queue_;
    OperationStarter& self_;
    std::optional<Slab<TransmitRecord>> records_ SRD_GUARDED_BY(endpoint_lock);
};

} // namespace srd
