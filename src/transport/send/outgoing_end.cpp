// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations of a connection that ends.
#include "send/outgoing.hpp"

namespace srd {

void OutgoingPool::abandon_mark(SendQueue& queue, Cause cause) noexcept
{
    SRD_DCHECK(cause != Cause::none);
    for (std::uint32_t at = queue.doubtful_.pop_front(messages_); at != no_index;
         at = queue.doubtful_.pop_front(messages_)) {
        TxMessage& message = messages_[at];
        forget_named(queue, at);
        if (message.is<ReadResponse>()) {
            message.state = TxMessage::State::framed;
            complete(queue, at, Cause::closed);
        }
    }
    for (std::uint32_t at = queue.all_.front(); at != no_index; at = SendQueue::All::next(messages_, at)) {
        TxMessage& message = messages_[at];
        forget_named(queue, at);
        if (message.cause == Cause::none) {
            message.cause = cause;
        }
        message.state = TxMessage::State::framed; // nothing more of it will be
    }
    while (queue.waiting_.pop_front(messages_) != no_index) {
    }
    for (std::uint32_t at = queue.granted_.pop_front(messages_); at != no_index;
         at = queue.granted_.pop_front(messages_)) {
        TxMessage& message = messages_[at];
        if (message.is<ReadResponse>()) {
            message.cause = Cause::closed;
            message.state = TxMessage::State::framed;
            if (message.unacked == 0) {
                complete(queue, at, message.cause);
            }
        }
    }
}

void OutgoingPool::abandon_finish(SendQueue& queue) noexcept
{
    // What is left has no packet: never framed, or waiting for a grant or a delivery.
    for (std::uint32_t at = queue.all_.front(); at != no_index;) {
        const std::uint32_t next = SendQueue::All::next(messages_, at);
        SRD_DCHECK(messages_[at].unacked == 0);
        complete(queue, at, messages_[at].cause);
        at = next;
    }
    SRD_DCHECK(queue.all_.empty() && queue.waiting_.empty() && queue.granted_.empty());
}

// -- What nobody would miss -----------------------------------------------------------

void OutgoingPool::count_unsent(const SendQueue& queue, Unsent& unsent) const noexcept
{
    for (std::uint32_t at = queue.all_.front(); at != no_index; at = SendQueue::All::next(messages_, at)) {
        if (messages_[at].level == CompletionLevel::none) {
            ++unsent.operations;
            unsent.bytes += messages_[at].total;
        }
    }
}

/// Small operations leave nothing behind but their frames. The others in the packet have a handle in their
/// frame, or are messages in its chain.
void OutgoingPool::count_unsent(const TxSlot& slot, std::span<const std::byte> frames,
                                Unsent& unsent) const noexcept
{
    if (slot.piece) {
        return;
    }
    const auto add = [&](std::uint64_t bytes) {
        ++unsent.operations;
        unsent.bytes += bytes;
    };
    wire::Reader reader(frames);
    wire::Frame frame;
    while (reader.remaining() != 0 && wire::decode(reader, false, 0, frame)) {
        if (const auto* message = std::get_if<wire::EagerFrame>(&frame)) {
            if (message->offset == 0 && !message->want_delivered) {
                add(message->total);
            }
        } else if (const auto* write = std::get_if<wire::WritePiece>(&frame)) {
            if (write->handle == wire::no_handle) {
                add(write->total);
            }
        } else if (const auto* atomic = std::get_if<wire::AtomicRequest>(&frame)) {
            if (atomic->frame.handle == wire::no_handle) {
                add(atomic->frame.length);
            }
        }
    }
    for (std::uint32_t at = slot.message; at != no_index; at = messages_[at].queue.next) {
        if (messages_[at].is<EagerSend>()) {
            --unsent.operations;
            unsent.bytes -= messages_[at].total;
        }
    }
}

void OutgoingPool::report_end(std::uint32_t peer, Cause cause, const Unsent& unsent) noexcept
{
    const bool wanted = unsent.operations != 0 || is_peer_failure(cause);
    const std::uint32_t record = wanted ? messages_.alloc() : no_index;
    if (record == no_index) {
        return;
    }
    TxMessage& message = messages_[record];
    message.peer = peer;
    message.kind = EndNews{unsent.operations};
    message.total = unsent.bytes;
    message.cause = cause;
    message.state = TxMessage::State::done;
    done_.push_back(messages_, record);
}

} // namespace srd
