// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/framing.hpp"

#include <algorithm>
#include <array>

#include <srd/iov.hpp>

namespace srd {

namespace {

constexpr std::uint32_t page_size = 4096;
/// The longest message that a peer on this host may read in one go, during which it does nothing else: about
/// 0.2 ms. Of accesses no more is named while so many bytes are under way: it need not wait for the next.
constexpr std::uint64_t read_limit = 4U << 20;

/// A round trip in which hosts rather than switches take most of the time.
constexpr Duration slow_answer = std::chrono::microseconds(25);
/// A message of more times an eager size begins without any unscheduled bytes.
constexpr std::uint32_t most_unscheduled_windows = 8;

/// How an eager message of `total` bytes is divided where a packet has room for so many. Few packets that are
/// too long to share a call are of equal size: one is received while the next is sent, and a last one of a
/// few bytes would cost as much as any. Shorter ones are full, so that the last, which bears an
/// acknowledgement, is no longer than the others (GSO).
std::uint64_t eager_piece(std::uint64_t total, std::uint64_t room) noexcept
{
    constexpr std::uint64_t few = 4;
    constexpr std::uint64_t shared = 16384; // more than a quarter of what a call takes
    const std::uint64_t count = (total + room - 1) / room;
    return count > few || room < shared ? room : (total + count - 1) / count;
}

/// Bytes of the header of a frame with a piece of `message` from `offset` on, at most.
std::uint32_t piece_overhead(const TxMessage& message, std::uint64_t offset) noexcept
{
    std::size_t frame = sizeof(wire::DataFrame);
    if (message.is<WriteSend>()) {
        frame = sizeof(wire::WriteFrame) + sizeof(wire::WriteTotal) +
                wire::optional_size(message.envelope.flags, false);
    } else if (message.is<EagerSend>()) {
        frame = sizeof(wire::PartFrame) +
                wire::optional_size(message.envelope.flags, message.level == CompletionLevel::delivery);
    } else if (message.is_unscheduled(offset)) {
        frame = wire::unscheduled_size(message.envelope.flags);
    }
    return static_cast<std::uint32_t>(sizeof(wire::PacketHeader) + frame);
}

} // namespace

bool Framing::frame_now(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    switch (operation.kind) {
    case OperationKind::message:
        return frame_message(operation, record, total);
    case OperationKind::write:
        return initiator_.frame_write(operation, record, total);
    case OperationKind::atomic:
        return initiator_.frame_atomic(operation, record, total);
    case OperationKind::read:
        break;
    }
    return false;
}

// -- Short messages -------------------------------------------------------------------

bool Framing::frame_message(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = s_.peers[index];
    PacketWindow& window = peer.connection.window;
    const std::uint32_t handle = operation.level == CompletionLevel::delivery ? record : no_index;
    const std::size_t capacity = peer.frame_capacity();
    const std::size_t size =
        sizeof(wire::MessageFrame) + wire::optional_size(operation.flags, handle != no_index) + total;
    if (size > capacity) {
        return frame_parts(operation, record, total);
    }
    std::byte* out = window.frame_space(s_.packets, index, size, capacity, wire::Contents::messages);
    if (out == nullptr) {
        return false;
    }
    out = wire::put_message(out, operation, peer.connection.queue.message_next(), handle, total);
    copy_range(operation.iov, 0, total, out);
    if (record != no_index) {
        s_.outgoing.framed_at_once(record);
        if (operation.level == CompletionLevel::transmit) {
            s_.outgoing.chain(s_.packets[window.open_slot()], record);
        }
    }
    return true;
}

/// Several packets, for a message that is longer than one.
bool Framing::frame_parts(const Operation& operation, std::uint32_t record, std::uint64_t total)
{
    const auto index = static_cast<std::uint32_t>(index_of(operation.peer));
    Peer& peer = s_.peers[index];
    PacketWindow& window = peer.connection.window;
    const std::uint32_t handle = operation.level == CompletionLevel::delivery ? record : no_index;
    const std::size_t header =
        sizeof(wire::PartFrame) + wire::optional_size(operation.flags, handle != no_index);
    const std::size_t capacity = peer.frame_capacity();
    const std::uint64_t piece = eager_piece(total, capacity - header);
    const auto needed = static_cast<std::uint32_t>((total + piece - 1) / piece);
    if (!window.has_room(s_.packets, needed + 1)) {
        return false;
    }
    window.close_open(s_.packets);
    for (std::uint64_t offset = 0; offset < total; offset += piece) {
        const std::uint64_t length = std::min(piece, total - offset);
        std::byte* out =
            window.frame_space(s_.packets, index, header + length, capacity, wire::Contents::messages);
        SRD_CHECK(out != nullptr);
        out = wire::put_eager(out, operation, peer.connection.queue.message_next(), handle, offset, length,
                              total);
        copy_range(operation.iov, offset, length, out);
        // A message that completes at once (inject) leaves nothing behind that a packet may refer to.
        if (record != no_index && operation.level != CompletionLevel::inject) {
            s_.outgoing.add_copied_piece(s_.packets[window.open_slot()], record);
        }
        window.close_open(s_.packets);
    }
    if (record != no_index) {
        s_.outgoing.framed_at_once(record);
    }
    return true;
}

// -- What waits -------------------------------------------------------------------------

bool Framing::frame_next(std::uint32_t index)
{
    Connection& connection = s_.peers[index].connection;
    if (connection.receiver.any_control()) {
        return frame_control(index);
    }
    if (!connection.window.has_room(s_.packets, 2)) {
        return false;
    }
    if (connection.queue.any_waiting() && frame_queued(index)) {
        return true;
    }
    const std::uint32_t granted = connection.queue.first_granted();
    if (granted == no_index) {
        return false;
    }
    const TxMessage& message = s_.outgoing[granted];
    const RequestedSend* request = message.as<RequestedSend>();
    return frame_piece(index, granted, request != nullptr ? request->granted : message.total);
}

/// A peer on this host reads a longer one for itself when it is wanted, and where memory is scarce it waits
/// in ours. Where answers take long because processes take turns on a processor, or wait for interrupts, a
/// lone message may be twice as long as others: its two sides would otherwise wait for each other three
/// times, and that costs more than a second copy of one that is unexpected.
std::uint64_t Framing::eager_limit(const Peer& peer) const noexcept
{
    const std::uint64_t eager = s_.tuning.eager_size;
    if (peer.route.same_host() || peer.connection.refusal.scarce()) {
        return std::min<std::uint64_t>(eager, careful_eager_size);
    }
    const std::uint64_t lone = std::min(2 * eager, wire::max_eager_total);
    const RttEstimator& rtt = peer.connection.recovery.rtt();
    const bool slow = rtt.valid() && rtt.smoothed() >= slow_answer;
    return slow && has_room_at_once(peer, lone) ? lone : std::min(eager, wire::max_eager_total);
}

/// Next to nothing is under way to the peer, and so many bytes may go now.
bool Framing::has_room_at_once(const Peer& peer, std::uint64_t bytes) const noexcept
{
    const Connection& connection = peer.connection;
    const std::uint32_t in_flight = connection.window.bytes_in_flight();
    return in_flight <= careful_eager_size && !connection.queue.any_granted() &&
           in_flight + bytes <= connection.congestion.bytes(peer.route.mtu());
}

/// A round trip is saved where next to nothing else is under way: otherwise the grant comes meanwhile, and
/// what is granted finds its buffer known. For a message that takes many round trips that is not worth the
/// packets that a switch drops where many begin at once.
std::uint32_t Framing::unscheduled(const Peer& peer, const TxMessage& message) const noexcept
{
    const bool understood = (peer.handshake.features() & feature::unscheduled) != 0;
    if (!understood || !peer.connection.refusal.takes_unscheduled() || peer.route.same_host()) {
        return 0;
    }
    const std::size_t overhead = sizeof(wire::PacketHeader) + wire::unscheduled_size(message.envelope.flags);
    const std::uint32_t piece = peer.route.mtu() - static_cast<std::uint32_t>(overhead);
    const auto limit =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(s_.tuning.eager_size, wire::max_eager_total / 2));
    const std::uint32_t bytes = limit > piece ? limit - limit % piece : limit; // whole packets
    const bool short_enough = message.total <= std::uint64_t{most_unscheduled_windows} * limit;
    return short_enough && has_room_at_once(peer, bytes) ? bytes : 0;
}

