// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Receives: posting, matching, placing, completing, canceling, peeking.
//
// A receive is a ReceiveRecord from posting to completion; its index is the
// engine's cookie. An FI_MULTI_RECV buffer is one record that stays posted, and
// one more (a share) per message that is placed into it; the buffer is released
// with the completion of the last share, so that FI_MULTI_RECV is always the
// last thing the application hears of it.
#include <algorithm>

#include "common/log.hpp"
#include "common/measure.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "endpoint/endpoint.hpp"
#include "objects/fabric_domain.hpp"
#include "progress/progress_group.hpp"

namespace srd {
namespace {

/// A receive that ends without a message.
CompletionError failed_receive(void* context, bool tagged, std::uint64_t tag, int error, Cause cause) noexcept
{
    return {.completion = {.context = context, .flags = FI_RECV | kind_of(tagged), .tag = tag},
            .error = error,
            .cause = cause};
}

} // namespace

// -- Receiving ----------------------------------------------------------------

ssize_t Endpoint::check_receive(const ReceiveArguments& arguments, std::size_t& capacity) const noexcept
{
    if ((arguments.flags & (FI_PEEK | FI_DISCARD)) != 0) {
        capacity = 0; // the buffers are ignored
    } else if (!measure("receive", arguments.iov, arguments.count, capacity)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if ((arguments.flags & FI_MULTI_RECV) != 0 && !arguments.tagged &&
        (arguments.count != 1 || capacity < min_multi_receive_.load(std::memory_order_relaxed)))
        [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "FI_MULTI_RECV: one buffer of at least FI_OPT_MIN_MULTI_RECV (%zu) bytes is needed; "
                        "there are %zu iovecs with %zu bytes",
                        min_multi_receive_.load(std::memory_order_relaxed), arguments.count, capacity);
        return -FI_EINVAL;
    }
    if ((arguments.flags & FI_DISCARD) != 0 && (arguments.flags & (FI_PEEK | FI_CLAIM)) == 0) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "receive: FI_DISCARD goes with FI_PEEK or FI_CLAIM");
        return -FI_EINVAL;
    }
    if ((arguments.flags & FI_CLAIM) != 0 && arguments.context == nullptr) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "receive: FI_CLAIM needs a struct fi_context as the context");
        return -FI_EINVAL;
    }
    return 0;
}

ssize_t Endpoint::receive(const ReceiveArguments& arguments) noexcept
{
    std::size_t capacity = 0;
    if (const ssize_t error = check_receive(arguments, capacity); error != 0) [[unlikely]] {
        return error;
    }
    if ((arguments.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return domain.deferred_work.queue(*this, arguments);
    }
    CallGuard guard(lock, domain.deferred_work);
    if (!enabled_.load(std::memory_order_relaxed)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "receive: the endpoint is not enabled; call fi_enable first");
        return -FI_EOPBADSTATE;
    }
    if (arguments.deferral != nullptr && arguments.deferral->canceled) [[unlikely]] {
        report_unstarted(arguments, FI_ECANCELED, Cause::canceled);
        return 0;
    }
    RouteId source = any_source;
    if ((caps_ & FI_DIRECTED_RECV) != 0 && arguments.from != FI_ADDR_UNSPEC) {
        if (const ssize_t error = find_route(arguments.from, source); error != 0) [[unlikely]] {
            if (arguments.deferral == nullptr) {
                return error;
            }
            report_unstarted(arguments, static_cast<int>(-error), Cause::unreachable);
            return 0; // the call that queued it has returned long ago
        }
    }
    if ((arguments.flags & (FI_PEEK | FI_CLAIM)) != 0) [[unlikely]] {
        return (arguments.flags & FI_PEEK) != 0 ? search(arguments, source, clock_now())
                                                : retrieve_claimed(arguments, capacity, clock_now());
    }
    const std::uint32_t index = new_receive(arguments, source, capacity);
    if (index == no_index) [[unlikely]] {
        pass(clock_now());
        return -FI_EAGAIN;
    }
    std::uint32_t found =
        matcher_->find_unexpected(arguments.tagged, arguments.tag, arguments.ignore, source);
    if (found == no_index) [[likely]] {
        matcher_->post(index);
        return 0;
    }
    const Time now = clock_now();
    if (!matcher_->receives[index].multi_receive) {
        take_unexpected(index, found, now);
    } else {
        matcher_->post(index);
        while (found != no_index && matcher_->receives[index].posted) {
            if (!take_unexpected(index, found, now)) {
                break; // no record for its share now; later messages wait behind it
            }
            found = matcher_->receives.live(index)
                        ? matcher_->find_unexpected(false, 0, arguments.ignore, source)
                        : no_index;
        }
    }
    flush();
    return 0;
}

