// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "sim/workload.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace srd::sim {

namespace {

constexpr std::byte scribble{0xdd};
constexpr std::byte guard_byte{0x5c};

/// Splits `memory` into `pieces` parts, unequal and possibly empty.
std::vector<iovec> split(std::vector<std::byte>& memory, std::uint32_t pieces, std::uint64_t salt)
{
    std::vector<iovec> iov;
    std::size_t start = 0;
    SimRandom random(salt);
    for (std::uint32_t piece = 0; piece < pieces; ++piece) {
        const std::size_t rest = memory.size() - start;
        const std::size_t length = piece + 1 == pieces ? rest : random.between(0, rest);
        iov.push_back({memory.data() + start, length});
        start += length;
    }
    return iov;
}

} // namespace

Workload::Workload(Ledger& ledger, std::uint32_t host, const Options& options)
    : ledger_(ledger), host_(host), options_(options)
{
    for (std::uint32_t id = 0; id < ledger.size(); ++id) {
        if (ledger.plan(id).source == host) {
            sends_.push_back(id);
        }
        if (ledger.plan(id).destination == host) {
            receives_.push_back(id);
        }
    }
    std::stable_sort(sends_.begin(), sends_.end(), [&](std::uint32_t a, std::uint32_t b) {
        return ledger_.plan(a).submit_at < ledger_.plan(b).submit_at;
    });
    std::stable_sort(receives_.begin(), receives_.end(), [&](std::uint32_t a, std::uint32_t b) {
        return ledger_.plan(a).receive_at < ledger_.plan(b).receive_at;
    });
}

Workload::Receive Workload::receive_for(std::uint32_t id) const
{
    const MessagePlan& plan = ledger_.plan(id);
    return {plan.tag, plan.exact ? 0 : tag_identity_mask, plan.flags.tagged, plan.discard, plan.capacity};
}

bool Workload::matches(const Receive& receive, const MessagePlan& plan)
{
    return receive.tagged == plan.flags.tagged &&
           (!receive.tagged || (receive.tag | receive.ignore) == (plan.tag | receive.ignore));
}

std::uint64_t Workload::bytes_handed_over(std::uint32_t id) const
{
    const MessagePlan& plan = ledger_.plan(id);
    SimHost& destination = *hosts_->at(plan.destination);
    return destination.running() ? destination.io().bytes_from(plan.source) : 0;
}

bool Workload::submit_next(SimHost& host, Time now)
{
    const std::uint32_t id = sends_[next_send_];
    const MessagePlan& plan = ledger_.plan(id);
    const PeerId peer = host.open_peer(plan.destination);
    if (peer == no_id<PeerId>) {
        throw SimFailure("open_peer: no room for host " + std::to_string(plan.destination));
    }
    Send send;
    send.memory.resize(plan.length);
    pattern_fill(send.memory, ledger_.seed(), id);
    const std::vector<iovec> iov = split(send.memory, plan.pieces, id);

    Operation operation;
    operation.peer = peer;
    operation.level = plan.level;
    operation.fence = plan.fence;
    operation.copy_payload = plan.copy_payload;
    operation.flags = plan.flags;
    operation.tag = plan.tag;
    operation.data = plan.data;
    operation.iov = iov;
    operation.cookie = id;
    const std::uint64_t bytes_before = bytes_handed_over(id);
    const LocalRoad::Sent sent = host.send_local(operation);
    const Status status = sent == LocalRoad::Sent::closed ? host.submit(operation)
                          : sent == LocalRoad::Sent::full ? Status::again
                                                          : Status::ok;
    if (status == Status::again) {
        return false;
    }
    if (status != Status::ok) {
        throw SimFailure("submit: status " + std::to_string(static_cast<int>(status)) + " for message " +
                         std::to_string(id));
    }
    ++next_send_;
    ledger_.on_submitted(id, static_cast<std::uint8_t>(host.incarnation()), bytes_before, now);
    if (rma_ledger_ != nullptr) {
        rma_ledger_->on_message_submitted(id, plan.fence);
    }
    if (plan.copy_payload) {
        std::fill(send.memory.begin(), send.memory.end(), scribble);
        send.memory.clear();
    }
    if (plan.level != CompletionLevel::none && sent == LocalRoad::Sent::done) {
        ledger_.on_completed(id, Cause::none, bytes_handed_over(id), now);
    } else if (plan.level != CompletionLevel::none) {
        outstanding_ += plan.length;
        sending_.emplace(id, std::move(send));
    }
    return true;
}

