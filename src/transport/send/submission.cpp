// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/submission.hpp"

#include <algorithm>

#include <srd/iov.hpp>

namespace srd {

namespace {

/// Bytes that are worth a packet to a peer whose packets go through memory: about ten short messages, which
/// cost the peer as much time as a packet.
constexpr std::uint32_t same_host_packet = 1024;

std::uint64_t ranges_length(std::span<const RemoteRange> ranges) noexcept
{
    std::uint64_t total = 0;
    for (const RemoteRange& range : ranges) {
        total += range.length;
    }
    return total;
}

/// What cannot go now cannot be kept for later.
bool goes_at_once(const Operation& operation) noexcept
{
    return operation.copy_payload || operation.kind == OperationKind::atomic;
}

/// Its payload can be copied here and now. (That of an atomic always can; its result may be on a device.)
bool is_in_host_memory(const Operation& operation) noexcept
{
    return operation.device == DeviceId::host || operation.kind == OperationKind::atomic;
}

/// Has a place in the sequence of messages.
bool is_numbered(const Operation& operation) noexcept
{
    return operation.kind == OperationKind::message || operation.kind == OperationKind::atomic;
}

} // namespace

bool Submission::is_valid(const Operation& operation, std::uint64_t total) const noexcept
{
    const bool is_atomic = operation.kind == OperationKind::atomic;
    const bool has_ranges = operation.kind != OperationKind::message;
    const std::size_t copy_limit = is_atomic ? max_atomic_size : max_inject_size;
    if (operation.iov.size() > max_iov || operation.remote.size() > max_iov ||
        has_ranges == operation.remote.empty() || (goes_at_once(operation) && total > copy_limit)) {
        return false;
    }
    const Peer& peer = s_.peers[static_cast<std::uint32_t>(index_of(operation.peer))];
    return !is_atomic || RmaInitiator::atomic_fits(operation, total, peer.least_frame_capacity());
}

/// Of a message that waits: is its copy cheaper than waiting for the acknowledgement? Whoever sends one
/// message at a time waits, for as long as the peer has other things to do; in a stream, acknowledgements
/// come anyway.
bool Submission::is_worth_buffering(const Operation& operation, std::uint64_t total) const noexcept
{
    if (operation.kind != OperationKind::message || operation.level != CompletionLevel::inject ||
        operation.device != DeviceId::host || total > buffered_size) {
        return false;
    }
    const Peer& peer = s_.peers[static_cast<std::uint32_t>(index_of(operation.peer))];
    const PacketWindow& window = peer.connection.window;
    return !peer.connection.queue.any_waiting() && window.bytes_in_flight() < buffered_size &&
           total <= framing_.eager_limit(peer) && !peer.route.same_host();
}

/// What is not framed now goes behind what waits, with a record.
void Submission::wait(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    Connection& connection = s_.peers[static_cast<std::uint32_t>(index_of(operation.peer))].connection;
    if (is_worth_buffering(operation, total)) {
        s_.outgoing.buffer(record);
    }
    TxMessage& message = s_.outgoing[record];
    message.fence = operation.fence;
    message.fence_end = connection.window.operations_end();
    message.fence_messages = connection.queue.message_next();
    s_.outgoing.submit_waiting(connection.queue, record);
}

Status Submission::submit(const Operation& operation, Time now)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    SRD_CHECK(s_.peers.live(index));
    const std::uint64_t total = operation.kind == OperationKind::message ? total_length(operation.iov)
                                                                         : ranges_length(operation.remote);
    if (s_.closing || !is_valid(operation, total)) {
        return Status::invalid;
    }
    Peer& peer = s_.peers[index];
    SendQueue& queue = peer.connection.queue;
    if (is_numbered(operation) && !s_.message_window_open(index)) {
        s_.count.tx_again.add();
        return Status::again;
    }

    const bool at_once = goes_at_once(operation);
    // The copy of one that is then done is cheaper than the acknowledgement that it would wait for.
    const std::size_t copied =
        operation.level == CompletionLevel::inject ? max_inject_size : s_.tuning.copy_size;
    const bool small =
        operation.kind != OperationKind::read && (at_once || total <= copied) && is_in_host_memory(operation);
    const bool in_pieces =
        operation.kind == OperationKind::write && !initiator_.write_fits_frame(operation, total);
    const bool needs_record =
        operation.level != CompletionLevel::none || !small || in_pieces || operation.atomic.fetch;
    std::uint32_t record = no_index;
    if (needs_record) {
        record = new_record(operation, total);
        if (record == no_index) {
            return Status::again;
        }
    }

