// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/outgoing.hpp"

#include <algorithm>
#include <utility>

#include <srd/iov.hpp>

namespace srd {

bool SendQueue::is_suspect(const TxMessage& message) const noexcept
{
    if (message.is<WriteSend>()) {
        return faults_.awaits();
    }
    if (!message.is<AtomicSend>() || message.fetches() || message.level == CompletionLevel::inject) {
        return false;
    }
    return faults_.awaits() || wire::sequence_distance(message_delivered_, message.sequence) <= 0;
}

// -- Records --------------------------------------------------------------------

std::uint32_t OutgoingPool::create(const Operation& operation, std::uint64_t total,
                                   std::uint32_t next_message) noexcept
{
    SRD_DCHECK(operation.iov.size() <= max_iov && operation.remote.size() <= max_iov);
    if (!has_room()) {
        return no_index;
    }
    const std::uint32_t record = messages_.alloc();
    TxMessage& message = messages_[record];
    message.peer = static_cast<std::uint32_t>(index_of(operation.peer));
    message.sequence = next_message;
    message.level = operation.level;
    message.envelope.tag = operation.tag;
    message.envelope.data = operation.data;
    message.envelope.flags = operation.flags;
    message.cookie = operation.cookie;
    message.total = total;
    message.device = operation.device;
    std::span<const iovec> iov = operation.iov;
    std::uint32_t ranges = no_index;
    if (operation.kind == OperationKind::write || operation.kind == OperationKind::read) {
        ranges = ranges_.alloc();
        RemoteRanges& remote = ranges_[ranges]; // there are as many as messages
        std::copy(operation.remote.begin(), operation.remote.end(), remote.ranges.begin());
        remote.count = static_cast<std::uint32_t>(operation.remote.size());
    }
    switch (operation.kind) {
    case OperationKind::message:
        break; // EagerSend; ask_first() may decide otherwise
    case OperationKind::write:
        message.kind = WriteSend{ranges};
        message.sequence = 0;
        break;
    case OperationKind::read:
        message.kind = ReadSend{ranges};
        message.sequence = read_sequence_++;
        break;
    case OperationKind::atomic:
        message.kind = AtomicSend{operation.atomic.fetch};
        iov = operation.atomic.fetch ? operation.atomic.result : iov;
        break;
    }
    SRD_CHECK(iov.size() <= max_iov);
    message.iov_count = static_cast<std::uint8_t>(iov.size());
    std::copy(iov.begin(), iov.end(), message.iov.begin());
    return record;
}

bool OutgoingPool::buffer(std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.is<EagerSend>() && message.total <= buffered_size);
    const std::uint32_t buffer = has_room() ? buffers_.alloc() : no_index;
    if (buffer == no_index) {
        return false;
    }
    const std::uint32_t news = messages_.alloc();
    TxMessage& report = messages_[news];
    report.peer = message.peer;
    report.level = message.level;
    report.envelope = message.envelope;
    report.cookie = message.cookie;
    report.total = message.total;
    report.state = TxMessage::State::done;
    done_.push_back(messages_, news);
    copy_range(message.pieces(), 0, message.total, buffers_.data(buffer));
    message.iov[0] = {buffers_.data(buffer), message.total};
    message.iov_count = 1;
    message.level = CompletionLevel::none;
    message.buffer = buffer;
    return true;
}

void OutgoingPool::release(std::uint32_t record) noexcept
{
    const TxMessage& message = messages_[record];
    if (message.is_buffered()) {
        buffers_.release(message.buffer);
    }
    if (!message.is<EagerSend>()) {
        if (const WriteSend* write = message.as<WriteSend>()) {
            ranges_.release(write->ranges);
        } else if (const ReadSend* read = message.as<ReadSend>()) {
            ranges_.release(read->ranges);
        }
    }
    messages_.release(record);
}

void OutgoingPool::discard(std::uint32_t message) noexcept
{
    SRD_DCHECK(messages_[message].state == TxMessage::State::queued);
    release(message);
}

void OutgoingPool::submit(SendQueue& queue, std::uint32_t message) noexcept
{
    SRD_DCHECK(messages_[message].state == TxMessage::State::framed);
    queue.all_.push_back(messages_, message);
}

void OutgoingPool::submit_waiting(SendQueue& queue, std::uint32_t index) noexcept
{
    SRD_DCHECK(messages_[index].state == TxMessage::State::queued);
    queue.waiting_.push_back(messages_, index);
    queue.all_.push_back(messages_, index);
}

void OutgoingPool::ask_first(std::uint32_t index, std::uint32_t unscheduled) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.state == TxMessage::State::queued && message.is<EagerSend>() && message.framed == 0);
    SRD_DCHECK(unscheduled < message.total);
    message.kind = RequestedSend{.unscheduled = unscheduled};
}