CountedBy Endpoint::counted_by(const ReceiveArguments& arguments, bool& silent) const noexcept
{
    CountedBy result{.endpoint = receive_counter_, .work = nullptr};
    silent = false;
    if (arguments.deferral != nullptr) [[unlikely]] {
        arguments.deferral->redirect(result, silent, arguments.flags);
    }
    return result;
}

/// A record for a receive that is not posted yet; no_index if there are too many.
std::uint32_t Endpoint::new_receive(const ReceiveArguments& arguments, RouteId source,
                                    std::size_t capacity) noexcept
{
    if (matcher_->posted_count() >= receive_limit_) [[unlikely]] {
        return no_index;
    }
    const std::uint32_t index = matcher_->receives.alloc();
    if (index == no_index) [[unlikely]] {
        return no_index;
    }
    ReceiveRecord& record = matcher_->receives[index];
    record.tag = arguments.tag;
    record.ignore = arguments.ignore;
    record.context = arguments.context;
    record.source = source;
    record.tagged = arguments.tagged;
    record.counted_by = counted_by(arguments, record.silent);
    record.wants_completion = !record.silent && wants_entry(arguments.flags, rx_selective_);
    record.multi_receive =
        (arguments.flags & (FI_MULTI_RECV | FI_CLAIM)) == FI_MULTI_RECV && !arguments.tagged;
    record.iov_count = static_cast<std::uint8_t>(arguments.count);
    std::copy_n(arguments.iov, arguments.count, record.iov.begin());
    record.capacity = capacity;
    record.parent = no_index;
    return index;
}

Endpoint::Arrival Endpoint::arrival_of(const UnexpectedRecord& record) noexcept
{
    return {.tag = record.tag,
            .data = record.data,
            .length = record.length,
            .from = record.source,
            .has_data = record.has_data};
}

/// Gives message `found` to receive `index`. False: not now, it stays where it is.
bool Endpoint::take_unexpected(std::uint32_t index, std::uint32_t found, Time now) noexcept
{
    const UnexpectedRecord record = matcher_->unexpected[found];
    if (!deliver(index, record.message, arrival_of(record), now)) {
        return false;
    }
    matcher_->remove_unexpected(found);
    matcher_->unexpected.release(found);
    return true;
}

/// Places a message into a receive, which is posted, or is not yet and takes a parked message.
/// False: nothing has changed, the message must be refused (or stay parked).
bool Endpoint::deliver(std::uint32_t index, MessageId message, const Arrival& arrival, Time now) noexcept
{
    ReceiveRecord& record = matcher_->receives[index];
    if (record.multi_receive) {
        return deliver_share(index, message, arrival, now);
    }
    Accepted outcome{};
    const std::span<const iovec> iov(record.iov.data(), record.iov_count);
    if (engine_->accept(message, iov, index, outcome) != Status::ok) [[unlikely]] {
        return false;
    }
    if (record.posted) {
        matcher_->withdraw(index);
    }
    record.matched_tag = arrival.tag;
    record.data = arrival.data;
    record.from = arrival.from;
    record.has_data = arrival.has_data;
    if (outcome == Accepted::complete) {
        complete_receive(index, Cause::none, arrival.length);
    }
    return true;
}

