// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Receives: posting, matching, placing, completing, canceling, peeking.
//
//   receive.cpp         posting, and the way of a message to its completion
//   receive_search.cpp  FI_PEEK, FI_CLAIM, FI_DISCARD, fi_cancel
//
// Laws:
//  - A receive is a ReceiveRecord from posting to completion; its index is the
//    engine's cookie.
//  - An FI_MULTI_RECV buffer is one record that stays posted, and one more (a
//    share) per message that is placed into it; the buffer is released with the
//    completion of the last share, so that FI_MULTI_RECV is always the last
//    thing the application hears of it.
//  - A message that finds no receive is parked in the engine and has an
//    UnexpectedRecord; where there is no room for either it is refused, and its
//    sender tries again.
//
// Threading: the calls take the endpoint's lock; what has SRD_REQUIRES is for who has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <sys/types.h>

#include "endpoint/bindings.hpp"
#include "endpoint/options.hpp"
#include "endpoint/peers.hpp"
#include "endpoint/progress_unit.hpp"
#include "endpoint/reports.hpp"
#include "matching/match.hpp"
#include "trigger/deferred_work.hpp"

namespace srd {

class Receive {
public:
    /// `self`: the endpoint, which work that `queue` holds back is started at later.
    Receive(ProgressUnit& unit, const Options& options, const Bindings& bindings, Peers& peers,
            Reports& reports, DeferredQueue& queue, OperationStarter& self) noexcept
        : unit_(unit), options_(options), bindings_(bindings), peers_(peers), reports_(reports),
          queue_(queue), self_(self)
    {
    }

    /// `messages`: receives that are being filled, shares of FI_MULTI_RECV buffers and unexpected messages
    /// at one time, beside the receives that are posted. Throws std::bad_alloc.
    void start(std::uint32_t messages) SRD_REQUIRES(endpoint_lock);

    // -- Calls: 0 or a negative fi_errno -----------------------------------------

    ssize_t post(const ReceiveArguments& arguments) noexcept SRD_EXCLUDES(endpoint_lock);
    int cancel(const void* context) noexcept SRD_EXCLUDES(endpoint_lock);
    /// The endpoint closes: from here on no message begins to be written into a posted buffer, whose owner
    /// may think it free already. Nothing is reported.
    void withdraw() noexcept SRD_REQUIRES(endpoint_lock);

    // -- For the progress unit ---------------------------------------------------

    void on_message(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    /// The engine has already discarded the message. If a receive had been promised it
    /// (FI_CLAIM), the promise is answered with the cause.
    void on_message_lost(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    void on_receive_done(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    /// FI_DIRECTED_RECV: what was to come from the peer fails with it. Whoever does not send, hears of its
    /// end through the event queue, if there is one.
    void on_peer_lost(const Event& event) noexcept SRD_REQUIRES(endpoint_lock);
    /// Sees whether those are still there from whom messages are awaited (FI_DIRECTED_RECV).
    void look_for_senders(Time now) noexcept SRD_REQUIRES(endpoint_lock);
    /// True if there are such.
    bool awaits_senders() const noexcept SRD_REQUIRES(endpoint_lock)
    {
        return matcher_ != nullptr && matcher_->directed_count() != 0;
    }
    std::uint32_t posted_receives() const noexcept SRD_REQUIRES(endpoint_lock)
    {
        return matcher_ != nullptr ? matcher_->posted_count() : 0;
    }
    std::uint32_t unexpected_messages() const noexcept SRD_REQUIRES(endpoint_lock)
    {
        return matcher_ != nullptr ? matcher_->unexpected.in_use() : 0;
    }
    /// Deferred work that was started here and is not complete is going to be counted by `counter`.
    bool counts_work_by(const CompletionCounter& counter) const noexcept SRD_REQUIRES(endpoint_lock);

private:
    /// What is known of a message that is being matched.
    struct Arrival {
        std::uint64_t tag;
        std::uint64_t data;
        std::uint64_t length;
        RouteId from;
        bool has_data;
    };

    /// The error entry of a receive that ends without a message.
    static CompletionError failed_receive(void* context, bool tagged, std::uint64_t tag,
                                          Cause cause) noexcept;

    // receive.cpp
    ssize_t check(const ReceiveArguments& arguments, std::size_t& capacity) const noexcept;
    ssize_t match(const ReceiveArguments& arguments, RouteId source, std::size_t capacity) noexcept
        SRD_REQUIRES(endpoint_lock);
    CountedBy counted_by(const ReceiveArguments& arguments, bool& silent) const noexcept
        SRD_REQUIRES(endpoint_lock);
    std::uint32_t new_receive(const ReceiveArguments& arguments, RouteId source,
                              std::size_t capacity) noexcept SRD_REQUIRES(endpoint_lock);
    void refuse(MessageId message) noexcept SRD_REQUIRES(endpoint_lock);
    static Arrival arrival_of(const UnexpectedRecord& record) noexcept;
    bool take_unexpected(std::uint32_t index, std::uint32_t found) noexcept SRD_REQUIRES(endpoint_lock);
    bool deliver(std::uint32_t index, MessageId message, const Arrival& arrival) noexcept
        SRD_REQUIRES(endpoint_lock);
    bool deliver_share(std::uint32_t index, MessageId message, const Arrival& arrival) noexcept
        SRD_REQUIRES(endpoint_lock);
    void complete(std::uint32_t index, Cause cause, std::uint64_t length) noexcept
        SRD_REQUIRES(endpoint_lock);
    void report_receive(const ReceiveRecord& record, Completion& completion, Cause cause, bool wanted,
                        std::uint64_t length) noexcept SRD_REQUIRES(endpoint_lock);
    void end_posted(std::uint32_t index, Cause cause) noexcept SRD_REQUIRES(endpoint_lock);
    void report_end(const ReceiveRecord& record, Cause cause) noexcept SRD_REQUIRES(endpoint_lock);
    void report_unstarted(const ReceiveArguments& arguments, int error, Cause cause) noexcept
        SRD_REQUIRES(endpoint_lock);

    // receive_search.cpp
    ssize_t search(const ReceiveArguments& arguments, RouteId source, Time now) noexcept
        SRD_REQUIRES(endpoint_lock);
    ssize_t retrieve_claimed(const ReceiveArguments& arguments, std::size_t capacity, Time now) noexcept
        SRD_REQUIRES(endpoint_lock);
    void report_message(const ReceiveArguments& arguments, const UnexpectedRecord& record) noexcept
        SRD_REQUIRES(endpoint_lock);

    ProgressUnit& unit_;
    const Options& options_;
    const Bindings& bindings_;
    Peers& peers_;
    Reports& reports_;
    DeferredQueue& queue_;
    OperationStarter& self_;
    std::unique_ptr<Matcher> matcher_ SRD_GUARDED_BY(endpoint_lock);
    bool peeks_ SRD_GUARDED_BY(endpoint_lock) = false;   ///< now: no message is put off
    Time refused_since_ SRD_GUARDED_BY(endpoint_lock){}; ///< messages, without a longer pause
    Time refused_at_ SRD_GUARDED_BY(endpoint_lock){};
};

} // namespace srd