TxMessage& OutgoingPool::respond(SendQueue& queue, std::uint32_t peer) noexcept
{
    const std::uint32_t index = messages_.alloc();
    SRD_CHECK(index != no_index); // the caller has made sure of room
    ++responses_;
    ++queue.responses_;
    TxMessage& message = messages_[index];
    message.peer = peer;
    message.kind = ReadResponse{};
    message.state = TxMessage::State::granted;
    queue.granted_.push_back(messages_, index);
    return message;
}

/// What was sent may be sent again and is then answered with region_closed; so is what was not sent yet.
bool OutgoingPool::revoke(std::uint64_t key) noexcept
{
    bool any = false;
    for (std::uint32_t index = 0; responses_ != 0 && index < messages_.watermark(); ++index) {
        if (!messages_.live(index)) {
            continue;
        }
        TxMessage& message = messages_[index];
        ReadResponse* response = message.as<ReadResponse>();
        if (response != nullptr && response->key == key && message.state != TxMessage::State::done) {
            response->revoked = true;
            message.level = CompletionLevel::none;
            message.iov_count = 0;
            any = true;
        }
    }
    return any;
}

// -- From queued to framed --------------------------------------------------------

void OutgoingPool::framed_at_once(std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.state == TxMessage::State::queued);
    message.state = TxMessage::State::framed;
    message.framed = message.total;
}

void OutgoingPool::framed(SendQueue& queue, std::uint32_t index, std::uint64_t bytes,
                          std::uint64_t limit) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.state == TxMessage::State::queued || message.state == TxMessage::State::granted);
    SRD_DCHECK(message.framed + bytes <= limit && limit <= message.total);
    message.framed += bytes;
    ++message.unacked;
    if (message.framed != limit) {
        return;
    }
    (message.state == TxMessage::State::granted ? queue.granted_ : queue.waiting_).erase(messages_, index);
    if (message.framed == message.total) {
        message.state = TxMessage::State::framed;
        return;
    }
    message.state = TxMessage::State::waiting; // data frames end when what is granted is framed
    grant_more(queue, index);
}

void OutgoingPool::framed_named(SendQueue& queue, std::uint32_t index, std::uint32_t bytes) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.is_access() && message.named == 0 && bytes != 0);
    SRD_DCHECK(message.framed + bytes <= message.total);
    message.framed += bytes;
    message.named = bytes;
    ++message.unacked;
    queue.named_ += bytes;
    (message.is<ReadResponse>() ? queue.granted_ : queue.waiting_).erase(messages_, index);
    message.state = TxMessage::State::waiting;
}

void OutgoingPool::requested(SendQueue& queue, std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.state == TxMessage::State::queued &&
               (message.is<RequestedSend>() || message.is<ReadSend>()));
    if (RequestedSend* request = message.as<RequestedSend>()) {
        request->asked = true;
        if (request->unscheduled != 0) {
            return;
        }
    }
    queue.waiting_.erase(messages_, index);
    message.state = TxMessage::State::waiting;
}

bool OutgoingPool::granted(SendQueue& queue, std::uint32_t index, std::uint64_t limit,
                           std::uint32_t remote_handle) noexcept
{
    TxMessage& message = messages_[index];
    RequestedSend& request = std::get<RequestedSend>(message.kind);
    SRD_DCHECK(limit <= message.total);
    request.remote_handle = remote_handle;
    request.granted = std::max(request.granted, limit);
    return grant_more(queue, index);
}

/// The requested message goes on if it waits and more is granted than is framed.
bool OutgoingPool::grant_more(SendQueue& queue, std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    if (message.state != TxMessage::State::waiting ||
        std::get<RequestedSend>(message.kind).granted <= message.framed) {
        return false;
    }
    message.state = TxMessage::State::granted;
    queue.granted_.push_back(messages_, index);
    return true;
}

void OutgoingPool::read_by_peer(SendQueue& queue, std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.state == TxMessage::State::waiting && message.framed == 0);
    message.framed = message.total;
    message.state = TxMessage::State::framed;
    progress(queue, index);
}

// -- From framed to done ------------------------------------------------------------

void OutgoingPool::packet_acked(SendQueue& queue, const TxSlot& slot) noexcept
{
    if (slot.piece) {
        TxMessage& message = messages_[slot.message];
        SRD_DCHECK(message.unacked != 0);
        --message.unacked;
        progress(queue, slot.message);
        return;
    }
    for (std::uint32_t at = slot.message; at != no_index;) {
        const std::uint32_t next = messages_[at].queue.next;
        messages_[at].queue = Link{};
        complete(queue, at, messages_[at].cause);
        at = next;
    }
}