    // Packets are numbered in the order of the messages in them: what the receiver lacks for its
    // next announcement is then never behind what it must hold until that.
    while (small && queue.any_waiting() && peer.connection.window.has_room(s_.packets, 2) &&
           framing_.frame_queued(index)) {
    }
    const bool framed = small && !queue.any_waiting() && (!operation.fence || initiator_.quiet(index)) &&
                        framing_.frame_now(operation, record, total);
    if (framed) {
        if (record != no_index) {
            s_.outgoing.submit(queue, record);
            if (s_.outgoing[record].unacked == 0 && !operation.atomic.fetch &&
                operation.level == CompletionLevel::inject) {
                s_.outgoing.complete(queue, record, Cause::none);
            }
        }
    } else if (at_once) {
        if (record != no_index) {
            s_.outgoing.discard(record);
        }
        s_.count.tx_again.add();
        return Status::again;
    } else {
        wait(operation, record, total);
    }
    if (is_numbered(operation)) {
        queue.count_message();
    }
    count_operation(operation.kind, total);
    launch(index, framed, now);
    return Status::ok;
}

/// no_index: there are too many.
std::uint32_t Submission::new_record(const Operation& operation, std::uint64_t total) noexcept
{
    const SendQueue& queue = s_.peers[static_cast<std::uint32_t>(index_of(operation.peer))].connection.queue;
    const std::uint32_t record = s_.outgoing.create(operation, total, queue.message_next());
    if (record == no_index) {
        s_.count.tx_again.add();
    } else if (!is_in_host_memory(operation)) {
        s_.outgoing[record].staged = s_.staging.new_name();
    }
    return record;
}

void Submission::count_operation(OperationKind kind, std::uint64_t total) noexcept
{
    switch (kind) {
    case OperationKind::message:
        s_.count.tx_messages.add();
        s_.count.tx_message_bytes.add(total);
        break;
    case OperationKind::write:
        s_.count.tx_writes.add();
        break;
    case OperationKind::read:
        s_.count.tx_reads.add();
        break;
    case OperationKind::atomic:
        s_.count.tx_atomics.add();
        break;
    }
}

/// Sees to it that what was submitted goes out.
void Submission::launch(std::uint32_t index, bool framed, Time now)
{
    Peer& peer = s_.peers[index];
    if (peer.handshake.state() == Handshake::State::idle) {
        lifecycle_.greet(index, now);
        transmit_due_ = true;
        return;
    }
    s_.peers.activate(index);
    // Nagle's rule: with nothing in flight no acknowledgement is coming that would trigger a pass; and a full
    // packet gains nothing by waiting. In memory even less is enough, so that the peer has something to do
    // meanwhile.
    const PacketWindow& window = peer.connection.window;
    const bool worthwhile = peer.route.same_host() && window.open_slot() != no_index &&
                            s_.packets[window.open_slot()].length >= same_host_packet;
    if (!window.any_in_flight() || window.any_ready() || !framed || worthwhile) {
        transmit_due_ = true;
    }
}

// -- Frames -----------------------------------------------------------------------------

FrameResult Submission::on_grant(const wire::GrantFrame& frame)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::uint32_t handle = frame.sender_handle;
    const TxMessage* message = s_.outgoing.find(handle, peer, frame.sequence);
    if (message == nullptr || !message->is<RequestedSend>() || message->cause != Cause::none ||
        message->state > TxMessage::State::granted) {
        return FrameResult::next; // repeated after the message was done
    }
    if (frame.limit > message->total) {
        return FrameResult::malformed;
    }
    if (s_.outgoing.granted(s_.peers[peer].connection.queue, handle, frame.limit, frame.receiver_handle)) {
        s_.peers.activate(peer);
    }
    return FrameResult::next;
}

FrameResult Submission::on_delivered(const wire::DeliveredFrame& frame)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const std::uint32_t handle = frame.handle;
    TxMessage* message = s_.outgoing.find(handle, peer, frame.sequence);
    if (message == nullptr) {
        return FrameResult::next;
    }
    SendQueue& queue = s_.peers[peer].connection.queue;
    if (EagerSend* eager = message->as<EagerSend>()) {
        if (message->state == TxMessage::State::framed && message->level == CompletionLevel::delivery) {
            eager->delivered = true;
            s_.outgoing.progress(queue, handle);
        }
    } else if (message->is<RequestedSend>() && message->state == TxMessage::State::waiting &&
               message->framed == 0) {
        s_.outgoing.read_by_peer(queue, handle);
    }
    return FrameResult::next;
}

} // namespace srd
