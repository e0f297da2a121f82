// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames as values. decode() reads the next frame of a packet once, checks all
// that can be checked without knowing the connection's state, and returns one
// of a closed set of types; encode() writes one. A frame of fixed size is its
// own layout (layout.hpp); the others have a struct here.
//
// Nothing in a value is trusted beyond its syntax: handles, sequences, keys and
// addresses are the business of the part that the frame is handed to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <variant>

#include <sys/uio.h>

#include <srd/limits.hpp>
#include <srd/wire.hpp>

#include "operation.hpp"
#include "wire/layout.hpp"

namespace srd::wire {

/// A handle that names nothing.
inline constexpr std::uint32_t no_handle = 0xffffffff;

/// Bytes that a frame carries: in the packet, or (only on one host) at its end in the memory of the sender,
/// from where they are fetched when their destination is known. Or the frame only says where the sender has
/// them.
struct Payload {
    std::span<const std::byte> bytes;
    std::uint64_t size = 0;
    bool remote = false;                ///< to be fetched; `bytes` is empty
    std::uint32_t source_epoch = 0;     ///< if named()
    std::span<const std::byte> names{}; ///< MessagePieces; `bytes` is empty

    bool named() const noexcept { return !names.empty(); }
    /// Where they are: addresses of the sender's process, never dereferenced here. Returns the number of
    /// pieces.
    std::size_t source(std::span<iovec, max_iov> pieces) const noexcept;
};

/// message: a whole message; part: a piece of one that is sent without asking, or of the first bytes of one
/// that is requested.
struct EagerFrame : Envelope {
    bool want_delivered = false;
    std::uint32_t sequence = 0;
    std::uint32_t handle = 0;      ///< the sender's name for the message, if want_delivered or is_requested()
    std::uint32_t unscheduled = 0; ///< bytes that come without a grant, if is_requested(); else 0, all do
    std::uint64_t offset = 0;
    std::uint64_t total = 0; ///< bytes of the whole message
    std::span<const std::byte> payload;

    bool whole() const noexcept { return payload.size() == total; }
    bool is_requested() const noexcept { return unscheduled != 0; }
    /// Bytes that come without a grant.
    std::uint64_t unasked() const noexcept { return is_requested() ? unscheduled : total; }
};

/// request: a large message is there; send me grants.
struct RequestedMessage : Envelope {
    std::uint32_t sequence = 0;
    std::uint32_t unscheduled = 0; ///< first bytes, which come in parts without a grant
    std::uint32_t handle = 0;      ///< the sender's name for the message
    std::uint64_t total = 0;
    std::uint32_t source_epoch = 0; ///< if source_count != 0
    std::uint8_t source_count = 0;  ///< pieces of `source`; 0: the sender does not say where the bytes are
    std::array<iovec, max_iov> source{}; ///< addresses of the sender's process: never dereferenced here
};

/// data: a piece of a granted message, or of what was read.
struct DataPiece {
    std::uint32_t sequence = 0;
    std::uint32_t handle = 0; ///< the receiver's name for the message or the read
    std::uint64_t offset = 0;
    bool answers_read = false;
    std::uint32_t sender_handle = 0; ///< if the payload is named: the sender's name for what is read
    Payload payload;
};

/// write: bytes for registered memory.
struct WritePiece : Envelope {
    std::uint32_t handle = 0; ///< the sender's name for the operation
    std::uint64_t key = 0;
    std::uint64_t address = 0;
    std::uint64_t total = 0; ///< bytes of the operation
    Payload payload;
};

/// atomic: an operation on registered memory; operands and comparands are `length` bytes each.
struct AtomicRequest {
    AtomicFrame frame;
    std::span<const std::byte> body; ///< ranges, operands, comparands, as far as frame.flags has them