void OutgoingPool::packet_abandoned(SendQueue& queue, const TxSlot& slot) noexcept
{
    if (slot.piece && messages_[slot.message].is<ReadResponse>()) {
        TxMessage& message = messages_[slot.message];
        forget_named(queue, slot.message);
        message.cause = Cause::closed; // its reader finds out for itself
        message.state = TxMessage::State::framed;
    }
    packet_acked(queue, slot);
}

/// The named piece is not under way any more.
void OutgoingPool::forget_named(SendQueue& queue, std::uint32_t index) noexcept
{
    const std::uint32_t bytes = std::exchange(messages_[index].named, 0);
    SRD_DCHECK(queue.named_ >= bytes);
    queue.named_ -= bytes;
}

void OutgoingPool::not_read(SendQueue& queue, std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.named != 0);
    message.framed -= message.named;
    message.carried = true;
    forget_named(queue, index); // it goes on when the packet is acknowledged, or out of doubt
}

/// All packets of an operation with a named piece are acknowledged.
void OutgoingPool::settle_named(SendQueue& queue, std::uint32_t index) noexcept
{
    TxMessage& message = messages_[index];
    if (message.named != 0 && queue.faults_.awaits()) {
        queue.doubtful_.push_back(messages_, index);
        return;
    }
    forget_named(queue, index);
    if (message.framed == message.total) {
        message.state = TxMessage::State::framed;
        progress(queue, index);
    } else if (message.is<ReadResponse>()) {
        message.state = TxMessage::State::granted;
        queue.granted_.push_front(messages_, index);
    } else { // in front of what is fenced behind it
        message.state = TxMessage::State::queued;
        queue.waiting_.push_front(messages_, index);
    }
}

void OutgoingPool::progress(SendQueue& queue, std::uint32_t index) noexcept
{
    const TxMessage& message = messages_[index];
    if (message.unacked != 0) {
        return;
    }
    if (message.state == TxMessage::State::waiting && message.is_access()) {
        settle_named(queue, index);
        return;
    }
    if (message.state != TxMessage::State::framed) {
        return;
    }
    // Granted data and writes are placed before they are acknowledged; eager data is not.
    const EagerSend* eager = message.as<EagerSend>();
    const bool placed = message.level != CompletionLevel::delivery || message.is<RequestedSend>() ||
                        message.is<WriteSend>() || (eager != nullptr && eager->delivered);
    if (message.cause != Cause::none || placed) {
        complete(queue, index, message.cause);
    }
}

void OutgoingPool::complete(SendQueue& queue, std::uint32_t index, Cause cause) noexcept
{
    TxMessage& message = messages_[index];
    SRD_DCHECK(message.state != TxMessage::State::done);
    if (cause == Cause::none && queue.is_suspect(message)) {
        message.state = TxMessage::State::suspect;
        queue.has_suspects_ = true;
        return;
    }
    if (message.is<ReadResponse>()) {
        --queue.responses_;
    } else {
        queue.all_.erase(messages_, index);
    }
    message.state = TxMessage::State::done;
    message.cause = cause;
    done_.push_back(messages_, index);
}

void OutgoingPool::release_suspects(SendQueue& queue) noexcept
{
    if (queue.faults_.awaits()) {
        return;
    }
    for (std::uint32_t at = queue.doubtful_.pop_front(messages_); at != no_index;
         at = queue.doubtful_.pop_front(messages_)) {
        settle_named(queue, at);
    }
    if (!std::exchange(queue.has_suspects_, false)) {
        return;
    }
    for (std::uint32_t at = queue.all_.front(); at != no_index;) {
        const std::uint32_t next = SendQueue::All::next(messages_, at);
        if (messages_[at].state == TxMessage::State::suspect) {
            complete(queue, at, Cause::none);
        }
        at = next;
    }
}

bool OutgoingPool::poll_done(Event& event, bool& wanted) noexcept
{
    const std::uint32_t at = done_.pop_front(messages_);
    if (at == no_index) {
        return false;
    }
    const TxMessage& message = messages_[at];
    SRD_DCHECK(message.state == TxMessage::State::done);
    event = Event{};
    event.kind = Event::Kind::send_done;
    event.peer = PeerId{message.peer};
    event.cause = message.cause;
    event.cookie = message.cookie;
    event.length = message.total;
    event.flags = message.envelope.flags;
    wanted = message.level != CompletionLevel::none;
    if (const EndNews* news = message.as<EndNews>()) {
        event.kind = Event::Kind::peer_lost;
        event.cookie = news->operations;
        wanted = true;
    } else if (message.is<ReadResponse>()) {
        event.kind = Event::Kind::read_served;
        wanted = wanted && message.cause == Cause::none;
        --responses_;
    }
    release(at);
    return true;
}

} // namespace srd