bool Framing::frame_queued(std::uint32_t index)
{
    const Peer& peer = s_.peers[index];
    const std::uint32_t record = peer.connection.queue.first_waiting();
    const TxMessage& message = s_.outgoing[record];
    if (message.fence && !initiator_.fence_open(index, record)) {
        return false;
    }
    if (message.is<EagerSend>() && message.framed == 0 && message.total > eager_limit(peer)) {
        s_.outgoing.ask_first(record, unscheduled(peer, message));
    }
    if (message.is<ReadSend>()) {
        return initiator_.start_read(index, record);
    }
    if (const RequestedSend* request = message.as<RequestedSend>()) {
        return request->asked ? frame_piece(index, record, request->unscheduled)
                              : frame_request(index, record);
    }
    return frame_piece(index, record, message.total);
}

bool Framing::frame_request(std::uint32_t index, std::uint32_t record)
{
    Peer& peer = s_.peers[index];
    const TxMessage& message = s_.outgoing[record];
    const std::uint32_t unscheduled = message.as<RequestedSend>()->unscheduled;
    const bool readable = unscheduled == 0 && peer.route.same_host() && s_.caps.memory != nullptr &&
                          message.total <= read_limit && message.device == DeviceId::host;
    const std::span<const iovec> source = readable ? message.pieces() : std::span<const iovec>{};
    std::byte* out = peer.connection.window.frame_space(
        s_.packets, index, wire::request_size(message.envelope.flags, unscheduled, source.size()),
        peer.frame_capacity(), wire::Contents::messages);
    if (out == nullptr) {
        return false;
    }
    wire::put_request(out, message.envelope, message.sequence, record, message.total, unscheduled,
                      readable ? s_.caps.memory->epoch() : 0, source);
    s_.outgoing.requested(peer.connection.queue, record);
    return true;
}