    bool fetches() const noexcept { return (frame.flags & atomic_flag::fetch) != 0; }
};

/// result: what a fetching atomic found.
struct AtomicResult {
    std::uint32_t sequence = 0;
    std::uint32_t handle = 0;
    std::span<const std::byte> payload;
};

/// Why named bytes were not read.
enum class Unread : std::uint8_t {
    no,  ///< it is not about that
    now, ///< it did not work this time
    ever ///< the system does not allow it
};

/// fault or denied: an access was not carried out; or fault: what was named was not read.
struct AccessFailure {
    Cause cause = Cause::none; ///< none if `unread`
    bool denied = false;       ///< a read or a fetching atomic; else a fault: a write or another atomic
    bool is_read = false;      ///< denied: `handle` names a read
    std::uint32_t sequence = 0;
    std::uint32_t handle = 0;
    std::uint16_t faults = 0;   ///< fault: fault frames made so far
    Unread unread = Unread::no; ///< fault: `handle` names what a write or data frame has named
};

/// rails: further addresses of the sender; and a question whether one of them is reached, or the answer.
struct RailsWord {
    RailsFrame frame;
    std::span<const std::byte> addresses; ///< rail_size bytes each

    bool answers() const noexcept { return (frame.flags & question_flag::answer) != 0; }
};

using Frame =
    std::variant<EagerFrame, RequestedMessage, GrantFrame, DataPiece, DeliveredFrame, HelloFrame, CloseFrame,
                 WritePiece, ReadFrame, AtomicRequest, AtomicResult, AccessFailure, MtuProbeFrame, RailsWord>;

/// Room that a packet keeps at most in front of its frames, for the header and an acknowledgement block that
/// is owed when they are framed. A block with more bitmap words goes alone.
inline constexpr std::size_t max_ack_reserve = sizeof(AckBlock) + 8 * sizeof(std::uint64_t);
inline constexpr std::uint32_t packet_overhead = sizeof(PacketHeader) + max_ack_reserve;
/// The smallest max_packet that a hello may name.
inline constexpr std::uint32_t min_max_packet = 2 * packet_overhead;

/// The longest message that may be sent without asking, and so the longest total of a part.
inline constexpr std::uint64_t max_eager_total = 131072;

/// What a packet may hold together. Messages can be refused, so that the packet comes again; writes, reads
/// and faults must then not be in it.
enum class Contents : std::uint8_t { neutral, messages, rma };
constexpr Contents contents_of(FrameType type) noexcept
{
    switch (type) {
    case FrameType::write:
    case FrameType::read:
    case FrameType::fault:
        return Contents::rma;
    case FrameType::message:
    case FrameType::part:
    case FrameType::request:
    case FrameType::atomic:
        return Contents::messages;
    default:
        return Contents::neutral;
    }
}

/// Reads the next frame of a packet that has one into `frame`. `remote_length`: bytes of the packet's end
/// that are with the sender, if `has_remote`. Never reads past the end. False: it is malformed: of no known
/// type, cut off, or against the rules of its layout.
bool decode(Reader& reader, bool has_remote, std::uint32_t remote_length, Frame& frame) noexcept;

/// Bytes of the optional fields of message, part and write frames.
constexpr std::size_t optional_size(const MessageFlags& flags, bool want_delivered) noexcept
{
    return (flags.has_data ? sizeof(MessageData) : 0) + (want_delivered ? sizeof(MessageHandle) : 0);
}

/// What the header of a write frame says.
struct WriteHeader {
    RemoteRange range;        ///< its length is not sent
    std::uint64_t length = 0; ///< bytes of the piece
    std::uint64_t total = 0;
    std::uint64_t data = 0;
    std::uint32_t handle = no_handle; ///< no_handle: no fault frame is wanted
    bool whole = true;
    bool has_data = false;
    bool named = false; ///< put_names() follows, of `pieces`
    std::uint8_t pieces = 0;