Time Workload::on_pass(SimHost& host, Time now)
{
    Time next = time_never;
    bool submitted = false;
    for (std::deque<Receive> again = std::exchange(repost_, {}); const Receive& receive : again) {
        post_receive(host, receive);
    }
    while (next_receive_ < receives_.size() && ledger_.plan(receives_[next_receive_]).receive_at <= now) {
        post_receive(host, receive_for(receives_[next_receive_++]));
        submitted = true;
    }
    while (next_send_ < sends_.size() && ledger_.plan(sends_[next_send_]).submit_at <= now) {
        const bool has_room = outstanding_ == 0 || outstanding_ < options_.outstanding_bytes;
        if (!has_room || !submit_next(host, now)) {
            next = now + retry_wait_;
            retry_wait_ = std::min<Duration>(2 * retry_wait_, std::chrono::milliseconds(5));
            break;
        }
        retry_wait_ = first_retry;
        submitted = true;
    }
    const Time wanted_by_rma = rma_ != nullptr ? rma_->on_pass(host, now) : time_never;
    if (submitted) {
        return now;
    }
    if (next == time_never && next_send_ < sends_.size()) {
        next = ledger_.plan(sends_[next_send_]).submit_at;
    }
    if (next_receive_ < receives_.size()) {
        next = std::min(next, ledger_.plan(receives_[next_receive_]).receive_at);
    }
    return std::min(next, wanted_by_rma);
}

void Workload::on_event(SimHost& host, const Event& event)
{
    if (rma_ != nullptr && rma_->on_event(host, event)) {
        return;
    }
    switch (event.kind) {
    case Event::Kind::message:
        return on_message(host, event);
    case Event::Kind::receive_done:
        return on_receive_done(event);
    case Event::Kind::send_done:
        return on_send_done(host, event);
    case Event::Kind::message_lost:
        return on_message_lost(event);
    case Event::Kind::waiting:   // is only told
    case Event::Kind::peer_lost: // of operations that report nothing; the ledgers know which have failed
        return;
    case Event::Kind::mtu_found:
        if (event.length >= event.cookie) {
            throw SimFailure("a path that carries what its ends take was told of as narrow");
        }
        return;
    default:
        break;
    }
    throw SimFailure("poll_event: an event of unknown kind");
}

void Workload::on_message(SimHost& host, const Event& event)
{
    const std::uint32_t id = ledger_.on_announced(host.peer_host(event.peer), host_, event);
    const MessagePlan& plan = ledger_.plan(id);
    const auto receive =
        std::find_if(posted_.begin(), posted_.end(), [&](const Receive& r) { return matches(r, plan); });
    if (receive != posted_.end() && !receive->discard) {
        const Receive copy = *receive;
        if (place(host, event.message, id, copy)) {
            posted_.erase(receive);
        } else {
            host.refuse(event.message);
        }
        return;
    }
    MessageId parked = event.message;
    if (host.park(parked) != Status::ok) {
        host.refuse(event.message);
        return;
    }
    take(host, id);
    if (receive != posted_.end()) {
        posted_.erase(receive);
        ledger_.on_discarded(id);
        host.discard(parked);
        return;
    }
    parked_.push_back({parked, id});
    check_memory(host);
}

/// What waits for receives takes no more memory than it may. (Of what was only announced nothing is here: of
/// a longer message, where memory is scarce.)
void Workload::check_memory(SimHost& host) const
{
    std::uint64_t bytes = 0;
    for (const Parked& parked : parked_) {
        const std::uint64_t length = ledger_.plan(parked.message).length;
        bytes += length <= std::min(host.options().tuning.eager_size, careful_eager_size) ? length : 0;
    }
    if (bytes > host.options().limits.unexpected_bytes) {
        throw SimFailure("host " + std::to_string(host_) + " keeps " + std::to_string(bytes) +
                         " bytes of unexpected messages");
    }
}

void Workload::take(SimHost& host, std::uint32_t message)
{
    ledger_.on_taken(message, static_cast<std::uint8_t>(host.incarnation()));
    if (rma_ledger_ != nullptr) {
        rma_ledger_->on_message_taken(message);
    }
}

bool Workload::place(SimHost& host, MessageId id, std::uint32_t message, const Receive& receive)
{
    Landing landing{message, receive, {}, {}};
    SimRandom random(message ^ receive.capacity);
    const auto pieces = receive.capacity == 0 ? 1 : random.between(1, max_iov);
    std::vector<iovec> iov;
    std::size_t rest = receive.capacity;
    for (std::uint64_t piece = 0; piece < pieces; ++piece) {
        const std::size_t size = piece + 1 == pieces ? rest : random.between(0, rest);
        landing.pieces.emplace_back(size + guard_size, guard_byte);
        landing.sizes.push_back(size);
        rest -= size;
    }
    for (std::size_t piece = 0; piece < pieces; ++piece) {
        iov.push_back({landing.pieces[piece].data(), landing.sizes[piece]});
    }
    const std::uint64_t cookie = next_landing_++;
    Accepted outcome{};
    if (host.accept(id, iov, cookie, outcome) != Status::ok) {
        return false;
    }
    if (!ledger_.record(message).taken) {
        take(host, message);
    }
    if (outcome == Accepted::complete) {
        finish(landing, ledger_.plan(message).length);
    } else {
        landings_.emplace(cookie, std::move(landing));
    }
    return true;
}

