// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The data path: passes, addresses, what all transmit calls share, sends, and what the engine's events do.
#include <algorithm>
#include <utility>

#include "common/log.hpp"
#include "common/measure.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "endpoint/endpoint.hpp"
#include "objects/fabric_domain.hpp"
#include "progress.hpp"
#include "progress/progress_group.hpp"

namespace srd {
namespace {

constexpr CompletionLevel level_of(std::uint64_t flags) noexcept
{
    if ((flags & FI_DELIVERY_COMPLETE) != 0) {
        return CompletionLevel::delivery;
    }
    if ((flags & FI_INJECT_COMPLETE) != 0 && (flags & FI_TRANSMIT_COMPLETE) == 0) {
        return CompletionLevel::inject;
    }
    return CompletionLevel::transmit;
}

} // namespace

// -- Progress -----------------------------------------------------------------

bool Endpoint::pass(Time now) noexcept
{
    passed_at_ = now;
    return progress_once(*engine_, *io_, now,
                         [this, now](Engine&, const Event& event)
                             SRD_LOCK_HELD_BY_CALLER { on_event(event, now); });
}

bool Endpoint::progress(Time now) noexcept
{
    if (!enabled() || !lock.try_lock()) {
        return false;
    }
    const bool busy = pass(now);
    lock.unlock();
    return busy;
}

/// After new work was given to the engine by a call that does not make a pass.
void Endpoint::flush() noexcept
{
    if (engine_->transmit_due()) {
        flush_transmit(*engine_, *io_, clock_now());
    }
    wake_sleepers();
}

/// Whoever sleeps knows the timers as they were when it armed.
void Endpoint::wake_sleepers() noexcept
{
    if (sleepers_ != 0 && engine_->next_timeout() < asleep_until_) {
        asleep_until_ = Time::min();
        io_->notify();
    }
}

bool Endpoint::arm_sleep(Time& deadline) noexcept
{
    if (!enabled()) {
        return true;
    }
    ProgressGuard guard(lock);
    if (!io_->arm_wait()) {
        return false;
    }
    const Time timeout = engine_->next_timeout();
    asleep_until_ = sleepers_ == 0 ? timeout : std::min(asleep_until_, timeout);
    ++sleepers_;
    deadline = std::min(deadline, timeout);
    return true;
}

void Endpoint::disarm_sleep() noexcept
{
    ProgressGuard guard(lock);
    if (sleepers_ != 0) { // an endpoint may be enabled while others sleep
        --sleepers_;
        asleep_until_ = time_never; // those who are left may have armed with any deadline
    }
}

// -- Addresses ----------------------------------------------------------------

ssize_t Endpoint::find_route(fi_addr_t fi_addr, RouteId& route) noexcept
{
    if (fi_addr < destinations_.size() && destinations_[fi_addr].route != no_id<RouteId>) {
        route = destinations_[fi_addr].route;
        return 0;
    }
    SocketAddress address;
    if (!av_->address_of(fi_addr, address)) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "fi_addr_t %#llx is not in the address vector; insert the peer's address first",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    switch (io_->resolve(address, route)) {
    case Status::ok:
        break;
    case Status::unreachable:
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "this host has no way to the address of fi_addr_t %llu",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EHOSTUNREACH;
    case Status::no_memory:
    case Status::again:
        return -FI_ENOMEM;
    case Status::invalid:
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "the address of fi_addr_t %llu is not one of this endpoint's family",
                        static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    try {
        if (fi_addr >= destinations_.size()) {
            destinations_.resize(std::max<std::size_t>(fi_addr + 1, 2 * destinations_.size()));
        }
    } catch (const std::bad_alloc&) {
        return -FI_ENOMEM;
    }
    destinations_[fi_addr].route = route;
    return 0;
}

ssize_t Endpoint::open_peer(fi_addr_t fi_addr, PeerId& peer) noexcept
{
    RouteId route{};
    if (const ssize_t error = find_route(fi_addr, route); error != 0) {
        return error;
    }
    peer = engine_->open_peer(route, io_->route_mtu(route), clock_now(), io_->route_paths(route));
    if (peer == no_id<PeerId>) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "no room for another peer; raise FI_SRD_MAX_PEERS");
        return -FI_ENOMEM;
    }
    destinations_[fi_addr].peer = peer;
    return 0;
}

/// The peer itself stays until it goes: it may go on sending to us, and fi_av_remove() must not cut a
/// conversation that does not need the vector.
void Endpoint::forget_destination(fi_addr_t fi_addr, std::span<const std::byte>) noexcept
{
    ProgressGuard guard(lock);
    if (fi_addr < destinations_.size()) {
        const Destination forgotten = std::exchange(destinations_[fi_addr], Destination{});
        if (forgotten.peer != no_id<PeerId>) {
            engine_->release_peer(forgotten.peer);
        }
    }
}

