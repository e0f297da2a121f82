// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/transmit.hpp"

#include <array>

#include <srd/check.hpp>
#include <srd/intrusive_list.hpp>

#include "common/iov_length.hpp"
#include "common/log.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "hmem/devices.hpp"
#include "progress/clock.hpp"

namespace srd {
namespace {

constexpr std::uint64_t levels = FI_INJECT_COMPLETE | FI_TRANSMIT_COMPLETE | FI_DELIVERY_COMPLETE;

/// The highest that is asked for. Without any, a message is done when its buffer may be reused, as with other
/// providers of messages, if the peer has proved to be there; a write or an atomic when the peer has it.
constexpr CompletionLevel level_of(std::uint64_t flags, bool message_to_known_peer) noexcept
{
    if ((flags & FI_DELIVERY_COMPLETE) != 0) {
        return CompletionLevel::delivery;
    }
    const bool buffer_is_enough =
        (flags & levels) == 0 ? message_to_known_peer : (flags & FI_TRANSMIT_COMPLETE) == 0;
    return buffer_is_enough ? CompletionLevel::inject : CompletionLevel::transmit;
}

} // namespace

// -- What all share -----------------------------------------------------------

ssize_t Transmit::check(const char* call, SizeKind kind, std::uint64_t flags,
                        std::size_t length) const noexcept
{
    const bool inject = (flags & FI_INJECT) != 0;
    const std::size_t most = options_.limit(kind, inject);
    if (length > most) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: %zu bytes are more than %s (%zu)", call, length,
                        inject ? "inject_size or FI_OPT_INJECT_*_SIZE" : "max_msg_size or FI_OPT_MAX_*_SIZE",
                        most);
        return -FI_EMSGSIZE;
    }
    constexpr std::uint64_t unserved = FI_MULTICAST | FI_COMMIT_COMPLETE | FI_MATCH_COMPLETE;
    if ((flags & unserved) != 0) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s: flags %#llx are not served; ask fi_getinfo for what is", call,
                        static_cast<unsigned long long>(flags & unserved));
        return -FI_EOPNOTSUPP;
    }
    return 0;
}

ssize_t Transmit::begin(Operation& operation, const Request& request, const Completes& completes) noexcept
{
    CallGuard guard(unit_, queue_);
    if (!unit_.enabled()) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "the endpoint is not enabled; call fi_enable first");
        return -FI_EOPBADSTATE;
    }
    TransmitRecord record{
        .wants_completion = false,
        .silent = request.silent,
        .context = request.context,
        .flags = completes.flags,
        .counted_by = {.endpoint = bindings_.counters().*completes.counter, .work = nullptr}};
    if (request.deferral != nullptr) [[unlikely]] {
        request.deferral->redirect(record.counted_by, record.silent, request.flags);
        if (request.deferral->canceled) {
            report_failed(record, FI_ECANCELED, Cause::canceled, no_id<RouteId>);
            return 0;
        }
    }
    if (const ssize_t error = peers_.find_peer(request.to, operation.peer); error != 0) [[unlikely]] {
        if (request.deferral == nullptr) {
            return error;
        }
        // The call that queued it has returned long ago.
        report_failed(record, static_cast<int>(-error), Cause::unreachable, no_id<RouteId>);
        return 0;
    }
    return submit(operation, request, record);
}

/// A short payload is copied here, before the lock is taken; a longer one by the engine, piece by piece.
ssize_t Transmit::begin_from_device(Operation& operation, const Request& request, const Completes& completes,
                                    std::size_t length) noexcept
{
    if (length == 0) {
        operation.device = DeviceId::host;
        return begin(operation, request, completes);
    }
    // What waits behind a fence cannot be kept for it, unless it has to be (FI_INJECT).
    const bool waits = (request.flags & FI_FENCE) != 0 && !operation.copy_payload;
    if (length > max_inject_size || waits) {
        return begin(operation, request, completes);
    }
    std::array<std::byte, max_inject_size> host;
    std::byte* to = host.data();
    Devices& devices = Devices::process();
    bool copied = true;
    for (const iovec& piece : operation.iov) {
        copied = copied && devices.begin(operation.device, to, piece.iov_base, piece.iov_len);
        to += piece.iov_len;
    }
    if (!devices.wait(operation.device) || !copied) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%zu bytes to send could not be copied from their device", length);
        return -FI_EIO;
    }
    const iovec whole{host.data(), length};
    operation.iov = {&whole, 1};
    operation.device = DeviceId::host;
    operation.copy_payload = true;
    return begin(operation, request, completes);
}

