// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/receive.hpp"

#include <algorithm>
#include <chrono>

#include <srd/check.hpp>

#include "common/iov_length.hpp"
#include "common/log.hpp"
#include "common/say.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "progress/clock.hpp"

namespace srd {
namespace {

/// A message that nobody has posted a receive for is copied twice. Who is to read completions may be about to
/// post one: Open MPI's blocking send ends with the acknowledgement that comes together with the answer. From
/// so many bytes on the answer waits until the completions are read, for a few passes at most.
constexpr std::size_t worth_waiting = 4096;

constexpr Cause cause_of(Accepted outcome) noexcept
{
    return outcome == Accepted::failed ? Cause::device_failed : Cause::none;
}

} // namespace

void Receive::start(std::uint32_t messages)
{
    matcher_ =
        std::make_unique<Matcher>(static_cast<std::uint32_t>(options_.receive_count()) + messages, messages);
}

// -- Events -------------------------------------------------------------------

void Receive::on_message(const Event& event) noexcept
{
    const Arrival arrival{.tag = event.flags.tagged ? event.tag : 0,
                          .data = event.data,
                          .length = event.length,
                          .from = unit_.engine().peer_route(event.peer),
                          .has_data = event.flags.has_data};
    const std::uint32_t index = matcher_->find_posted(event.flags.tagged, arrival.tag, arrival.from);
    if (index != no_index) {
        if (!deliver(index, event.message, arrival)) {
            refuse(event.message);
        }
        return;
    }
    if (arrival.length >= worth_waiting && !peeks_ && bindings_.any_queue_in_use() &&
        unit_.engine().defer(event.message)) {
        return;
    }
    const std::uint32_t record_index = matcher_->unexpected.alloc();
    MessageId message = event.message;
    if (record_index == no_index || unit_.engine().park(message) != Status::ok) {
        if (record_index != no_index) {
            matcher_->unexpected.release(record_index);
        }
        refuse(event.message);
        return;
    }
    UnexpectedRecord& record = matcher_->unexpected[record_index];
    record.message = message;
    record.tag = arrival.tag;
    record.data = arrival.data;
    record.length = arrival.length;
    record.source = arrival.from;
    record.tagged = event.flags.tagged;
    record.has_data = arrival.has_data;
    matcher_->add_unexpected(record_index);
}

/// There is no memory for it. Senders wait, and so may the application: for a message behind those that wait.
void Receive::refuse(MessageId message) noexcept
{
    constexpr Duration pause = std::chrono::seconds(1);
    constexpr Duration patience = std::chrono::seconds(10);
    const Time now = unit_.passed_at();
    if (now - refused_at_ > pause) {
        refused_since_ = now;
    }
    refused_at_ = now;
    if (now - refused_since_ >= patience) [[unlikely]] {
        say("unexpected messages", "messages that nobody receives have filled their memory, and senders have "
                                   "waited for 10 s until some are "
                                   "received: if nothing goes on, raise FI_SRD_UNEXPECTED_BYTES");
    }
    unit_.engine().refuse(message);
}

/// The engine has already discarded the message. If a receive had been promised it
/// (FI_CLAIM), the promise is answered with the cause.
void Receive::on_message_lost(const Event& event) noexcept
{
    const std::uint32_t index = matcher_->find_message(event.message);
    SRD_CHECK(index != no_index);
    UnexpectedRecord& record = matcher_->unexpected[index];
    peers_.failed(record.source, event.cause);
    if (record.claimed) {
        record.cause = event.cause;
        return;
    }
    matcher_->remove_unexpected(index);
    matcher_->unexpected.release(index);
}

void Receive::on_peer_lost(const Event& event) noexcept
{
    if (!is_peer_failure(event.cause)) {
        return;
    }
    const RouteId route = unit_.engine().peer_route(event.peer);
    reports_.peer_lost(route, event.cause);
    for (std::uint32_t index = 0; awaits_senders() && index < matcher_->receives.watermark(); ++index) {
        if (!matcher_->receives.live(index) || !matcher_->receives[index].posted ||
            matcher_->receives[index].source != route) {
            continue;
        }
        peers_.failed(route, event.cause);
        end_posted(index, event.cause);
    }
}

void Receive::look_for_senders(Time now) noexcept
{
    for (std::uint32_t index = 0; awaits_senders() && index < matcher_->receives.watermark(); ++index) {
        if (!matcher_->receives.live(index)) {
            continue;
        }
        const ReceiveRecord& record = matcher_->receives[index];
        if (record.posted && record.source != any_source) {
            unit_.engine().want_sign(record.source, now);
        }
    }
}

void Receive::on_receive_done(const Event& event) noexcept
{
    complete(static_cast<std::uint32_t>(event.cookie), event.cause, event.length);
}

// -- Posting ------------------------------------------------------------------

ssize_t Receive::check(const ReceiveArguments& arguments, std::size_t& capacity) const noexcept
{
    if ((arguments.flags & (FI_PEEK | FI_DISCARD)) != 0) {
        capacity = 0; // the buffers are ignored
    } else if (!iov_length("receive", arguments.iov, arguments.count, capacity)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if ((arguments.flags & FI_MULTI_RECV) != 0 && !arguments.tagged &&
        (arguments.count != 1 || capacity < options_.min_multi_receive())) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "FI_MULTI_RECV: one buffer of at least FI_OPT_MIN_MULTI_RECV (%zu) bytes is needed; "
                        "there are %zu iovecs with %zu bytes",
                        options_.min_multi_receive(), arguments.count, capacity);
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

ssize_t Receive::post(const ReceiveArguments& arguments) noexcept
{
    std::size_t capacity = 0;
    if (const ssize_t error = check(arguments, capacity); error != 0) [[unlikely]] {
        return error;
    }
    if ((arguments.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return queue_.queue(self_, arguments);
    }
    CallGuard guard(unit_, queue_);
    if (!unit_.enabled()) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "receive: the endpoint is not enabled; call fi_enable first");
        return -FI_EOPBADSTATE;
    }
    if (arguments.deferral != nullptr && arguments.deferral->canceled) [[unlikely]] {
        report_unstarted(arguments, FI_ECANCELED, Cause::canceled);
        return 0;
    }
    RouteId source = any_source;
    if ((options_.caps() & FI_DIRECTED_RECV) != 0 && arguments.from != FI_ADDR_UNSPEC) {
        if (const ssize_t error = peers_.find_route(arguments.from, source); error != 0) [[unlikely]] {
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
    return match(arguments, source, capacity);
}

/// Posts a receive, or gives it the message that it takes among those that are here.
ssize_t Receive::match(const ReceiveArguments& arguments, RouteId source, std::size_t capacity) noexcept
{
    const std::uint32_t index = new_receive(arguments, source, capacity);
    if (index == no_index) [[unlikely]] {
        unit_.pass(clock_now());
        return -FI_EAGAIN;
    }
    std::uint32_t found =
        matcher_->find_unexpected(arguments.tagged, arguments.tag, arguments.ignore, source);
    if (found == no_index) [[likely]] {
        matcher_->post(index);
        return 0;
    }
    if (!matcher_->receives[index].multi_receive) {
        take_unexpected(index, found);
    } else {
        matcher_->post(index);
        while (found != no_index && matcher_->receives[index].posted) {
            if (!take_unexpected(index, found)) {
                break; // no record for its share now; later messages wait behind it
            }
            found = matcher_->receives.live(index)
                        ? matcher_->find_unexpected(false, 0, arguments.ignore, source)
                        : no_index;
        }
    }
    unit_.flush();
    return 0;
}

CountedBy Receive::counted_by(const ReceiveArguments& arguments, bool& silent) const noexcept
{
    CountedBy result{.endpoint = bindings_.counters().receive, .work = nullptr};
    silent = false;
    if (arguments.deferral != nullptr) [[unlikely]] {
        arguments.deferral->redirect(result, silent, arguments.flags);
    }
    return result;
}

/// A record for a receive that is not posted yet; no_index if there are too many.
std::uint32_t Receive::new_receive(const ReceiveArguments& arguments, RouteId source,
                                   std::size_t capacity) noexcept
{
    if (matcher_->posted_count() >= options_.receive_count()) [[unlikely]] {
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
    record.wants_completion = !record.silent && bindings_.receive_wants_entry(arguments.flags);
    record.multi_receive =
        (arguments.flags & (FI_MULTI_RECV | FI_CLAIM)) == FI_MULTI_RECV && !arguments.tagged;
    record.iov_count = static_cast<std::uint8_t>(arguments.count);
    std::copy_n(arguments.iov, arguments.count, record.iov.begin());
    record.device = arguments.device;
    record.capacity = capacity;
    record.parent = no_index;
    return index;
}

Receive::Arrival Receive::arrival_of(const UnexpectedRecord& record) noexcept
{
    return {.tag = record.tag,
            .data = record.data,
            .length = record.length,
            .from = record.source,
            .has_data = record.has_data};
}

/// Gives message `found` to receive `index`. False: not now, it stays where it is.
bool Receive::take_unexpected(std::uint32_t index, std::uint32_t found) noexcept
{
    const UnexpectedRecord record = matcher_->unexpected[found];
    if (!deliver(index, record.message, arrival_of(record))) {
        return false;
    }
    matcher_->remove_unexpected(found);
    matcher_->unexpected.release(found);
    return true;
}

/// Places a message into a receive, which is posted, or is not yet and takes a parked message.
/// False: nothing has changed, the message must be refused (or stay parked).
bool Receive::deliver(std::uint32_t index, MessageId message, const Arrival& arrival) noexcept
{
    ReceiveRecord& record = matcher_->receives[index];
    if (record.multi_receive) {
        return deliver_share(index, message, arrival);
    }
    Accepted outcome{};
    const std::span<const iovec> iov(record.iov.data(), record.iov_count);
    if (unit_.engine().accept(message, iov, index, outcome, record.device) != Status::ok) [[unlikely]] {
        return false;
    }
    if (record.posted) {
        matcher_->remove_posted(index);
    }
    record.matched_tag = arrival.tag;
    record.data = arrival.data;
    record.from = arrival.from;
    record.has_data = arrival.has_data;
    if (outcome != Accepted::pending) {
        complete(index, cause_of(outcome), arrival.length);
    }
    return true;
}

bool Receive::deliver_share(std::uint32_t index, MessageId message, const Arrival& arrival) noexcept
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
    share.device = buffer.device;
    share.iov[0] = {buffer.iov[0].iov_base, size};
    share.capacity = size;
    share.parent = index;
    share.data = arrival.data;
    share.from = arrival.from;
    share.has_data = arrival.has_data;
    Accepted outcome{};
    if (unit_.engine().accept(message, std::span(share.iov).first(1), share_index, outcome, share.device) !=
        Status::ok) {
        matcher_->receives.release(share_index);
        return false;
    }
    ++buffer.shares;
    buffer.iov[0].iov_base = static_cast<std::byte*>(buffer.iov[0].iov_base) + size;
    buffer.capacity -= size;
    if (buffer.capacity < std::max<std::size_t>(options_.min_multi_receive(), 1)) {
        matcher_->remove_posted(index);
    }
    if (outcome != Accepted::pending) {
        complete(share_index, cause_of(outcome), arrival.length);
    }
    return true;
}

/// The end of a receive: all `length` bytes of the message are placed or discarded, or it failed.
void Receive::complete(std::uint32_t index, Cause cause, std::uint64_t length) noexcept
{
    SRD_DCHECK(matcher_->receives.live(index) && !matcher_->receives[index].posted);
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
    SRD_DCHECK(matcher_->receives.live(record.parent) && buffer.multi_receive && buffer.shares != 0);
    --buffer.shares;
    const bool last = !buffer.posted && buffer.shares == 0;
    const bool released = last && buffer.ended_by == Cause::none;
    completion.flags |= released ? FI_MULTI_RECV : 0;
    // fi_msg(3): the release is reported also where completions are suppressed.
    report_receive(record, completion, cause, record.wants_completion || (released && !record.silent),
                   length);
    if (last) {
        if (buffer.ended_by != Cause::none) {
            report_end(buffer, buffer.ended_by);
        }
        matcher_->receives.release(record.parent);
    }
}

void Receive::report_receive(const ReceiveRecord& record, Completion& completion, Cause cause, bool wanted,
                             std::uint64_t length) noexcept
{
    if (cause == Cause::none) [[likely]] {
        record.counted_by.succeeded();
        if (wanted) {
            reports_.arrival(completion, record.from);
        }
        return;
    }
    record.counted_by.failed();
    CompletionQueue* const cq = record.silent ? nullptr : bindings_.receive_queue();
    CompletionError failure{.completion = completion, .error = error_of(cause), .cause = cause};
    if (cause == Cause::truncated) {
        failure.overflow = length - record.capacity;
        reports_.failure(cq, failure, no_id<RouteId>);
        return;
    }
    failure.completion.length = 0;
    peers_.failed(record.from, cause);
    reports_.failure(cq, failure, record.from);
}

CompletionError Receive::failed_receive(void* context, bool tagged, std::uint64_t tag, Cause cause) noexcept
{
    return {.completion = {.context = context, .flags = FI_RECV | kind_of(tagged), .tag = tag},
            .error = error_of(cause),
            .cause = cause};
}

/// A posted receive ends without a (further) message.
void Receive::end_posted(std::uint32_t index, Cause cause) noexcept
{
    ReceiveRecord& record = matcher_->receives[index];
    matcher_->remove_posted(index);
    if (record.shares != 0) {
        record.ended_by = cause; // reported with the last share
    } else {
        report_end(record, cause);
        matcher_->receives.release(index);
    }
}

void Receive::report_end(const ReceiveRecord& record, Cause cause) noexcept
{
    CompletionError failure = failed_receive(record.context, record.tagged, record.tag, cause);
    if (record.multi_receive) {
        failure.completion.flags |= FI_MULTI_RECV;
    }
    reports_.failure(record.silent ? nullptr : bindings_.receive_queue(), failure, record.source);
    record.counted_by.failed();
}

/// A receive of fi_trigger(3) ends before it was posted.
void Receive::report_unstarted(const ReceiveArguments& arguments, int error, Cause cause) noexcept
{
    bool silent = false;
    counted_by(arguments, silent).failed();
    CompletionError failure = failed_receive(arguments.context, arguments.tagged, arguments.tag, cause);
    failure.error = error;
    reports_.failure(silent ? nullptr : bindings_.receive_queue(), failure, no_id<RouteId>);
}

bool Receive::counts_work_by(const CompletionCounter& counter) const noexcept
{
    return any_counts_work_by(matcher_->receives, counter);
}

} // namespace srd
