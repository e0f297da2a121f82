// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "rma/initiator.hpp"

#include <algorithm>
#include <array>

#include <srd/iov.hpp>

namespace srd {

namespace {

wire::WriteHeader header_of(const Operation& operation, std::uint32_t record, std::uint64_t total) noexcept
{
    wire::WriteHeader header;
    header.range = operation.remote.front();
    header.length = total;
    header.total = total;
    header.data = operation.data;
    header.handle = record;
    header.has_data = operation.flags.has_data;
    return header;
}

bool is_awaited(CompletionLevel level) noexcept
{
    return level == CompletionLevel::transmit || level == CompletionLevel::delivery;
}

} // namespace

// -- Fences -------------------------------------------------------------------------

bool RmaInitiator::quiet(std::uint32_t peer) const noexcept
{
    const Connection& connection = s_.peers[peer].connection;
    return !connection.queue.any_operation() &&
           !connection.window.outstanding_before(connection.window.operations_end()) &&
           s_.delivered_before(peer, connection.queue.message_next());
}

bool RmaInitiator::fence_open(std::uint32_t peer, std::uint32_t record) const noexcept
{
    const Connection& connection = s_.peers[peer].connection;
    const TxMessage& message = s_.outgoing[record];
    return connection.queue.oldest_operation() == record &&
           !connection.window.outstanding_before(message.fence_end) &&
           s_.delivered_before(peer, message.fence_messages);
}

// -- Writes -------------------------------------------------------------------------

bool RmaInitiator::write_fits_frame(const Operation& operation, std::uint64_t total) const noexcept
{
    const Peer& peer = s_.peers[static_cast<std::uint32_t>(index_of(operation.peer))];
    return operation.remote.size() == 1 &&
           header_of(operation, no_index, total).size() + total <= peer.frame_capacity();
}

bool RmaInitiator::frame_write(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    if (!write_fits_frame(operation, total)) {
        return operation.copy_payload && frame_write_pieces(operation, record, total);
    }
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = s_.peers[index];
    PacketWindow& window = peer.connection.window;
    const bool awaited = is_awaited(operation.level);
    const wire::WriteHeader header = header_of(operation, awaited ? record : no_index, total);
    std::byte* out = window.frame_space(s_.packets, index, header.size() + total, peer.frame_capacity(),
                                        wire::Contents::rma);
    if (out == nullptr) {
        return false;
    }
    copy_range(operation.iov, 0, total, wire::put_write(out, header));
    if (record != no_index) {
        s_.outgoing.framed_at_once(record);
        if (awaited) {
            s_.outgoing.chain(s_.packets[window.open_slot()], record);
        }
    }
    return true;
}

/// Copies a write into packets of its own, one for each piece. It completes when they are acknowledged,
/// whatever its level: until then its record is its name.
bool RmaInitiator::frame_write_pieces(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = s_.peers[index];
    PacketWindow& window = peer.connection.window;
    const RemoteRanges& remote = s_.outgoing.ranges(s_.outgoing[record].as<WriteSend>()->ranges);
    wire::WriteHeader header = header_of(operation, record, total);
    header.whole = false;
    const std::uint64_t room = peer.frame_capacity() - header.size();
    const auto most = static_cast<std::uint32_t>(total / room + remote.count + 1);
    if (!window.has_room(s_.packets, most)) {
        return false;
    }
    window.close_open(s_.packets);
    std::uint64_t offset = 0;
    do {
        header.range = remote.from(offset);
        header.length = std::min({room, total - offset, header.range.length});
        std::byte* out = window.frame_space(s_.packets, index, header.size() + header.length,
                                            peer.frame_capacity(), wire::Contents::rma);
        SRD_CHECK(out != nullptr);
        copy_range(operation.iov, offset, header.length, wire::put_write(out, header));
        s_.outgoing.add_copied_piece(s_.packets[window.open_slot()], record);
        window.close_open(s_.packets);
        offset += header.length;
    } while (offset < total);
    s_.outgoing.framed_at_once(record);
    return true;
}

std::byte* RmaInitiator::put_piece(const TxSlot& slot, std::byte* out) const noexcept
{
    const TxMessage& message = s_.outgoing[slot.message];
    const RemoteRanges& remote = s_.outgoing.ranges(message.as<WriteSend>()->ranges);
    wire::WriteHeader header;
    header.range = remote.from(slot.offset);
    header.length = slot.length;
    header.total = message.total;
    header.data = message.envelope.data;
    header.handle = slot.message;
    header.whole = remote.count == 1 && slot.length == message.total;
    header.has_data = message.envelope.flags.has_data;
    header.named = slot.named;
    if (!slot.named) {
        return wire::put_write(out, header);
    }
    std::array<iovec, max_iov> pieces;
    const std::size_t count = slice(message.pieces(), slot.offset, slot.length, pieces);
    header.pieces = static_cast<std::uint8_t>(count);
    return wire::put_names(wire::put_write(out, header), s_.caps.memory->epoch(),
                           std::span(pieces).first(count));
}

// -- Atomics ------------------------------------------------------------------------

std::size_t RmaInitiator::atomic_frame_size(const Operation& operation, std::uint64_t total) noexcept
{
    const AtomicOperation& atomic = operation.atomic;
    return sizeof(wire::AtomicFrame) + operation.remote.size() * sizeof(wire::AtomicRange) +
           (atomic.has_operand ? total : 0) + (atomic.has_compare ? total : 0);
}

bool RmaInitiator::atomic_fits(const Operation& operation, std::uint64_t total,
                               std::uint32_t capacity) noexcept
{
    return atomic_frame_size(operation, total) <= capacity &&
           (!operation.atomic.fetch || sizeof(wire::ResultFrame) + total <= capacity);
}

bool RmaInitiator::frame_atomic(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = s_.peers[index];
    PacketWindow& window = peer.connection.window;
    const AtomicOperation& atomic = operation.atomic;
    std::byte* out = window.frame_space(s_.packets, index, atomic_frame_size(operation, total),
                                        peer.frame_capacity(), wire::Contents::messages);
    if (out == nullptr) {
        return false;
    }
    const bool awaited = is_awaited(operation.level);
    SRD_DCHECK(record != no_index || (!awaited && !atomic.fetch));
    wire::AtomicFrame frame;
    frame.flags = static_cast<std::uint8_t>((atomic.fetch ? wire::atomic_flag::fetch : 0) |
                                            (atomic.has_operand ? wire::atomic_flag::has_operand : 0) |
                                            (atomic.has_compare ? wire::atomic_flag::has_compare : 0));
    frame.length = static_cast<std::uint16_t>(total);
    frame.sequence = peer.connection.queue.message_next();
    frame.handle = awaited || atomic.fetch ? record : no_index;
    frame.operation = atomic.operation;
    frame.datatype = atomic.datatype;
    frame.ranges = static_cast<std::uint8_t>(operation.remote.size());
    out = wire::put(out, frame);
    for (const RemoteRange& range : operation.remote) {
        out = wire::put(out, wire::AtomicRange{range.address, range.length, range.key});
    }
    if (atomic.has_operand) {
        out = copy_range(operation.iov, 0, total, out);
    }
    if (atomic.has_compare) {
        copy_range(atomic.compare, 0, total, out);
    }
    if (record != no_index) {
        s_.outgoing.framed_at_once(record);
        if (awaited && !atomic.fetch) {
            s_.outgoing.chain(s_.packets[window.open_slot()], record);
        }
    }
    return true;
}

FrameResult RmaInitiator::on_result(const wire::AtomicResult& frame)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    const TxMessage* message = s_.outgoing.find(frame.handle, peer, frame.sequence);
    if (message == nullptr || !message->fetches() || message->state != TxMessage::State::framed) {
        return FrameResult::next; // repeated after the operation was done
    }
    if (frame.payload.size() != message->total) {
        return FrameResult::malformed;
    }
    Cause cause = Cause::none;
    if (message->device == DeviceId::host) [[likely]] {
        scatter(message->pieces(), 0, frame.payload);
    } else if (!s_.devices.store(message->device, message->pieces(), 0, frame.payload) ||
               !s_.devices.settle()) {
        cause = Cause::device_failed;
    }
    s_.outgoing.complete(s_.peers[peer].connection.queue, frame.handle, cause);
    return FrameResult::next;
}

