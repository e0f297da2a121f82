// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames from values to bytes.
#include "wire/frames.hpp"

namespace srd::wire {

namespace {

std::uint8_t code_of(Cause cause) noexcept
{
    switch (cause) {
    case Cause::out_of_bounds:
        return fault_cause::out_of_bounds;
    case Cause::access_denied:
        return fault_cause::access_denied;
    case Cause::bad_operation:
        return fault_cause::bad_operation;
    case Cause::region_closed:
        return fault_cause::region_closed;
    default:
        return fault_cause::bad_key;
    }
}

} // namespace

std::byte* put_eager(std::byte* out, const Envelope& envelope, std::uint32_t sequence, std::uint32_t handle,
                     std::uint64_t offset, std::uint64_t length, std::uint64_t total) noexcept
{
    if (length == total) {
        return put_message(out, envelope, sequence, handle, length);
    }
    const bool want_delivered = handle != no_handle;
    PartFrame frame;
    frame.flags = flags_on_wire(envelope.flags, want_delivered);
    frame.length = static_cast<std::uint16_t>(length);
    frame.sequence = sequence;
    frame.tag = envelope.tag;
    frame.offset = static_cast<std::uint32_t>(offset);
    frame.total = static_cast<std::uint32_t>(total);
    out = put(out, frame);
    if (envelope.flags.has_data) {
        out = put(out, MessageData{envelope.data});
    }
    return want_delivered ? put(out, MessageHandle{handle}) : out;
}

std::byte* put_unscheduled(std::byte* out, const Envelope& envelope, std::uint32_t sequence,
                           const UnscheduledMessage& message, std::uint64_t offset, std::uint64_t length,
                           std::uint32_t unscheduled) noexcept
{
    PartFrame frame;
    frame.flags = flags_on_wire(envelope.flags, false) | frame_flag::unscheduled;
    frame.length = static_cast<std::uint16_t>(length);
    frame.sequence = sequence;
    frame.tag = envelope.tag;
    frame.offset = static_cast<std::uint32_t>(offset);
    frame.total = unscheduled;
    out = put(out, frame);
    if (envelope.flags.has_data) {
        out = put(out, MessageData{envelope.data});
    }
    return put(out, message);
}

std::byte* put_request(std::byte* out, const Envelope& envelope, std::uint32_t sequence, std::uint32_t handle,
                       std::uint64_t total, std::uint32_t unscheduled, std::uint32_t epoch,
                       std::span<const iovec> source) noexcept
{
    RequestFrame frame;
    frame.flags = static_cast<std::uint8_t>(flags_on_wire(envelope.flags, false) |
                                            (unscheduled != 0 ? frame_flag::unscheduled : 0));
    frame.sequence = sequence;
    frame.tag = envelope.tag;
    frame.total = total;
    frame.handle = handle;
    frame.pieces = static_cast<std::uint8_t>(source.size());
    out = put(out, frame);
    if (envelope.flags.has_data) {
        out = put(out, MessageData{envelope.data});
    }
    if (unscheduled != 0) {
        out = put(out, UnscheduledBytes{unscheduled});
    }
    return source.empty() ? out : put_names(out, epoch, source);
}

std::byte* put_write(std::byte* out, const WriteHeader& header) noexcept
{
    WriteFrame frame;
    frame.flags = static_cast<std::uint8_t>((header.whole ? rma_flag::whole : 0) |
                                            (header.has_data ? rma_flag::has_data : 0) |
                                            (header.named ? rma_flag::named : 0));
    frame.length = header.named ? header.pieces : static_cast<std::uint16_t>(header.length);
    frame.handle = header.handle;
    frame.key = header.range.key;
    frame.address = header.range.address;
    out = put(out, frame);
    if (!header.whole) {
        out = put(out, WriteTotal{header.total});
    }
    return header.has_data ? put(out, MessageData{header.data}) : out;
}

std::byte* put_names(std::byte* out, std::uint32_t epoch, std::span<const iovec> source) noexcept
{
    out = put(out, SourceEpoch{epoch});
    for (const iovec& piece : source) {
        out = put(out, MessagePiece{reinterpret_cast<std::uintptr_t>(piece.iov_base), piece.iov_len});
    }
    return out;
}

std::byte* put_failure(std::byte* out, const AccessFailure& failure) noexcept
{
    FaultFrame frame;
    frame.type = static_cast<std::uint8_t>(failure.denied ? FrameType::denied : FrameType::fault);
    frame.cause = failure.unread == Unread::now    ? fault_cause::not_read
                  : failure.unread == Unread::ever ? fault_cause::unreadable
                                                   : code_of(failure.cause);
    frame.is_read = failure.is_read ? 1 : 0;
    frame.sequence = failure.sequence;
    frame.handle = failure.handle;
    frame.faults = failure.faults;
    return put(out, frame);
}

} // namespace srd::wire