/// The fi_addr_t of a sender, FI_ADDR_NOTAVAIL if it is not in the vector.
fi_addr_t Endpoint::source_of(RouteId route) noexcept
{
    const std::uint64_t generation = av_->generation();
    const std::size_t index = index_of(route);
    if (index < sources_.size() && sources_[index].generation == generation) [[likely]] {
        return sources_[index].address;
    }
    const fi_addr_t address = av_->find(io_->route_address(route));
    try {
        if (index >= sources_.size()) {
            sources_.resize(std::max(index + 1, 2 * sources_.size()));
        }
        sources_[index] = {.generation = generation, .address = address};
    } catch (const std::bad_alloc&) { // then it is looked up again next time
    }
    return address;
}

void Endpoint::report_failure(CompletionQueue* cq, CompletionError& failure, RouteId route) noexcept
{
    if (route != no_id<RouteId>) {
        const std::span<const std::byte> address = io_->route_address(route).bytes();
        failure.address_size = static_cast<std::uint8_t>(std::min(address.size(), failure.address.size()));
        std::copy_n(address.begin(), failure.address_size, failure.address.begin());
    }
    if (cq != nullptr) {
        cq->write_error(failure);
    }
}

std::string Endpoint::peer_text(RouteId route) const noexcept
{
    return io_->route_address(route).text();
}

/// One line per trouble with a peer, not per operation.
void Endpoint::warn_of_peer(RouteId route, Cause cause) noexcept
{
    SRD_WARN_SPARSE(FI_LOG_EP_DATA, "operations with %s fail: %s", peer_text(route).c_str(),
                    to_string(cause));
}

// -- Transmitting -------------------------------------------------------------

ssize_t Endpoint::check_transmit(const char* call, SizeKind kind, std::uint64_t flags,
                                 std::size_t length) const noexcept
{
    const SizeLimits& limits = limits_[static_cast<std::size_t>(kind)];
    const bool inject = (flags & FI_INJECT) != 0;
    const std::size_t most = (inject ? limits.inject : limits.size).load(std::memory_order_relaxed);
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

ssize_t Endpoint::start(Operation& operation, const Request& request, std::uint64_t completion,
                        CompletionCounter* counter) noexcept
{
    CallGuard guard(lock, domain.deferred_work);
    if (!enabled_.load(std::memory_order_relaxed)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "the endpoint is not enabled; call fi_enable first");
        return -FI_EOPBADSTATE;
    }
    TransmitRecord record{.wants_completion = false,
                          .silent = request.silent,
                          .context = request.context,
                          .flags = completion,
                          .counted_by = {.endpoint = counter, .work = nullptr}};
    if (request.deferral != nullptr) [[unlikely]] {
        request.deferral->redirect(record.counted_by, record.silent, request.flags);
        if (request.deferral->canceled) {
            report_failed_transmit(record, FI_ECANCELED, Cause::canceled, no_id<RouteId>);
            return 0;
        }
    }
    if (const ssize_t error = find_peer(request.to, operation.peer); error != 0) [[unlikely]] {
        if (request.deferral == nullptr) {
            return error;
        }
        // The call that queued it has returned long ago.
        report_failed_transmit(record, static_cast<int>(-error), Cause::unreachable, no_id<RouteId>);
        return 0;
    }
    // A silent operation that nobody counts needs no event: nothing could be done with it.
    std::uint32_t index = no_index;
    if (record.silent && record.counted_by.nobody()) {
        operation.level = CompletionLevel::none;
    } else {
        operation.level = level_of(request.flags);
        index = transmits_->alloc();
        if (index == no_index) [[unlikely]] {
            pass(clock_now());
            return -FI_EAGAIN;
        }
        record.wants_completion =
            !record.silent && tx_cq_ != nullptr && wants_entry(request.flags, tx_selective_);
        (*transmits_)[index] = record;
    }
    operation.fence = (request.flags & FI_FENCE) != 0;
    operation.flags.has_data = (request.flags & FI_REMOTE_CQ_DATA) != 0;
    operation.data = request.data;
    operation.cookie = index;

    // A clock costs as much as the rest of a short send, and messages that wait for company need none.
    const Time now = engine_->is_established(operation.peer) ? passed_at_ : clock_now();
    const Status status = engine_->submit(operation, now);
    if (status == Status::ok) [[likely]] {
        if ((request.flags & FI_MORE) == 0) {
            flush();
        }
        return 0;
    }
    if (index != no_index) {
        transmits_->release(index);
    }
    if (status == Status::invalid) { // everything else was checked by the caller
        SRD_CHECK(operation.kind == OperationKind::atomic);
        SRD_WARN_SPARSE(
            FI_LOG_EP_DATA,
            "atomic: its operands and ranges do not fit one packet to this peer; pass fewer elements "
            "at a time, or raise the MTU (of the interface, or FI_SRD_MTU)");
        return -FI_EMSGSIZE;
    }
    SRD_CHECK(status == Status::again);
    pass(clock_now());
    return -FI_EAGAIN;
}