void Workload::finish(const Landing& landing, std::uint64_t length)
{
    std::vector<std::byte> placed;
    for (std::size_t piece = 0; piece < landing.pieces.size(); ++piece) {
        const std::vector<std::byte>& memory = landing.pieces[piece];
        const auto end = memory.begin() + static_cast<std::ptrdiff_t>(landing.sizes[piece]);
        if (std::any_of(end, memory.end(), [](std::byte value) { return value != guard_byte; })) {
            throw SimFailure("message " + std::to_string(landing.message) + " was written beyond its buffer");
        }
        placed.insert(placed.end(), memory.begin(), end);
    }
    if (length < placed.size()) {
        const auto tail = placed.begin() + static_cast<std::ptrdiff_t>(length);
        if (std::any_of(tail, placed.end(), [](std::byte value) { return value != guard_byte; })) {
            throw SimFailure("message " + std::to_string(landing.message) + " was written beyond its length");
        }
        placed.resize(length);
    }
    ledger_.on_received(landing.message, length, placed);
}

void Workload::on_receive_done(const Event& event)
{
    const auto place = landings_.find(event.cookie);
    if (place == landings_.end()) {
        throw SimFailure("receive_done with a cookie that no pending accept() has: " +
                         std::to_string(event.cookie));
    }
    if (event.cause == Cause::none) {
        finish(place->second, event.length);
    } else {
        ledger_.on_lost(place->second.message, event.cause);
        repost_.push_back(place->second.receive);
    }
    landings_.erase(place);
}

void Workload::on_send_done(SimHost&, const Event& event)
{
    const auto place = sending_.find(static_cast<std::uint32_t>(event.cookie));
    const auto id = static_cast<std::uint32_t>(event.cookie);
    if (event.cookie >= ledger_.size()) {
        throw SimFailure("send_done with a cookie that was never given");
    }
    if (options_.forget_completion && id % 7 == 3) {
        return;
    }
    ledger_.on_completed(id, event.cause, bytes_handed_over(id), hosts_->at(host_)->now());
    if (place == sending_.end()) {
        return;
    }
    const MessagePlan& plan = ledger_.plan(id);
    if (!plan.copy_payload && !pattern_matches(place->second.memory, ledger_.seed(), id)) {
        throw SimFailure("the send buffer of message " + std::to_string(id) + " was changed");
    }
    if (options_.reuse_early) {
        std::fill(place->second.memory.begin(), place->second.memory.end(), scribble);
    }
    outstanding_ -= plan.length;
    sending_.erase(place);
}

void Workload::on_message_lost(const Event& event)
{
    const auto place =
        std::find_if(parked_.begin(), parked_.end(), [&](const Parked& p) { return p.id == event.message; });
    if (place == parked_.end()) {
        throw SimFailure("message_lost for a message that is not parked");
    }
    ledger_.on_lost(place->message, event.cause);
    parked_.erase(place);
}

void Workload::post_receive(SimHost& host, const Receive& receive)
{
    const auto place = std::find_if(parked_.begin(), parked_.end(), [&](const Parked& p) {
        return matches(receive, ledger_.plan(p.message));
    });
    if (place == parked_.end()) {
        posted_.push_back(receive);
        return;
    }
    const Parked parked = *place;
    parked_.erase(place);
    if (receive.discard) {
        ledger_.on_discarded(parked.message);
        host.discard(parked.id);
    } else if (!this->place(host, parked.id, parked.message, receive)) {
        throw SimFailure("accept() of a parked message answered 'again'");
    }
}

void Workload::on_killed()
{
    ledger_.on_host_killed(host_);
    sending_.clear();
    outstanding_ = 0;
    posted_.clear();
    parked_.clear();
    landings_.clear();
    repost_.clear();
}

void Workload::on_restarted()
{
    for (std::size_t index = 0; index < next_receive_; ++index) {
        const auto& record = ledger_.record(receives_[index]);
        if (!record.received && !record.lost) {
            repost_.push_back(receive_for(receives_[index]));
        }
    }
}

} // namespace srd::sim