bool Endpoint::deliver_share(std::uint32_t index, MessageId message, const Arrival& arrival,
                             Time now) noexcept
{
    const std::uint32_t share_index = matcher_->receives.alloc();
    if (share_index == no_index) {
        return false;
    }
    ReceiveRecord& buffer = matcher_->receives[index];
    ReceiveRecord& share = matcher_->receives[share_index];
    const std::size_t size = std::min<std::size_t>(arrival.length, buffer.capacity);
    share.context = buffer.context;
    share.wants_completion = buffer.wants_completion;
    share.silent = buffer.silent;
    share.counted_by = buffer.counted_by;
    share.iov_count = 1;
    share.iov[0] = {buffer.iov[0].iov_base, size};
    share.capacity = size;
    share.parent = index;
    share.data = arrival.data;
    share.from = arrival.from;
    share.has_data = arrival.has_data;
    Accepted outcome{};
    if (engine_->accept(message, std::span(share.iov).first(1), share_index, outcome) != Status::ok) {
        matcher_->receives.release(share_index);
        return false;
    }
    ++buffer.shares;
    buffer.iov[0].iov_base = static_cast<std::byte*>(buffer.iov[0].iov_base) + size;
    buffer.capacity -= size;
    if (buffer.capacity < std::max<std::size_t>(min_multi_receive_.load(std::memory_order_relaxed), 1)) {
        matcher_->withdraw(index);
    }
    if (outcome == Accepted::complete) {
        complete_receive(share_index, Cause::none, arrival.length);
    }
    return true;
}

/// The end of a receive: all `length` bytes of the message are placed or discarded, or it failed.
void Endpoint::complete_receive(std::uint32_t index, Cause cause, std::uint64_t length) noexcept
{
    const ReceiveRecord record = matcher_->receives[index];
    matcher_->receives.release(index);
    Completion completion{.context = record.context,
                          .flags =
                              FI_RECV | kind_of(record.tagged) | (record.has_data ? FI_REMOTE_CQ_DATA : 0),
                          .length = std::min<std::size_t>(length, record.capacity),
                          .buffer = record.iov_count != 0 ? record.iov[0].iov_base : nullptr,
                          .data = record.data,
                          .tag = record.matched_tag};
    if (cause == Cause::none && length > record.capacity) {
        cause = Cause::truncated;
    }
    if (record.parent == no_index) [[likely]] {
        report_receive(record, completion, cause, record.wants_completion, length);
        return;
    }
    ReceiveRecord& buffer = matcher_->receives[record.parent];
    --buffer.shares;
    const bool last = !buffer.posted && buffer.shares == 0;
    const bool released = last && !buffer.canceled;
    completion.flags |= released ? FI_MULTI_RECV : 0;
    // fi_msg(3): the release is reported also where completions are suppressed.
    report_receive(record, completion, cause, record.wants_completion || (released && !record.silent),
                   length);
    if (last) {
        if (buffer.canceled) {
            report_cancel(buffer);
        }
        matcher_->receives.release(record.parent);
    }
}

void Endpoint::report_receive(const ReceiveRecord& record, Completion& completion, Cause cause, bool wanted,
                              std::uint64_t length) noexcept
{
    if (cause == Cause::none) [[likely]] {
        record.counted_by.succeeded();
        if (wanted) {
            report_arrival(completion, record.from);
        }
        return;
    }
    record.counted_by.failed();
    CompletionQueue* const cq = record.silent ? nullptr : rx_cq_;
    CompletionError failure{.completion = completion, .error = error_of(cause), .cause = cause};
    if (cause == Cause::truncated) {
        failure.overflow = length - record.capacity;
        report_failure(cq, failure, no_id<RouteId>);
        return;
    }
    failure.completion.length = 0;
    warn_of_peer(record.from, cause);
    report_failure(cq, failure, record.from);
}

void Endpoint::report_arrival(Completion& completion, RouteId from) noexcept
{
    if (rx_cq_ == nullptr) {
        return;
    }
    if ((caps_ & FI_SOURCE) != 0) {
        completion.source = source_of(from);
    }
    constexpr std::uint64_t named = FI_SOURCE | FI_SOURCE_ERR;
    if ((caps_ & named) == named && completion.source == FI_ADDR_NOTAVAIL) {
        CompletionError failure{.completion = completion, .error = FI_EADDRNOTAVAIL};
        report_failure(rx_cq_, failure, from);
    } else {
        rx_cq_->write(completion);
    }
}