// -- Reads --------------------------------------------------------------------------

bool RmaInitiator::start_read(std::uint32_t index, std::uint32_t record)
{
    if (s_.incoming.reserve_reached()) {
        return false; // the rest is for messages that have a buffer
    }
    Peer& peer = s_.peers[index];
    const TxMessage& operation = s_.outgoing[record];
    const std::uint32_t receive = s_.incoming.create(peer.incoming, index, operation.sequence, false);
    SRD_CHECK(receive != no_index);
    RxMessage& message = s_.incoming[receive];
    message.kind = ReadReceive{record, 0};
    message.total = operation.total;
    message.device = operation.device;
    message.iov_count = operation.iov_count;
    std::copy_n(operation.iov.begin(), operation.iov_count, message.iov.begin());
    s_.outgoing.requested(peer.connection.queue, record);
    if (message.total != 0) {
        placement_.want_grant(receive);
        placement_.issue_grants();
    } else {
        peer.connection.receiver.owe(s_.incoming, receive);
    }
    return true;
}

bool RmaInitiator::frame_reads(std::uint32_t record)
{
    RxMessage& message = s_.incoming[record];
    ReadReceive& read = *message.as<ReadReceive>();
    Peer& peer = s_.peers[message.peer];
    const RemoteRanges& remote = s_.outgoing.ranges(s_.outgoing[read.operation].as<ReadSend>()->ranges);
    do {
        std::byte* out = peer.connection.window.frame_space(s_.packets, message.peer, sizeof(wire::ReadFrame),
                                                            peer.frame_capacity(), wire::Contents::rma);
        if (out == nullptr) {
            return false;
        }
        const RemoteRange range = remote.from(read.asked);
        const std::uint64_t length = std::min(message.limit - read.asked, range.length);
        wire::ReadFrame frame;
        frame.flags = read.asked + length == message.total ? wire::rma_flag::last : std::uint8_t{0};
        frame.sequence = message.sequence;
        frame.handle = record;
        frame.length = static_cast<std::uint32_t>(length);
        frame.key = range.key;
        frame.address = range.address;
        frame.offset = read.asked;
        wire::put(out, frame);
        read.asked += length;
    } while (read.asked < message.limit);
    message.grant_due = false;
    peer.connection.receiver.settle(s_.incoming, record);
    return true;
}