    constexpr std::size_t size() const noexcept
    {
        return sizeof(WriteFrame) + (whole ? 0 : sizeof(WriteTotal)) + (has_data ? sizeof(MessageData) : 0);
    }
};

/// A layout at `out`, to be filled in there; `out` moves behind it. (Filled in elsewhere it would be written
/// by the field and copied by the word, and the copy waits for the writes.)
template <typename Layout>
Layout& append(std::byte*& out) noexcept
{
    static_assert(alignof(Layout) == 1 && std::is_trivially_copyable_v<Layout>);
    Layout* const layout = ::new (static_cast<void*>(out)) Layout;
    out += sizeof(Layout);
    return *layout;
}

/// Writes `value` at `out`; returns the first byte behind it.
template <typename T>
std::byte* put(std::byte* out, const T& value) noexcept
{
    std::memcpy(out, &value, sizeof(T));
    return out + sizeof(T);
}

// The headers of frames with a payload: the first byte behind is returned, where the payload belongs.

inline std::uint8_t flags_on_wire(const MessageFlags& flags, bool want_delivered) noexcept
{
    return static_cast<std::uint8_t>((flags.tagged ? frame_flag::tagged : 0) |
                                     (flags.has_data ? frame_flag::has_data : 0) |
                                     (want_delivered ? frame_flag::want_delivered : 0));
}
/// A whole message of `length` bytes. `handle` no_handle: no delivered frame is wanted.
inline std::byte* put_message(std::byte* out, const Envelope& envelope, std::uint32_t sequence,
                              std::uint32_t handle, std::uint64_t length) noexcept
{
    auto& frame = append<MessageFrame>(out);
    frame.flags = flags_on_wire(envelope.flags, handle != no_handle);
    frame.length = static_cast<std::uint16_t>(length);
    frame.sequence = sequence;
    frame.tag = envelope.tag;
    if (envelope.flags.has_data) {
        out = put(out, MessageData{envelope.data});
    }
    return handle != no_handle ? put(out, MessageHandle{handle}) : out;
}
/// message if `length` == `total`, else part. `handle` no_handle: no delivered frame is wanted.
std::byte* put_eager(std::byte* out, const Envelope& envelope, std::uint32_t sequence, std::uint32_t handle,
                     std::uint64_t offset, std::uint64_t length, std::uint64_t total) noexcept;
/// A part of the first `unscheduled` bytes of a requested message.
std::byte* put_unscheduled(std::byte* out, const Envelope& envelope, std::uint32_t sequence,
                           const UnscheduledMessage& message, std::uint64_t offset, std::uint64_t length,
                           std::uint32_t unscheduled) noexcept;
constexpr std::size_t unscheduled_size(const MessageFlags& flags) noexcept
{
    return sizeof(PartFrame) + optional_size(flags, false) + sizeof(UnscheduledMessage);
}
/// `unscheduled`: bytes that follow without a grant, if there are any; `source` is empty then.
std::byte* put_request(std::byte* out, const Envelope& envelope, std::uint32_t sequence, std::uint32_t handle,
                       std::uint64_t total, std::uint32_t unscheduled, std::uint32_t epoch,
                       std::span<const iovec> source) noexcept;
constexpr std::size_t request_size(const MessageFlags& flags, std::uint32_t unscheduled,
                                   std::size_t source_count) noexcept
{
    return sizeof(RequestFrame) + optional_size(flags, false) +
           (unscheduled != 0 ? sizeof(UnscheduledBytes) : 0) +
           (source_count != 0 ? sizeof(SourceEpoch) + source_count * sizeof(MessagePiece) : 0);
}
std::byte* put_write(std::byte* out, const WriteHeader& header) noexcept;
/// Says where bytes are, at the end of a frame.
std::byte* put_names(std::byte* out, std::uint32_t epoch, std::span<const iovec> source) noexcept;
/// Of the longest frame that names bytes.
inline constexpr std::uint32_t max_named_frame = sizeof(WriteFrame) + sizeof(WriteTotal) +
                                                 sizeof(MessageData) + sizeof(SourceEpoch) +
                                                 max_iov * sizeof(MessagePiece);
std::byte* put_failure(std::byte* out, const AccessFailure& failure) noexcept;

} // namespace srd::wire
