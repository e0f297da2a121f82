// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is to be said becomes frames in slots.
//
// A short message is copied into the peer's open slot at once, next to others.
// A longer one waits on tx_queue and is framed when its packets can be sent;
// its payload stays in the user's memory. Beyond eager_size only a request is
// framed, and the payload waits for the receiver's grants.
#include "engine_impl.hpp"

#include <algorithm>

#include "send/bytes.hpp"

namespace srd {

namespace {

constexpr std::uint32_t page_size = 4096;
/// The longest message that a near peer may read in one go, during which it does nothing else: about 0.2 ms.
constexpr std::uint64_t read_limit = 4U << 20;

std::uint8_t flags_on_wire(const MessageFlags& flags, bool want_delivered) noexcept
{
    return static_cast<std::uint8_t>((flags.tagged ? wire::frame_flag::tagged : 0) |
                                     (flags.has_data ? wire::frame_flag::has_data : 0) |
                                     (want_delivered ? wire::frame_flag::want_delivered : 0));
}

} // namespace

std::size_t optional_fields_size(const MessageFlags& flags, bool want_delivered) noexcept
{
    return (flags.has_data ? sizeof(wire::MessageData) : 0) +
           (want_delivered ? sizeof(wire::MessageHandle) : 0);
}

/// Writes the frame of one piece of an eager message, without the payload.
std::byte* write_eager_frame(std::byte* out, const EagerFrame& frame) noexcept
{
    const std::uint8_t flags = flags_on_wire(frame.flags, frame.handle != no_index);
    const auto length = static_cast<std::uint16_t>(frame.length);
    if (frame.length == frame.total) {
        wire::MessageFrame header;
        header.flags = flags;
        header.length = length;
        header.sequence = frame.sequence;
        header.tag = frame.tag;
        out = put(out, header);
    } else {
        wire::PartFrame header;
        header.flags = flags;
        header.length = length;
        header.sequence = frame.sequence;
        header.tag = frame.tag;
        header.offset = static_cast<std::uint32_t>(frame.offset);
        header.total = static_cast<std::uint32_t>(frame.total);
        out = put(out, header);
    }
    if (frame.flags.has_data) {
        out = put(out, wire::MessageData{frame.data});
    }
    if (frame.handle != no_index) {
        out = put(out, wire::MessageHandle{frame.handle});
    }
    return out;
}
/// Copies a short message into the open slot (several slots if it is longer
/// than a packet). False, with nothing changed, when there is no room.
bool Engine::Impl::frame_small(std::uint32_t peer_index, std::uint32_t record, const Operation& operation,
                               std::uint64_t total)
{
    Peer& peer = peers[peer_index];
    EagerFrame frame;
    frame.flags = operation.flags;
    frame.sequence = peer.message_next;
    frame.tag = operation.tag;
    frame.data = operation.data;
    frame.total = total;
    frame.handle = operation.level == CompletionLevel::delivery ? record : no_index;
    const std::size_t extra = optional_fields_size(frame.flags, frame.handle != no_index);

    const std::size_t whole = sizeof(wire::MessageFrame) + extra + total;
    if (whole <= std::min(frame_capacity(peer), chunk_size)) {
        std::byte* out = small_space(peer_index, whole, TxSlot::Contents::messages);
        if (out == nullptr) {
            return false;
        }
        frame.length = total;
        copy_range(operation.iov, 0, total, write_eager_frame(out, frame));
        if (record != no_index) {
            TxMessage& message = tx_messages[record];
            message.state = TxMessage::State::framed;
            message.framed = total;
            if (operation.level == CompletionLevel::transmit) {
                TxSlot& slot = slots[peer.open_slot];
                message.queue.next = slot.message;
                slot.message = record;
            }
        }
        return true;
    }

    const std::uint64_t piece = std::min(frame_capacity(peer), chunk_size) - sizeof(wire::PartFrame) - extra;
    const auto needed = static_cast<std::uint32_t>((total + piece - 1) / piece);
    if (!window_has_room(peer, needed + 1)) {
        return false;
    }
    close_open_slot(peer);
    for (std::uint64_t offset = 0; offset < total; offset += piece) {
        frame.offset = offset;
        frame.length = std::min(piece, total - offset);
        std::byte* out = small_space(peer_index, sizeof(wire::PartFrame) + extra + frame.length,
                                     TxSlot::Contents::messages);
        SRD_CHECK(out != nullptr);
        copy_range(operation.iov, offset, frame.length, write_eager_frame(out, frame));
        // A message that completes at once (inject) leaves nothing behind that a slot may refer to.
        if (record != no_index && operation.level != CompletionLevel::inject) {
            TxSlot& slot = slots[peer.open_slot];
            slot.bulk = true;
            slot.message = record;
            ++tx_messages[record].unacked;
        }
        close_open_slot(peer);
    }
    if (record != no_index) {
        tx_messages[record].state = TxMessage::State::framed;
        tx_messages[record].framed = total;
    }
    return true;
}

bool Engine::Impl::window_has_room(const Peer& peer, std::uint32_t wanted) const noexcept
{
    return peer.tx_next - peer.tx_una + wanted <= packet_window &&
           slots.in_use() + wanted <= slots.capacity() && (peer.window != no_index || !windows.empty());
}

/// The next sequenced packet of `peer`. The caller has made sure of room.
std::uint32_t Engine::Impl::new_slot(std::uint32_t peer_index)
{
    Peer& peer = peers[peer_index];
    close_open_slot(peer);
    if (peer.window == no_index) {
        peer.window = windows.alloc();
        SRD_CHECK(peer.window != no_index);
    }
    const std::uint32_t index = slots.alloc();
    SRD_CHECK(index != no_index);
    ++outstanding_slots;
    TxSlot& slot = slots[index];
    slot.peer = peer_index;
    slot.psn = peer.tx_next++;
    windows[peer.window].set(slot.psn, index);
    return index;
}

void Engine::Impl::close_open_slot(Peer& peer)
{
    if (peer.open_slot == no_index) {
        return;
    }
    slots[peer.open_slot].state = TxSlot::State::ready;
    peer.ready.push_back(slots, peer.open_slot);
    peer.open_slot = no_index;
}

/// `bytes` of frame memory in the open slot, or in a new one; nullptr when there is no room.
std::byte* Engine::Impl::small_space(std::uint32_t peer_index, std::size_t bytes, TxSlot::Contents contents)
{
    using Contents = TxSlot::Contents;
    Peer& peer = peers[peer_index];
    const std::size_t capacity = std::min(frame_capacity(peer), chunk_size);
    SRD_DCHECK(bytes <= capacity);
    const auto joins = [&](const TxSlot& slot) {
        return slot.length + bytes <= capacity && slot.rma_frames < wire::max_rma_frames &&
               (contents == Contents::neutral || slot.contents == Contents::neutral ||
                contents == slot.contents);
    };
    if (peer.open_slot == no_index || !joins(slots[peer.open_slot])) {
        if (!window_has_room(peer, 1)) {
            return nullptr;
        }
        const std::uint32_t index = new_slot(peer_index);
        slots[index].chunk = chunks.alloc();
        SRD_CHECK(slots[index].chunk != no_index); // as many chunks as slots
        peer.open_slot = index;
    }
    TxSlot& slot = slots[peer.open_slot];
    if (contents != Contents::neutral) {
        slot.contents = contents;
        slot.rma_frames = static_cast<std::uint8_t>(slot.rma_frames + (contents == Contents::rma ? 1 : 0));
        peer.operations_end = slot.psn + 1;
    }
    std::byte* out = chunks.data(slot.chunk) + slot.length;
    slot.length += static_cast<std::uint32_t>(bytes);
    return out;
}

/// Bytes of `message`'s payload that fit one packet of their own.
std::uint32_t Engine::Impl::bulk_payload(const Peer& peer, const TxMessage& message) const noexcept
{
    std::size_t frame = sizeof(wire::DataFrame);
    if (message.kind == OperationKind::write) {
        frame =
            sizeof(wire::WriteFrame) + sizeof(wire::WriteTotal) + optional_fields_size(message.flags, false);
    } else if (!message.requested) {
        frame = sizeof(wire::PartFrame) +
                optional_fields_size(message.flags, message.level == CompletionLevel::delivery);
    }
    const std::uint32_t room = peer.mtu - static_cast<std::uint32_t>(sizeof(wire::PacketHeader) + frame);
    return peer.near && room > page_size ? room - room % page_size : room; // whole pages are copied faster
}

/// Frames one packet's worth of what waits: control, then eager, then granted
/// data. False when nothing waits or nothing fits.
bool Engine::Impl::frame_next(std::uint32_t peer_index)
{
    Peer& peer = peers[peer_index];
    if (!peer.control.empty()) {
        return frame_control(peer_index);
    }
    if (!window_has_room(peer, 2)) {
        return false;
    }
    if (!peer.tx_queue.empty() && frame_queued(peer_index)) {
        return true;
    }
    const std::uint32_t granted = peer.grant_queue.front();
    if (granted != no_index) {
        return frame_bulk(peer_index, granted, tx_messages[granted].granted);
    }
    return false;
}

/// The next packet of the oldest message on tx_queue.
bool Engine::Impl::frame_queued(std::uint32_t peer_index)
{
    const std::uint32_t at = peers[peer_index].tx_queue.front();
    const TxMessage& message = tx_messages[at];
    if (message.fence && !fence_open(peers[peer_index], at)) {
        return false;
    }
    if (message.kind == OperationKind::read) {
        return start_read(peer_index, at);
    }
    return message.requested ? frame_request(peer_index, at) : frame_bulk(peer_index, at, message.total);
}

bool Engine::Impl::frame_request(std::uint32_t peer_index, std::uint32_t message_index)
{
    Peer& peer = peers[peer_index];
    TxMessage& message = tx_messages[message_index];
    const bool readable = peer.near && caps.memory != nullptr && message.total <= read_limit;
    const std::size_t pieces = readable ? message.iov_count : 0;
    std::byte* out =
        small_space(peer_index,
                    sizeof(wire::RequestFrame) + (message.flags.has_data ? sizeof(wire::MessageData) : 0) +
                        (readable ? sizeof(wire::SourceEpoch) : 0) + pieces * sizeof(wire::MessagePiece),
                    TxSlot::Contents::messages);
    if (out == nullptr) {
        return false;
    }
    wire::RequestFrame frame;
    frame.flags = flags_on_wire(message.flags, false);
    frame.sequence = message.sequence;
    frame.tag = message.tag;
    frame.total = message.total;
    frame.handle = message_index;
    frame.pieces = static_cast<std::uint8_t>(pieces);
    out = put(out, frame);
    if (message.flags.has_data) {
        out = put(out, wire::MessageData{message.data});
    }
    if (readable) {
        out = put(out, wire::SourceEpoch{caps.memory->epoch()});
    }
    for (std::size_t i = 0; i < pieces; ++i) {
        out = put(out, wire::MessagePiece{reinterpret_cast<std::uintptr_t>(message.iov[i].iov_base),
                                          message.iov[i].iov_len});
    }
    peer.tx_queue.erase(tx_messages, message_index);
    message.state = TxMessage::State::waiting;
    return true;
}

bool Engine::Impl::frame_bulk(std::uint32_t peer_index, std::uint32_t message_index, std::uint64_t limit)
{
    Peer& peer = peers[peer_index];
    TxMessage& message = tx_messages[message_index];
    const std::uint32_t slot_index = new_slot(peer_index);
    TxSlot& slot = slots[slot_index];
    slot.bulk = true;
    slot.message = message_index;
    slot.offset = message.framed;
    std::uint64_t payload = std::min<std::uint64_t>(bulk_payload(peer, message), limit - message.framed);
    if (message.kind == OperationKind::write) {
        payload = std::min(payload, remote_ranges[message.remote].from(message.framed).length);
    }
    if (message.revoked) {
        payload = 0; // a denied frame goes instead of the rest
        message.framed = limit;
    }
    if (!message.response) {
        peer.operations_end = slot.psn + 1;
    }
    slot.length = static_cast<std::uint32_t>(payload);
    slot.state = TxSlot::State::ready;
    peer.ready.push_back(slots, slot_index);
    message.framed += payload;
    ++message.unacked;
    if (message.framed == limit) {
        if (message.requested) { // data frames end when what is granted is framed
            peer.grant_queue.erase(tx_messages, message_index);
            message.state =
                message.framed == message.total ? TxMessage::State::framed : TxMessage::State::waiting;
        } else {
            peer.tx_queue.erase(tx_messages, message_index);
            message.state = TxMessage::State::framed;
        }
    }
    return true;
}

/// Puts owed grants, answers and delivered frames into the open slot.
bool Engine::Impl::frame_control(std::uint32_t peer_index)
{
    Peer& peer = peers[peer_index];
    bool any = false;
    if (peer.rnr_blocked) {
        close_open_slot(peer); // control goes out, the messages in the open slot do not
    }
    for (std::uint32_t at = peer.control.front(); at != no_index; at = peer.control.front()) {
        if (!frame_answer(peer_index, at)) {
            break;
        }
        any = true;
        slots[peer.open_slot].control = peer.rnr_blocked;
    }
    if (any) {
        close_open_slot(peer);
    }
    return any;
}

/// Puts what one record owes the peer into the open slot and takes it off the control list.
bool Engine::Impl::frame_answer(std::uint32_t peer_index, std::uint32_t at)
{
    Peer& peer = peers[peer_index];
    RxMessage& message = rx_messages[at];
    if (message.read != no_index) {
        return frame_reads(peer_index, at);
    }
    if (message.owed != RxMessage::Owed::nothing) {
        return frame_owed(peer_index, at);
    }
    const std::size_t bytes = message.grant_due ? sizeof(wire::GrantFrame) : sizeof(wire::DeliveredFrame);
    std::byte* out = small_space(peer_index, bytes, TxSlot::Contents::neutral);
    if (out == nullptr) {
        return false;
    }
    peer.control.erase(rx_messages, at);
    message.on_control = false;
    if (message.grant_due) {
        wire::GrantFrame frame;
        frame.sequence = message.sequence;
        frame.sender_handle = message.sender_handle;
        frame.receiver_handle = at;
        frame.limit = message.limit;
        put(out, frame);
        message.grant_due = false;
        return true;
    }
    wire::DeliveredFrame frame;
    frame.sequence = message.sequence;
    frame.handle = message.sender_handle;
    put(out, frame);
    message.delivered_due = false;
    if (message.state == RxMessage::State::settling) {
        release_rx(at);
    }
    return true;
}

} // namespace srd