std::uint32_t Framing::packet_size(const TxSlot& slot) const noexcept
{
    return slot.is_generated() && !slot.named
               ? piece_overhead(s_.outgoing[slot.message], slot.offset) + slot.length
               : slot.wire_bytes();
}

/// Bytes of `message`'s payload that fit its next packet, which is its own.
std::uint32_t Framing::piece_size(const Peer& peer, const TxMessage& message) const noexcept
{
    const std::uint32_t room = peer.route.mtu() - piece_overhead(message, message.framed);
    if (message.is<EagerSend>() && message.total != 0) {
        return static_cast<std::uint32_t>(eager_piece(message.total, room));
    }
    // Whole pages are copied faster.
    return peer.route.same_host() && room > page_size ? room - room % page_size : room;
}

/// Large pieces of it are read by the peer where they are.
bool Framing::is_read_by(const Peer& peer, const TxMessage& message) const noexcept
{
    return message.is_access() && message.device == DeviceId::host && !message.is_revoked() &&
           !message.carried && peer.route.same_host() && s_.caps.memory != nullptr && !peer.connection.unread;
}

/// One packet of a message, a write or a response, as far as `limit` allows. What takes more than one is
/// named if it can be: each packet would be read as well, and costs both sides far more than that. False: the
/// peer has as much to read as it may.
bool Framing::frame_piece(std::uint32_t index, std::uint32_t record, std::uint64_t limit)
{
    Peer& peer = s_.peers[index];
    const TxMessage& message = s_.outgoing[record];
    SRD_DCHECK(message.framed < limit || limit == 0);
    const std::uint32_t room = piece_size(peer, message);
    std::uint64_t rest = limit - message.framed;
    if (const WriteSend* write = message.as<WriteSend>()) {
        rest = std::min(rest, s_.outgoing.ranges(write->ranges).from(message.framed).length);
    }
    if (rest > room && is_read_by(peer, message)) {
        if (peer.connection.queue.named() >= read_limit) {
            return false;
        }
        const auto named = static_cast<std::uint32_t>(std::min<std::uint64_t>(rest, wire::max_named));
        peer.connection.window.add_piece(s_.packets, index, record, message.framed, named,
                                         !message.is<ReadResponse>(), true);
        s_.outgoing.framed_named(peer.connection.queue, record, named);
        s_.count.tx_named.add();
        return true;
    }
    const std::uint64_t payload = std::min<std::uint64_t>(room, rest);
    const bool revoked = message.is_revoked(); // a denied frame goes instead of the rest
    peer.connection.window.add_piece(s_.packets, index, record, message.framed,
                                     revoked ? 0 : static_cast<std::uint32_t>(payload),
                                     !message.is<ReadResponse>());
    s_.outgoing.framed(peer.connection.queue, record, revoked ? limit - message.framed : payload, limit);
    return true;
}