// -- Failures -----------------------------------------------------------------------

FrameResult RmaInitiator::on_failure(const wire::AccessFailure& frame)
{
    if (frame.denied) {
        on_denied(frame);
        return FrameResult::next;
    }
    if (target_.open_access(true) == FrameResult::refuse) {
        return FrameResult::refuse;
    }
    on_fault(frame);
    return FrameResult::next;
}

/// A write, or an atomic that fetches nothing, has failed; or the peer could not read what we have named.
/// Counted whether or not we still know it.
void RmaInitiator::on_fault(const wire::AccessFailure& frame)
{
    const std::uint32_t index = s_.reader.packet().peer;
    Peer& peer = s_.peers[index];
    SendQueue& queue = peer.connection.queue;
    queue.faults().arrived();
    queue.faults().learn(frame.faults);
    TxMessage* const message = s_.outgoing.find(frame.handle, index, frame.sequence);
    if (frame.unread != wire::Unread::no) {
        peer.connection.unread = peer.connection.unread || frame.unread == wire::Unread::ever;
        if (message != nullptr && message->named != 0) {
            s_.count.tx_unread.add();
            s_.outgoing.not_read(queue, frame.handle);
        }
    } else if (message != nullptr) {
        fail(*message, frame, queue);
    }
    s_.outgoing.release_suspects(queue);
    if (peer.has_work()) { // what was in doubt goes on
        s_.peers.activate(index);
    }
}

void RmaInitiator::fail(TxMessage& message, const wire::AccessFailure& frame, SendQueue& queue)
{
    const bool can_fail = message.is<WriteSend>() || (message.is<AtomicSend>() && !message.fetches());
    if (can_fail && message.cause == Cause::none && message.state != TxMessage::State::done) {
        message.cause = frame.cause;
        if (message.state == TxMessage::State::suspect) {
            s_.outgoing.complete(queue, frame.handle, frame.cause);
        }
    }
}

/// A read or a fetching atomic has failed.
void RmaInitiator::on_denied(const wire::AccessFailure& frame)
{
    const std::uint32_t peer = s_.reader.packet().peer;
    if (frame.is_read) {
        if (s_.incoming.live(frame.handle)) {
            const RxMessage& message = s_.incoming[frame.handle];
            if (message.peer == peer && message.sequence == frame.sequence && message.is<ReadReceive>()) {
                placement_.finish_read(frame.handle, frame.cause);
            }
        }
        return;
    }
    const TxMessage* message = s_.outgoing.find(frame.handle, peer, frame.sequence);
    if (message != nullptr && message->fetches() && message->state == TxMessage::State::framed) {
        s_.outgoing.complete(s_.peers[peer].connection.queue, frame.handle, frame.cause);
    }
}

} // namespace srd