void Endpoint::report_cancel(const ReceiveRecord& record) noexcept
{
    CompletionError failure =
        failed_receive(record.context, record.tagged, record.tag, FI_ECANCELED, Cause::canceled);
    if (record.multi_receive) {
        failure.completion.flags |= FI_MULTI_RECV;
    }
    report_failure(record.silent ? nullptr : rx_cq_, failure, no_id<RouteId>);
    record.counted_by.failed();
}

/// A receive of fi_trigger(3) ends before it was posted.
void Endpoint::report_unstarted(const ReceiveArguments& arguments, int error, Cause cause) noexcept
{
    bool silent = false;
    counted_by(arguments, silent).failed();
    CompletionError failure =
        failed_receive(arguments.context, arguments.tagged, arguments.tag, error, cause);
    report_failure(silent ? nullptr : rx_cq_, failure, no_id<RouteId>);
}

int Endpoint::cancel(const void* context) noexcept
{
    if (triggerable() && domain.deferred_work.cancel(*this, context)) {
        return 0;
    }
    CallGuard guard(lock, domain.deferred_work);
    if (!enabled_.load(std::memory_order_relaxed)) {
        return -FI_EOPBADSTATE;
    }
    for (std::uint32_t index = 0; index < matcher_->receives.watermark(); ++index) {
        if (!matcher_->receives.live(index)) {
            continue;
        }
        ReceiveRecord& record = matcher_->receives[index];
        if (!record.posted || record.context != context) {
            continue;
        }
        matcher_->withdraw(index);
        if (record.shares != 0) {
            record.canceled = true; // reported with the last share
        } else {
            report_cancel(record);
            matcher_->receives.release(index);
        }
        return 0;
    }
    return 0; // complete, or being filled: its own completion comes or has come
}

// -- FI_PEEK, FI_CLAIM, FI_DISCARD ----------------------------------------------

/// FI_PEEK: reports the earliest matching message that is here, and with FI_CLAIM keeps it for `context`,
/// with FI_DISCARD drops it.
ssize_t Endpoint::search(const ReceiveArguments& arguments, RouteId source, Time now) noexcept
{
    pass(now); // a peek must see what has arrived
    const std::uint32_t index =
        matcher_->find_unexpected(arguments.tagged, arguments.tag, arguments.ignore, source);
    if (index == no_index) {
        CompletionError failure =
            failed_receive(arguments.context, arguments.tagged, arguments.tag, FI_ENOMSG, Cause::not_found);
        report_failure(rx_cq_, failure, no_id<RouteId>);
        return 0;
    }
    const UnexpectedRecord& record = matcher_->unexpected[index];
    report_message(arguments, record);
    if ((arguments.flags & FI_DISCARD) != 0) {
        engine_->discard(record.message);
        matcher_->remove_unexpected(index);
        matcher_->unexpected.release(index);
        flush();
    } else if ((arguments.flags & FI_CLAIM) != 0) {
        matcher_->claim(index, arguments.context);
    }
    return 0;
}

/// The completion of a peek, or of a claim that was discarded: what the message is, without its bytes.
void Endpoint::report_message(const ReceiveArguments& arguments, const UnexpectedRecord& record) noexcept
{
    Completion completion{.context = arguments.context,
                          .flags =
                              FI_RECV | kind_of(record.tagged) | (record.has_data ? FI_REMOTE_CQ_DATA : 0),
                          .length = record.length,
                          .data = record.data,
                          .tag = record.tag};
    report_arrival(completion, record.source);
}

/// FI_CLAIM: receives (or with FI_DISCARD drops) the message that an FI_PEEK | FI_CLAIM with this context
/// found.
ssize_t Endpoint::retrieve_claimed(const ReceiveArguments& arguments, std::size_t capacity, Time now) noexcept
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
            pass(now);
            return -FI_EAGAIN;
        }
        // accept() of a parked message does not fail
        SRD_CHECK(deliver(index, record.message, arrival_of(record), now));
    } else if (record.cause == Cause::none) {
        engine_->discard(record.message);
        report_message(arguments, record);
    } else {
        CompletionError failure = failed_receive(arguments.context, record.tagged, record.tag,
                                                 error_of(record.cause), record.cause);
        report_failure(rx_cq_, failure, record.source);
    }
    matcher_->release_claimed(found);
    flush();
    return 0;
}

} // namespace srd