std::byte* Framing::put_piece(const TxSlot& slot, std::byte* out) const noexcept
{
    const TxMessage& message = s_.outgoing[slot.message];
    if (message.is<WriteSend>()) {
        return initiator_.put_piece(slot, out);
    }
    if (message.is<EagerSend>()) {
        return wire::put_eager(out, message.envelope, message.sequence,
                               message.level == CompletionLevel::delivery ? slot.message : no_index,
                               slot.offset, slot.length, message.total);
    }
    if (message.is_unscheduled(slot.offset)) {
        wire::UnscheduledMessage name;
        name.handle = slot.message;
        name.total = message.total;
        return wire::put_unscheduled(out, message.envelope, message.sequence, name, slot.offset, slot.length,
                                     message.as<RequestedSend>()->unscheduled);
    }
    return put_data(slot, message, out);
}

std::byte* Framing::put_data(const TxSlot& slot, const TxMessage& message, std::byte* out) const noexcept
{
    wire::DataFrame frame;
    frame.length = static_cast<std::uint16_t>(slot.length);
    frame.sequence = message.sequence;
    frame.offset = slot.offset;
    if (const ReadResponse* response = message.as<ReadResponse>()) {
        if (response->revoked) {
            return wire::put_failure(
                out, {Cause::region_closed, true, true, message.sequence, response->remote_handle, 0});
        }
        frame.flags = wire::data_flag::answers_read;
        frame.receiver_handle = response->remote_handle;
        frame.offset = response->base + slot.offset;
    } else {
        frame.receiver_handle = message.as<RequestedSend>()->remote_handle;
    }
    if (!slot.named) {
        return wire::put(out, frame);
    }
    std::array<iovec, max_iov> pieces;
    const std::size_t count = slice(message.pieces(), slot.offset, slot.length, pieces);
    frame.flags = wire::data_flag::answers_read | wire::data_flag::named;
    frame.length = static_cast<std::uint16_t>(count);
    out = wire::put(wire::put(out, frame), wire::MessageHandle{slot.message});
    return wire::put_names(out, s_.caps.memory->epoch(), std::span(pieces).first(count));
}

// -- Answers ------------------------------------------------------------------------------

bool Framing::frame_control(std::uint32_t index)
{
    Connection& connection = s_.peers[index].connection;
    const bool blocked = connection.refusal.blocked();
    bool any = false;
    if (blocked) {
        connection.window.close_open(s_.packets); // control goes out, the messages in the open packet do not
    }
    for (std::uint32_t at = connection.receiver.first_control(); at != no_index;
         at = connection.receiver.first_control()) {
        if (!frame_record(index, at)) {
            break;
        }
        any = true;
        s_.packets[connection.window.open_slot()].control = blocked;
    }
    if (any) {
        connection.window.close_open(s_.packets);
    }
    return any;
}

/// Puts what one record owes the peer into the open packet and takes it off the control list.
bool Framing::frame_record(std::uint32_t index, std::uint32_t record)
{
    Connection& connection = s_.peers[index].connection;
    RxMessage& message = s_.incoming[record];
    if (message.is<ReadReceive>()) {
        return initiator_.frame_reads(record);
    }
    if (message.is<Answer>()) {
        return target_.frame_answer(record);
    }
    SRD_DCHECK(message.grant_due || message.delivered_due);
    const std::size_t bytes = message.grant_due ? sizeof(wire::GrantFrame) : sizeof(wire::DeliveredFrame);
    std::byte* out = connection.window.frame_space(s_.packets, index, bytes, s_.peers[index].frame_capacity(),
                                                   wire::Contents::neutral);
    if (out == nullptr) {
        return false;
    }
    connection.receiver.settle(s_.incoming, record);
    if (message.grant_due) {
        wire::GrantFrame frame;
        frame.sequence = message.sequence;
        frame.sender_handle = message.sender_handle;
        frame.receiver_handle = record;
        frame.limit = message.limit;
        wire::put(out, frame);
        message.grant_due = false;
        return true;
    }
    wire::DeliveredFrame frame;
    frame.sequence = message.sequence;
    frame.handle = message.sender_handle;
    wire::put(out, frame);
    message.delivered_due = false;
    if (message.stage == RxMessage::Stage::settling) {
        placement_.release(record);
    }
    return true;
}

} // namespace srd
