// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The data path: passes, addresses, sends, and what the engine's events do.
#include <algorithm>
#include <utility>

#include "cntr.hpp"
#include "cq.hpp"
#include "endpoint.hpp"
#include "fabric_domain.hpp"
#include "log.hpp"
#include "operation.hpp"
#include "progress.hpp"
#include "progress_group.hpp"

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
void Endpoint::flush(Time now) noexcept
{
    if (engine_->transmit_due()) {
        flush_transmit(*engine_, *io_, now);
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
    std::span<const std::byte> address;
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

ssize_t Endpoint::open_peer(fi_addr_t fi_addr, PeerId& peer, Time now) noexcept
{
    RouteId route{};
    if (const ssize_t error = find_route(fi_addr, route); error != 0) {
        return error;
    }
    peer = engine_->open_peer(route, io_->route_mtu(route), now, io_->route_paths(route));
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
        const std::span<const std::byte> address = io_->route_address(route);
        failure.address_size = static_cast<std::uint8_t>(std::min(address.size(), failure.address.size()));
        std::copy_n(address.begin(), failure.address_size, failure.address.begin());
    }
    if (cq != nullptr) {
        cq->write_error(failure);
    }
}

/// One line per trouble with a peer, not per operation.
void Endpoint::warn_of_peer(RouteId route, Cause cause) noexcept
{
    SocketAddress address;
    const std::span<const std::byte> bytes = io_->route_address(route);
    const bool known = SocketAddress::parse(bytes.data(), bytes.size(), address);
    SRD_WARN_SPARSE(FI_LOG_EP_DATA, "operations with %s fail: %s", known ? address.text().c_str() : "a peer",
                    to_string(cause));
}

// -- Sending ------------------------------------------------------------------

ssize_t Endpoint::check_send(const SendArguments& arguments, std::size_t& length) const noexcept
{
    if (!measure("send", arguments.iov, arguments.count, length)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if (length > message_limit_) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "send: %zu bytes are more than max_msg_size (%zu)", length,
                        message_limit_);
        return -FI_EMSGSIZE;
    }
    if ((arguments.flags & FI_INJECT) != 0 && length > inject_limit_) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "inject: %zu bytes are more than inject_size (%zu)", length,
                        inject_limit_);
        return -FI_EMSGSIZE;
    }
    constexpr std::uint64_t unserved =
        FI_FENCE | FI_MULTICAST | FI_TRIGGER | FI_COMMIT_COMPLETE | FI_MATCH_COMPLETE;
    if ((arguments.flags & unserved) != 0) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "send: flags %#llx are not served; ask fi_getinfo for what is",
                        static_cast<unsigned long long>(arguments.flags & unserved));
        return -FI_EOPNOTSUPP;
    }
    return 0;
}

ssize_t Endpoint::send(const SendArguments& arguments) noexcept
{
    std::size_t length = 0;
    if (const ssize_t error = check_send(arguments, length); error != 0) [[unlikely]] {
        return error;
    }
    ProgressGuard guard(lock);
    if (!enabled_.load(std::memory_order_relaxed)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "send: the endpoint is not enabled; call fi_enable first");
        return -FI_EOPBADSTATE;
    }
    const Time now = clock_now();
    Operation operation;
    if (const ssize_t error = find_peer(arguments.to, operation.peer, now); error != 0) [[unlikely]] {
        return error;
    }
    // A silent operation that nobody counts needs no event: nothing could be done with it.
    std::uint32_t record = no_index;
    if (arguments.silent && send_counter_ == nullptr) {
        operation.level = CompletionLevel::none;
    } else {
        operation.level = level_of(arguments.flags);
        record = sends_->alloc();
        if (record == no_index) [[unlikely]] {
            pass(now);
            return -FI_EAGAIN;
        }
        SendRecord& send = (*sends_)[record];
        send.context = arguments.silent ? nullptr : arguments.context;
        send.silent = arguments.silent;
        send.wants_completion = !arguments.silent && wants_entry(arguments.flags, tx_selective_);
        send.flags = FI_SEND | kind_of(arguments.tagged);
    }
    operation.copy_payload = (arguments.flags & FI_INJECT) != 0;
    operation.flags.tagged = arguments.tagged;
    operation.flags.has_data = (arguments.flags & FI_REMOTE_CQ_DATA) != 0;
    operation.tag = arguments.tag;
    operation.data = arguments.data;
    operation.iov = {arguments.iov, arguments.count};
    operation.cookie = record;

    const Status status = engine_->submit(operation, now);
    if (status == Status::ok) [[likely]] {
        if ((arguments.flags & FI_MORE) == 0) {
            flush(now);
        }
        return 0;
    }
    if (record != no_index) {
        sends_->release(record);
    }
    SRD_CHECK(status == Status::again); // everything else was checked above
    pass(now);
    return -FI_EAGAIN;
}

void Endpoint::on_send_done(const Event& event) noexcept
{
    const auto index = static_cast<std::uint32_t>(event.cookie);
    if (index == no_index) {
        return;
    }
    const SendRecord record = (*sends_)[index];
    sends_->release(index);
    if (event.cause == Cause::none) [[likely]] {
        if (record.wants_completion) {
            tx_cq_->write({.context = record.context, .flags = record.flags});
        }
        if (send_counter_ != nullptr) {
            send_counter_->succeeded();
        }
        return;
    }
    if (send_counter_ != nullptr) {
        send_counter_->failed();
    }
    const RouteId route = engine_->peer_route(event.peer);
    warn_of_peer(route, event.cause);
    if (!record.silent) {
        CompletionError failure{.completion = {.context = record.context, .flags = record.flags},
                                .error = error_of(event.cause),
                                .cause = event.cause};
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
