// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Receives that are looked for: FI_PEEK, FI_CLAIM, FI_DISCARD, fi_cancel(3).
#include "endpoint/receive.hpp"

#include <srd/check.hpp>

#include "common/iov_length.hpp"
#include "common/log.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "progress/clock.hpp"

namespace srd {

int Receive::cancel(const void* context) noexcept
{
    if (self_.triggerable() && queue_.cancel(self_, context)) {
        return 0;
    }
    CallGuard guard(unit_, queue_);
    if (!unit_.enabled()) {
        return -FI_EOPBADSTATE;
    }
    for (std::uint32_t index = 0; index < matcher_->receives.watermark(); ++index) {
        if (!matcher_->receives.live(index)) {
            continue;
        }
        const ReceiveRecord& record = matcher_->receives[index];
        if (!record.posted || record.context != context) {
            continue;
        }
        end_posted(index, Cause::canceled);
        return 0;
    }
    return 0; // complete, or being filled: its own completion comes or has come
}

void Receive::withdraw() noexcept
{
    for (std::uint32_t index = 0; posted_receives() != 0 && index < matcher_->receives.watermark(); ++index) {
        if (!matcher_->receives.live(index) || !matcher_->receives[index].posted) {
            continue;
        }
        matcher_->remove_posted(index);
        if (matcher_->receives[index].shares == 0) {
            matcher_->receives.release(index);
        }
    }
}

// -- FI_PEEK, FI_CLAIM, FI_DISCARD ----------------------------------------------

/// FI_PEEK: reports the earliest matching message that is here, and with FI_CLAIM keeps it for `context`,
/// with FI_DISCARD drops it.
ssize_t Receive::search(const ReceiveArguments& arguments, RouteId source, Time now) noexcept
{
    // A peek must see what has arrived, which may be behind other packets in the socket.
    constexpr int most_passes = 8;
    std::uint32_t index = no_index;
    bool worked = true;
    peeks_ = true;
    for (int passes = 0; worked && index == no_index && passes < most_passes; ++passes) {
        worked = unit_.pass(now);
        index = matcher_->find_unexpected(arguments.tagged, arguments.tag, arguments.ignore, source);
    }
    peeks_ = false;
    if (index == no_index) {
        CompletionError failure =
            failed_receive(arguments.context, arguments.tagged, arguments.tag, Cause::not_found);
        reports_.failure(bindings_.receive_queue(), failure, no_id<RouteId>);
        return 0;
    }
    const UnexpectedRecord& record = matcher_->unexpected[index];
    report_message(arguments, record);
    if ((arguments.flags & FI_DISCARD) != 0) {
        unit_.engine().discard(record.message);
        matcher_->remove_unexpected(index);
        matcher_->unexpected.release(index);
        unit_.flush();
    } else if ((arguments.flags & FI_CLAIM) != 0) {
        matcher_->claim(index, arguments.context);
    }
    return 0;
}

/// The completion of a peek, or of a claim that was discarded: what the message is, without its bytes.
void Receive::report_message(const ReceiveArguments& arguments, const UnexpectedRecord& record) noexcept
{
    Completion completion{.context = arguments.context,
                          .flags =
                              FI_RECV | kind_of(record.tagged) | (record.has_data ? FI_REMOTE_CQ_DATA : 0),
                          .length = record.length,
                          .data = record.data,
                          .tag = record.tag};
    reports_.arrival(completion, record.source);
}

/// FI_CLAIM: receives (or with FI_DISCARD drops) the message that an FI_PEEK | FI_CLAIM with this context
/// found.
ssize_t Receive::retrieve_claimed(const ReceiveArguments& arguments, std::size_t capacity, Time now) noexcept
{
    const std::uint32_t found = matcher_->find_claimed(arguments.context);
    if (found == no_index) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "FI_CLAIM: no message was claimed with this context by FI_PEEK | FI_CLAIM");
        return -FI_EINVAL;
    }
    const UnexpectedRecord record = matcher_->unexpected[found];
    if (record.cause == Cause::none && (arguments.flags & FI_DISCARD) == 0) {
        const std::uint32_t index = new_receive(arguments, record.source, capacity);
        if (index == no_index) {
            unit_.pass(now);
            return -FI_EAGAIN;
        }
        // accept() of a parked message does not fail
        SRD_CHECK(deliver(index, record.message, arrival_of(record)));
    } else if (record.cause == Cause::none) {
        unit_.engine().discard(record.message);
        report_message(arguments, record);
    } else {
        CompletionError failure = failed_receive(arguments.context, record.tagged, record.tag, record.cause);
        reports_.failure(bindings_.receive_queue(), failure, record.source);
    }
    matcher_->release_claimed(found);
    unit_.flush();
    return 0;
}

} // namespace srd