ssize_t Endpoint::send(const SendArguments& arguments) noexcept
{
    const Request& request = arguments.request;
    std::size_t length = 0;
    if (!measure("send", arguments.iov, arguments.count, length)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if (const ssize_t error = check_transmit("send", arguments.tagged ? SizeKind::tagged : SizeKind::msg,
                                             request.flags, length);
        error != 0) [[unlikely]] {
        return error;
    }
    if ((request.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return domain.deferred_work.queue(*this, arguments);
    }
    Operation operation;
    operation.copy_payload = (request.flags & FI_INJECT) != 0;
    operation.flags.tagged = arguments.tagged;
    operation.tag = arguments.tag;
    operation.iov = {arguments.iov, arguments.count};
    return start(operation, request, FI_SEND | kind_of(arguments.tagged), send_counter_);
}

void Endpoint::on_send_done(const Event& event) noexcept
{
    const auto index = static_cast<std::uint32_t>(event.cookie);
    if (index == no_index) {
        return;
    }
    const TransmitRecord record = (*transmits_)[index];
    transmits_->release(index);
    if (event.cause == Cause::none) [[likely]] {
        if (record.wants_completion) {
            tx_cq_->write({.context = record.context, .flags = record.flags});
        }
        record.counted_by.succeeded();
        return;
    }
    const RouteId route = engine_->peer_route(event.peer);
    warn_of_peer(route, event.cause);
    report_failed_transmit(record, error_of(event.cause), event.cause, route);
}

void Endpoint::report_failed_transmit(const TransmitRecord& record, int error, Cause cause,
                                      RouteId route) noexcept
{
    record.counted_by.failed();
    if (!record.silent) {
        CompletionError failure{
            .completion = {.context = record.context, .flags = record.flags}, .error = error, .cause = cause};
        report_failure(tx_cq_, failure, route);
    }
}

// -- Events -------------------------------------------------------------------

void Endpoint::on_event(const Event& event, Time now) noexcept
{
    switch (event.kind) {
    case Event::Kind::message:
        on_message(event, now);
        break;
    case Event::Kind::receive_done:
        complete_receive(static_cast<std::uint32_t>(event.cookie), event.cause, event.length);
        break;
    case Event::Kind::send_done:
        on_send_done(event);
        break;
    case Event::Kind::message_lost:
        on_message_lost(event);
        break;
    case Event::Kind::write:
        on_write(event, now);
        break;
    case Event::Kind::read:
        on_read(event, now);
        break;
    case Event::Kind::atomic:
        on_atomic(event, now);
        break;
    case Event::Kind::read_served:
        on_read_served(event);
        break;
    case Event::Kind::hello: // served by progress_once()
        break;
    }
}

void Endpoint::on_message(const Event& event, Time now) noexcept
{
    const Arrival arrival{.tag = event.flags.tagged ? event.tag : 0,
                          .data = event.data,
                          .length = event.length,
                          .from = engine_->peer_route(event.peer),
                          .has_data = event.flags.has_data};
    const std::uint32_t index = matcher_->find_posted(event.flags.tagged, arrival.tag, arrival.from);
    if (index != no_index) {
        if (!deliver(index, event.message, arrival, now)) {
            engine_->refuse(event.message, now);
        }
        return;
    }
    const std::uint32_t record_index = matcher_->unexpected.alloc();
    MessageId message = event.message;
    if (record_index == no_index || engine_->park(message, now) != Status::ok) {
        if (record_index != no_index) {
            matcher_->unexpected.release(record_index);
        }
        engine_->refuse(event.message, now);
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

/// The engine has already discarded the message. If a receive had been promised it
/// (FI_CLAIM), the promise is answered with the cause.
void Endpoint::on_message_lost(const Event& event) noexcept
{
    const std::uint32_t index = matcher_->find_message(event.message);
    SRD_CHECK(index != no_index);
    UnexpectedRecord& record = matcher_->unexpected[index];
    warn_of_peer(record.source, event.cause);
    if (record.claimed) {
        record.cause = event.cause;
        return;
    }
    matcher_->remove_unexpected(index);
    matcher_->unexpected.release(index);
}

} // namespace srd
