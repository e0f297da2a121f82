// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations: from submit() to slots, and from finished slots to
// send_done. What happens in between is in framing.cpp.
#include "engine_impl.hpp"

#include <algorithm>

#include "send/bytes.hpp"

namespace srd {

namespace {

/// Bytes that are worth a packet to a peer whose packets go through memory: about ten short messages, which
/// cost the peer as much time as a packet.
constexpr std::uint32_t near_packet = 1024;

std::uint64_t ranges_length(std::span<const RemoteRange> ranges) noexcept
{
    std::uint64_t total = 0;
    for (const RemoteRange& range : ranges) {
        total += range.length;
    }
    return total;
}

} // namespace

Status Engine::Impl::submit(const Operation& operation, Time now)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    SRD_CHECK(peers.live(index));
    now_ = now;
    const bool is_atomic = operation.kind == OperationKind::atomic;
    const bool has_ranges = operation.kind != OperationKind::message;
    const std::uint64_t total = has_ranges ? ranges_length(operation.remote) : total_length(operation.iov);
    const std::size_t copy_limit = is_atomic ? max_atomic_size : max_inject_size;
    const bool at_once = operation.copy_payload || is_atomic; // what cannot go now cannot be kept for later
    if (operation.iov.size() > max_iov || operation.remote.size() > max_iov ||
        has_ranges == operation.remote.empty() || (at_once && total > copy_limit) || closing) {
        return Status::invalid;
    }
    Peer& peer = peers[index];
    if (is_atomic && atomic_frame_size(operation, total) > std::min(frame_capacity(peer), chunk_size)) {
        return Status::invalid;
    }
    const bool numbered = operation.kind == OperationKind::message || is_atomic;
    if (numbered && peer.message_next - peer.message_delivered >= message_window) {
        count.tx_again.add();
        return Status::again;
    }

    const bool small = operation.kind != OperationKind::read &&
                       (at_once || total <= std::min<std::size_t>(tuning.copy_size, max_inject_size));
    const bool in_pieces = operation.kind == OperationKind::write && !write_fits_frame(operation, total);
    const bool needs_record =
        operation.level != CompletionLevel::none || !small || in_pieces || operation.atomic.fetch;
    std::uint32_t record = no_index;
    if (needs_record) {
        record = new_tx_message(operation, total);
        if (record == no_index) {
            count.tx_again.add();
            return Status::again;
        }
    }

    // Packets are numbered in the order of the messages in them: what the receiver lacks for its
    // next announcement is then never behind what it must hold until that.
    while (small && !peer.tx_queue.empty() && window_has_room(peer, 2) && frame_queued(index)) {
    }
    const bool framed = small && peer.tx_queue.empty() && (!operation.fence || quiet(peer)) &&
                        frame_now(operation, record, total);
    if (!framed) {
        if (at_once) {
            if (record != no_index) {
                release_tx(record);
            }
            count.tx_again.add();
            return Status::again;
        }
        TxMessage& message = tx_messages[record];
        message.requested = operation.kind == OperationKind::message &&
                            total > std::min(tuning.eager_size, PayloadPool::max_chunk);
        message.fence = operation.fence;
        message.fence_end = peer.operations_end;
        message.fence_messages = peer.message_next;
        peer.tx_queue.push_back(tx_messages, record);
    }
    if (record != no_index) {
        ++outstanding_messages;
        peer.tx_messages.push_back(tx_messages, record);
        if (framed && tx_messages[record].unacked == 0 && !operation.atomic.fetch &&
            operation.level == CompletionLevel::inject) {
            complete_tx(record, Cause::none);
        }
    }
    if (numbered) {
        ++peer.message_next;
    }
    count_operation(operation.kind, total);
    launch(index, framed, now);
    return Status::ok;
}

void Engine::Impl::count_operation(OperationKind kind, std::uint64_t total) noexcept
{
    switch (kind) {
    case OperationKind::message:
        count.tx_messages.add();
        count.tx_message_bytes.add(total);
        break;
    case OperationKind::write:
        count.tx_writes.add();
        break;
    case OperationKind::read:
        count.tx_reads.add();
        break;
    case OperationKind::atomic:
        count.tx_atomics.add();
        break;
    }
}

/// Sees to it that what was submitted goes out.
void Engine::Impl::launch(std::uint32_t index, bool framed, Time now)
{
    Peer& peer = peers[index];
    if (peer.state == Peer::State::idle) {
        start_greeting(index, now);
        transmit_due = true;
        return;
    }
    activate(index);
    // Nagle's rule: with nothing in flight no acknowledgement is coming that would trigger a pass; and a full
    // packet gains nothing by waiting. In memory even less is enough, so that the peer has something to do
    // meanwhile.
    const bool worthwhile =
        peer.near && peer.open_slot != no_index && slots[peer.open_slot].length >= near_packet;
    if (peer.in_flight.empty() || !peer.ready.empty() || !framed || worthwhile) {
        transmit_due = true;
    }
}