ssize_t Transmit::submit(Operation& operation, const Request& request, TransmitRecord& record) noexcept
{
    record.wants_completion = !record.silent && bindings_.transmit_wants_entry(request.flags);
    // A silent operation that nobody counts needs no event: nothing could be done with it.
    std::uint32_t index = no_index;
    const bool unheard = record.silent && record.counted_by.nobody();
    const bool established = unit_.engine().is_established(operation.peer);
    operation.level = unheard
                          ? CompletionLevel::none
                          : level_of(request.flags, established && operation.kind == OperationKind::message);
    operation.fence = (request.flags & FI_FENCE) != 0;
    operation.flags.has_data = (request.flags & FI_REMOTE_CQ_DATA) != 0;
    operation.data = request.data;
    Engine& engine = unit_.engine();
    switch (engine.send_local(operation)) {
    case LocalRoad::Sent::done:
        report_done(record);
        if ((request.flags & FI_MORE) == 0 && engine.transmit_due()) [[unlikely]] {
            unit_.flush(); // what was posted before with FI_MORE may be in a packet
        }
        return 0;
    case LocalRoad::Sent::full:
        unit_.pass(clock_now());
        return -FI_EAGAIN;
    case LocalRoad::Sent::closed:
        break;
    }
    if (!unheard) {
        index = records_->alloc();
        if (index == no_index) [[unlikely]] {
            unit_.pass(clock_now());
            return -FI_EAGAIN;
        }
        (*records_)[index] = record;
    }
    operation.cookie = index;

    // A clock costs as much as the rest of a short send, and messages that are coalesced need none.
    const Time now = established ? unit_.passed_at() : clock_now();
    const Status status = engine.submit(operation, now);
    if (status == Status::ok) [[likely]] {
        if ((request.flags & FI_MORE) == 0) {
            unit_.flush();
        }
        return 0;
    }
    if (index != no_index) {
        records_->release(index);
    }
    return not_submitted(operation, status);
}

ssize_t Transmit::not_submitted(const Operation& operation, Status status) noexcept
{
    if (status == Status::invalid) { // everything else was checked by the caller
        SRD_CHECK(operation.kind == OperationKind::atomic);
        SRD_WARN_SPARSE(
            FI_LOG_EP_DATA,
            "atomic: its operands and ranges do not fit one packet to this peer; pass fewer elements "
            "at a time, or raise the MTU (of the interface, or FI_SRD_MTU)");
        return -FI_EMSGSIZE;
    }
    SRD_CHECK(status == Status::again);
    unit_.pass(clock_now());
    return -FI_EAGAIN;
}

// -- Sends, reads, writes -----------------------------------------------------

ssize_t Transmit::send(const SendArguments& arguments) noexcept
{
    const Request& request = arguments.request;
    std::size_t length = 0;
    if (!iov_length("send", arguments.iov, arguments.count, length)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if (const ssize_t error =
            check("send", arguments.tagged ? SizeKind::tagged : SizeKind::msg, request.flags, length);
        error != 0) [[unlikely]] {
        return error;
    }
    if ((request.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return queue_.queue(self_, arguments);
    }
    Operation operation;
    operation.copy_payload = (request.flags & FI_INJECT) != 0;
    operation.flags.tagged = arguments.tagged;
    operation.tag = arguments.tag;
    operation.iov = {arguments.iov, arguments.count};
    operation.device = arguments.device;
    const Completes completes{FI_SEND | kind_of(arguments.tagged), &OperationCounters::send};
    return operation.device == DeviceId::host ? begin(operation, request, completes)
                                              : begin_from_device(operation, request, completes, length);
}

ssize_t Transmit::access(const RmaArguments& arguments) noexcept
{
    const char* const call = arguments.is_read ? "read" : "write";
    Request request = arguments.request;
    std::size_t length = 0;
    std::array<RemoteRange, max_iov> ranges;
    if (!iov_length(call, arguments.iov, arguments.count, length) ||
        !remote_ranges(call, arguments.remote, arguments.remote_count, length, ranges)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if (arguments.is_read) {
        request.flags &= ~(FI_INJECT | FI_REMOTE_CQ_DATA); // of default flags; they say nothing about a read
    }
    if (const ssize_t error = check(call, SizeKind::rma, request.flags, length); error != 0) [[unlikely]] {
        return error;
    }
    if ((request.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return queue_.queue(self_, arguments);
    }
    Operation operation;
    operation.kind = arguments.is_read ? OperationKind::read : OperationKind::write;
    operation.copy_payload = (request.flags & FI_INJECT) != 0;
    operation.iov = {arguments.iov, arguments.count};
    operation.remote = {ranges.data(), arguments.remote_count};
    operation.device = arguments.device;
    if (arguments.is_read) {
        return begin(operation, request, {FI_RMA | FI_READ, &OperationCounters::read});
    }
    const Completes completes{FI_RMA | FI_WRITE, &OperationCounters::write};
    return operation.device == DeviceId::host ? begin(operation, request, completes)
                                              : begin_from_device(operation, request, completes, length);
}

// -- Completions --------------------------------------------------------------

void Transmit::on_send_done(const Event& event) noexcept
{
    const auto index = static_cast<std::uint32_t>(event.cookie);
    if (index == no_index) {
        return;
    }
    SRD_DCHECK(records_->live(index));
    const TransmitRecord record = (*records_)[index];
    records_->release(index);
    if (event.cause == Cause::none) [[likely]] {
        report_done(record);
        return;
    }
    const RouteId route = unit_.engine().peer_route(event.peer);
    peers_.failed(route, event.cause);
    report_failed(record, error_of(event.cause), event.cause, route);
}

void Transmit::report_done(const TransmitRecord& record) noexcept
{
    if (record.wants_completion) {
        bindings_.transmit_queue()->write({.context = record.context, .flags = record.flags});
    }
    record.counted_by.succeeded();
}

void Transmit::report_failed(const TransmitRecord& record, int error, Cause cause, RouteId route) noexcept
{
    record.counted_by.failed();
    if (!record.silent) {
        CompletionError failure{
            .completion = {.context = record.context, .flags = record.flags}, .error = error, .cause = cause};
        reports_.failure(bindings_.transmit_queue(), failure, route);
    }
}

bool Transmit::counts_work_by(const CompletionCounter& counter) const noexcept
{
    return any_counts_work_by(*records_, counter);
}

} // namespace srd
