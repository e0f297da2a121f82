// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "wire/frames.hpp"

#include <bit>

namespace srd::wire {

namespace {

struct Source {
    Reader& reader;
    bool has_remote;
    std::uint32_t remote_length;
};

/// The next `length` bytes: the rest of what is here, or all that is with the sender.
bool take_payload(const Source& from, std::size_t length, Payload& out) noexcept
{
    out.size = length;
    out.remote = from.has_remote;
    if (from.has_remote) {
        return from.reader.remaining() == 0 && length == from.remote_length;
    }
    if (from.reader.remaining() < length) {
        return false;
    }
    out.bytes = {from.reader.position(), length};
    return from.reader.take_bytes(length).has_value();
}

/// The pieces that `names` holds; returns their number.
std::size_t get_pieces(std::span<const std::byte> names, std::span<iovec, max_iov> out) noexcept
{
    const std::size_t count = names.size() / sizeof(MessagePiece);
    for (std::size_t i = 0; i < count; ++i) {
        MessagePiece piece;
        std::memcpy(&piece, names.data() + i * sizeof(piece), sizeof(piece));
        out[i] = {std::bit_cast<void*>(std::uint64_t{piece.address}), std::size_t{piece.length}};
    }
    return count;
}

/// Where the sender has the bytes, in `count` pieces.
bool take_names(const Source& from, std::size_t count, Payload& out) noexcept
{
    const auto epoch = from.reader.take<SourceEpoch>();
    const auto names = epoch && count <= max_iov && !from.has_remote
                           ? from.reader.take_bytes(count * sizeof(MessagePiece))
                           : std::nullopt;
    if (!names || from.reader.remaining() != 0) {
        return false;
    }
    out.source_epoch = epoch->value;
    out.names = *names;
    std::array<iovec, max_iov> pieces;
    for (const iovec& piece : std::span(pieces).first(get_pieces(*names, pieces))) {
        if (piece.iov_len > max_named - out.size) {
            return false;
        }
        out.size += piece.iov_len;
    }
    return out.size != 0;
}

/// The optional fields of any message that `flags` announce.
bool take_optional(Reader& reader, std::uint8_t flags, EagerFrame& frame) noexcept
{
    if ((flags & ~(frame_flag::tagged | frame_flag::has_data | frame_flag::want_delivered)) != 0) {
        return false;
    }
    frame.flags.tagged = (flags & frame_flag::tagged) != 0;
    frame.flags.has_data = (flags & frame_flag::has_data) != 0;
    frame.want_delivered = (flags & frame_flag::want_delivered) != 0;
    if (frame.flags.has_data) {
        const auto field = reader.take<MessageData>();
        if (!field) {
            return false;
        }
        frame.data = field->value;
    }
    if (frame.want_delivered) {
        const auto field = reader.take<MessageHandle>();
        if (!field) {
            return false;
        }
        frame.handle = field->value;
    }
    return true;
}

bool decode_message(Reader& reader, EagerFrame& out) noexcept
{
    const auto frame = reader.take<MessageFrame>();
    if (!frame || !take_optional(reader, frame->flags, out)) {
        return false;
    }
    const auto payload = reader.take_bytes(frame->length);
    if (!payload) {
        return false;
    }
    out.sequence = frame->sequence;
    out.tag = frame->tag;
    out.total = payload->size();
    out.payload = {payload->data(), payload->size()}; // not *payload: 8-byte writes, 16-byte copy
    return true;
}

/// The message that a part requests.
bool take_unscheduled(Reader& reader, std::uint32_t unscheduled, EagerFrame& out) noexcept
{
    const auto message = reader.take<UnscheduledMessage>();
    if (!message || out.want_delivered || message->total <= unscheduled) {
        return false;
    }
    out.handle = message->handle;
    out.unscheduled = unscheduled;
    out.total = message->total;
    return true;
}

bool decode_part(Reader& reader, EagerFrame& out) noexcept
{
    const auto frame = reader.take<PartFrame>();
    if (!frame ||
        !take_optional(reader, static_cast<std::uint8_t>(frame->flags & ~frame_flag::unscheduled), out)) {
        return false;
    }
    out.total = frame->total;
    if ((frame->flags & frame_flag::unscheduled) != 0 && !take_unscheduled(reader, frame->total, out)) {
        return false;
    }
    const auto payload = reader.take_bytes(frame->length);
    out.sequence = frame->sequence;
    out.tag = frame->tag;
    out.offset = frame->offset;
    // A part ends its packet, is a true part, and of what may be sent without asking.
    if (!payload || reader.remaining() != 0 || payload->empty() || payload->size() >= out.total ||
        out.offset + payload->size() > frame->total || frame->total > max_eager_total) {
        return false;
    }
    out.payload = *payload;
    return true;
}

/// Where the sender has the message's bytes, if it says so.
bool take_source(Reader& reader, std::uint8_t pieces, RequestedMessage& out) noexcept
{
    if (pieces == 0) {
        return true;
    }
    const auto epoch = reader.take<SourceEpoch>();
    if (!epoch || pieces > max_iov) {
        return false;
    }
    const auto names = reader.take_bytes(pieces * sizeof(MessagePiece));
    if (!names) {
        return false;
    }
    out.source_epoch = epoch->value;
    out.source_count = static_cast<std::uint8_t>(get_pieces(*names, out.source));
    return true;
}

bool decode_request(Reader& reader, RequestedMessage& out) noexcept
{
    const auto frame = reader.take<RequestFrame>();
    if (!frame ||
        (frame->flags & ~(frame_flag::tagged | frame_flag::has_data | frame_flag::unscheduled)) != 0) {
        return false;
    }
    out.flags.tagged = (frame->flags & frame_flag::tagged) != 0;
    out.flags.has_data = (frame->flags & frame_flag::has_data) != 0;
    if (out.flags.has_data) {
        const auto field = reader.take<MessageData>();
        if (!field) {
            return false;
        }
        out.data = field->value;
    }
    out.sequence = frame->sequence;
    out.tag = frame->tag;
    out.total = frame->total;
    out.handle = frame->handle;
    if ((frame->flags & frame_flag::unscheduled) != 0) {
        const auto field = reader.take<UnscheduledBytes>();
        if (!field || field->value == 0 || field->value > max_eager_total || field->value >= out.total ||
            frame->pieces != 0) {
            return false;
        }
        out.unscheduled = field->value;
    }
    return take_source(reader, frame->pieces, out);
}

bool decode_data(const Source& from, DataPiece& out) noexcept
{
    const auto frame = from.reader.take<DataFrame>();
    if (!frame || (frame->flags & ~data_flag::all) != 0) {
        return false;
    }
    out.sequence = frame->sequence;
    out.handle = frame->receiver_handle;
    out.offset = frame->offset;
    out.answers_read = (frame->flags & data_flag::answers_read) != 0;
    if ((frame->flags & data_flag::named) != 0) {
        const auto handle = from.reader.take<MessageHandle>();
        if (!handle || !out.answers_read) {
            return false;
        }
        out.sender_handle = handle->value;
        return take_names(from, frame->length, out.payload);
    }
    return take_payload(from, frame->length, out.payload) && from.reader.remaining() == 0;
}

bool decode_write(const Source& from, WritePiece& out) noexcept
{
    Reader& reader = from.reader;
    const auto frame = reader.take<WriteFrame>();
    if (!frame || (frame->flags & ~rma_flag::all) != 0) {
        return false;
    }
    const bool named = (frame->flags & rma_flag::named) != 0;
    const bool whole = (frame->flags & rma_flag::whole) != 0;
    out.total = frame->length;
    if (!whole) {
        const auto field = reader.take<WriteTotal>();
        if (!field) {
            return false;
        }
        out.total = field->value;
    }
    out.flags.has_data = (frame->flags & rma_flag::has_data) != 0;
    if (out.flags.has_data) {
        const auto field = reader.take<MessageData>();
        if (!field) {
            return false;
        }
        out.data = field->value;
    }
    out.handle = frame->handle;
    out.key = frame->key;
    out.address = frame->address;
    if (named) {
        if (!take_names(from, frame->length, out.payload)) {
            return false;
        }
        out.total = whole ? out.payload.size : out.total;
    } else if (!take_payload(from, frame->length, out.payload)) {
        return false;
    }
    if (out.payload.size > out.total) {
        return false;
    }
    // A piece of a longer write has its packet for itself.
    return out.payload.size == out.total || (out.payload.size != 0 && reader.remaining() == 0);
}

bool decode_read(Reader& reader, ReadFrame& out) noexcept
{
    const auto frame = reader.take<ReadFrame>();
    if (!frame || (frame->flags & ~rma_flag::last) != 0) {
        return false;
    }
    out = *frame;
    return true;
}

/// True if the `count` atomic ranges that `bytes` begins with are together `length` bytes.
bool ranges_fill(std::span<const std::byte> bytes, std::size_t count, std::uint64_t length) noexcept
{
    Reader reader(bytes);
    for (; count != 0; --count) {
        const auto range = reader.take<AtomicRange>();
        if (!range || range->length > length) {
            return false;
        }
        length -= range->length;
    }
    return length == 0;
}

bool decode_atomic(Reader& reader, AtomicRequest& out) noexcept
{
    const auto frame = reader.take<AtomicFrame>();
    if (!frame || (frame->flags & ~atomic_flag::all) != 0 || frame->ranges == 0 || frame->ranges > max_iov ||
        frame->length > max_atomic_size) {
        return false;
    }
    const std::size_t length = frame->length;
    const std::size_t size = frame->ranges * sizeof(AtomicRange) +
                             ((frame->flags & atomic_flag::has_operand) != 0 ? length : 0) +
                             ((frame->flags & atomic_flag::has_compare) != 0 ? length : 0);
    const auto body = reader.take_bytes(size);
    if (!body || !ranges_fill(*body, frame->ranges, length)) {
        return false;
    }
    out.frame = *frame;
    out.body = *body;
    return true;
}

bool decode_result(Reader& reader, AtomicResult& out) noexcept
{
    const auto frame = reader.take<ResultFrame>();
    const auto payload = frame ? reader.take_bytes(frame->length) : std::nullopt;
    if (!payload) {
        return false;
    }
    out.sequence = frame->sequence;
    out.handle = frame->handle;
    out.payload = *payload;
    return true;
}

/// Cause::none: no cause of this protocol.
Cause cause_of(std::uint8_t code) noexcept
{
    switch (code) {
    case fault_cause::bad_key:
        return Cause::bad_key;
    case fault_cause::out_of_bounds:
        return Cause::out_of_bounds;
    case fault_cause::access_denied:
        return Cause::access_denied;
    case fault_cause::bad_operation:
        return Cause::bad_operation;
    case fault_cause::region_closed:
        return Cause::region_closed;
    default:
        return Cause::none;
    }
}

bool decode_failure(Reader& reader, bool denied, AccessFailure& out) noexcept
{
    const auto frame = reader.take<FaultFrame>();
    if (!frame) {
        return false;
    }
    out.cause = cause_of(frame->cause);
    if (!denied) {
        out.unread = frame->cause == fault_cause::not_read     ? Unread::now
                     : frame->cause == fault_cause::unreadable ? Unread::ever
                                                               : Unread::no;
    }
    if ((out.cause == Cause::none && out.unread == Unread::no) || (denied && frame->is_read > 1)) {
        return false;
    }
    out.denied = denied;
    out.is_read = denied && frame->is_read != 0;
    out.sequence = frame->sequence;
    out.handle = frame->handle;
    out.faults = frame->faults;
    return true;
}

bool decode_hello(Reader& reader, HelloFrame& out) noexcept
{
    const auto frame = reader.take<HelloFrame>();
    if (!frame || frame->address_length == 0 || frame->address_length > max_address_size ||
        frame->connection == 0 || frame->incarnation == 0 || frame->max_packet < min_max_packet ||
        frame->newest < frame->oldest) {
        return false;
    }
    out = *frame;
    out.flags &= hello_flag::all; // others, and what is behind, are later releases'
    return reader.take_bytes(reader.remaining()).has_value();
}

/// A question is the only frame of a packet of the size that it names.
bool decode_mtu_probe(const Source& from, MtuProbeFrame& out) noexcept
{
    const auto frame = from.reader.take<MtuProbeFrame>();
    if (!frame || from.has_remote || (frame->flags & ~question_flag::all) != 0) {
        return false;
    }
    out = *frame;
    const std::size_t padding = from.reader.remaining();
    if ((frame->flags & question_flag::answer) != 0) {
        return padding == 0;
    }
    return sizeof(PacketHeader) + sizeof(MtuProbeFrame) + padding == frame->size &&
           from.reader.take_bytes(padding).has_value();
}

bool decode_rails(Reader& reader, RailsWord& out) noexcept
{
    const auto frame = reader.take<RailsFrame>();
    if (!frame || (frame->flags & ~question_flag::all) != 0 || frame->way >= max_rails * max_rails ||
        frame->count >= max_rails) {
        return false;
    }
    const auto addresses = reader.take_bytes(frame->count * rail_size);
    if (!addresses || reader.remaining() != 0) {
        return false;
    }
    out = {*frame, *addresses};
    return true;
}

/// A frame of fixed size, all of which may be believed so far.
template <typename Layout>
bool take(Reader& reader, Frame& frame) noexcept
{
    const auto layout = reader.take<Layout>();
    if (layout) {
        frame.emplace<Layout>(*layout);
    }
    return layout.has_value();
}

} // namespace

bool decode(Reader& reader, bool has_remote, std::uint32_t remote_length, Frame& frame) noexcept
{
    const Source from{reader, has_remote, remote_length};
    const auto type = reader.peek();
    switch (type ? static_cast<FrameType>(*type) : FrameType{}) {
    case FrameType::message:
        return decode_message(reader, frame.emplace<EagerFrame>());
    case FrameType::part:
        return decode_part(reader, frame.emplace<EagerFrame>());
    case FrameType::request:
        return decode_request(reader, frame.emplace<RequestedMessage>());
    case FrameType::grant:
        return take<GrantFrame>(reader, frame);
    case FrameType::data:
        return decode_data(from, frame.emplace<DataPiece>());
    case FrameType::delivered:
        return take<DeliveredFrame>(reader, frame);
    case FrameType::hello:
        return decode_hello(reader, frame.emplace<HelloFrame>());
    case FrameType::close:
        return take<CloseFrame>(reader, frame);
    case FrameType::write:
        return decode_write(from, frame.emplace<WritePiece>());
    case FrameType::read:
        return decode_read(reader, frame.emplace<ReadFrame>());
    case FrameType::atomic:
        return decode_atomic(reader, frame.emplace<AtomicRequest>());
    case FrameType::result:
        return decode_result(reader, frame.emplace<AtomicResult>());
    case FrameType::fault:
        return decode_failure(reader, false, frame.emplace<AccessFailure>());
    case FrameType::denied:
        return decode_failure(reader, true, frame.emplace<AccessFailure>());
    case FrameType::mtu_probe:
        return decode_mtu_probe(from, frame.emplace<MtuProbeFrame>());
    case FrameType::rails:
        return decode_rails(reader, frame.emplace<RailsWord>());
    }
    return false;
}

std::size_t Payload::source(std::span<iovec, max_iov> pieces) const noexcept
{
    return get_pieces(names, pieces);
}

} // namespace srd::wire