/// The record of an operation that is not yet on any list; no_index if there are too many.
std::uint32_t Engine::Impl::new_tx_message(const Operation& operation, std::uint64_t total)
{
    if (tx_messages.in_use() + std::min(response_reserve, tx_messages.capacity() / 4) >=
        tx_messages.capacity()) {
        return no_index;
    }
    const std::uint32_t record = tx_messages.alloc();
    const auto peer_index = static_cast<std::uint32_t>(index_of(operation.peer));
    TxMessage& message = tx_messages[record];
    message.kind = operation.kind;
    message.peer = peer_index;
    message.sequence = operation.kind == OperationKind::read    ? read_sequence++
                       : operation.kind == OperationKind::write ? 0
                                                                : peers[peer_index].message_next;
    message.level = operation.level;
    message.flags = operation.flags;
    message.tag = operation.tag;
    message.data = operation.data;
    message.cookie = operation.cookie;
    message.total = total;
    message.fetch = operation.kind == OperationKind::atomic && operation.atomic.fetch;
    const std::span<const iovec> iov = message.fetch ? operation.atomic.result : operation.iov;
    SRD_CHECK(iov.size() <= max_iov);
    message.iov_count = static_cast<std::uint8_t>(iov.size());
    std::copy(iov.begin(), iov.end(), message.iov.begin());
    if (operation.kind == OperationKind::write || operation.kind == OperationKind::read) {
        message.remote = remote_ranges.alloc();
        RemoteRanges& remote = remote_ranges[message.remote]; // there are as many as messages
        std::copy(operation.remote.begin(), operation.remote.end(), remote.ranges.begin());
        remote.count = static_cast<std::uint32_t>(operation.remote.size());
    }
    return record;
}

void Engine::Impl::release_tx(std::uint32_t record)
{
    if (tx_messages[record].remote != no_index) {
        remote_ranges.release(tx_messages[record].remote);
    }
    tx_messages.release(record);
}

/// Copies what is short into slots now. False, with nothing changed, when there is no room.
bool Engine::Impl::frame_now(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    switch (operation.kind) {
    case OperationKind::message:
        return frame_small(static_cast<std::uint32_t>(index_of(operation.peer)), record, operation, total);
    case OperationKind::write:
        return frame_small_write(operation, record, total);
    case OperationKind::atomic:
        return frame_atomic(operation, record, total);
    case OperationKind::read:
        break;
    }
    return false;
}

/// The packet is acknowledged, or its peer has failed. Its messages move on and
/// its memory is free.
void Engine::Impl::finish_slot(std::uint32_t slot_index)
{
    TxSlot& slot = slots[slot_index];
    slot.state = TxSlot::State::acked;
    if (!slot.bulk) {
        for (std::uint32_t at = slot.message; at != no_index;) {
            const std::uint32_t next = tx_messages[at].queue.next;
            tx_messages[at].queue = Link{};
            complete_tx(at, tx_messages[at].cause);
            at = next;
        }
        slot.message = no_index;
    } else {
        TxMessage& message = tx_messages[slot.message];
        SRD_DCHECK(message.unacked != 0);
        --message.unacked;
        message_progress(slot.message);
    }
    if (slot.chunk != no_index) {
        chunks.release(slot.chunk);
    }
    slots.release(slot_index);
    --outstanding_slots;
}

/// Completes the message if nothing of it is outstanding.
void Engine::Impl::message_progress(std::uint32_t message_index)
{
    const TxMessage& message = tx_messages[message_index];
    if (message.unacked != 0 || message.state != TxMessage::State::framed) {
        return;
    }
    if (message.cause != Cause::none) {
        complete_tx(message_index, message.cause);
        return;
    }
    // Granted data is placed before it is acknowledged; eager data is not.
    const bool done = (message.level != CompletionLevel::delivery || message.requested || message.delivered ||
                       message.kind == OperationKind::write);
    if (done) {
        complete_tx(message_index, Cause::none);
    }
}

void Engine::Impl::complete_tx(std::uint32_t message_index, Cause cause)
{
    TxMessage& message = tx_messages[message_index];
    SRD_DCHECK(message.state != TxMessage::State::done);
    if (cause == Cause::none && is_suspect(message)) {
        message.state = TxMessage::State::suspect;
        peers[message.peer].has_suspects = true;
        return;
    }
    if (!message.response) {
        peers[message.peer].tx_messages.erase(tx_messages, message_index);
    }
    message.state = TxMessage::State::done;
    message.cause = cause;
    tx_done.push_back(tx_messages, message_index);
}

} // namespace srd
