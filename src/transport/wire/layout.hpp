// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The wire format, version 2. docs/protocol.md specifies it in full; a new
// frame type needs: its struct here, its value in frames.hpp, an owner, a row in
// docs/protocol.md and a seed in tests/fuzz/corpus (CONTRIBUTING has the recipe).
//
// All integers are little-endian and unaligned. A packet is
//
//     PacketHeader | AckBlock (if flags.has_ack) | frame | frame | ...
//
// Several small frames may share a packet. A frame that carries a piece of a
// longer message (part, data) is the last frame of its packet: the frames
// before it can then be repeated harmlessly, which is what lets a receiver
// refuse the rest of a packet and take it again later.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <srd/limits.hpp>
#include <srd/wire.hpp>

namespace srd::wire {

inline constexpr std::uint8_t protocol_version = Dialect{}.newest;

namespace packet_flag {
inline constexpr std::uint8_t sequenced = 1; ///< psn is valid; the packet is acknowledged and delivered once
inline constexpr std::uint8_t has_ack = 2;   ///< an AckBlock follows the header
inline constexpr std::uint8_t ack_requested = 4; ///< acknowledge without delay
inline constexpr std::uint8_t fragment =
    8; ///< with sequenced: a FragmentHeader and a piece of the packet follow
inline constexpr std::uint8_t sealed = 16;        ///< what follows the header is encrypted (SealedSession)
inline constexpr std::uint8_t authenticated = 32; ///< a hello that goes in clear, with a trailer (HelloAuth)
inline constexpr std::uint8_t all = 63;
} // namespace packet_flag

//   0               1               2               3
//  +---------------+---------------+---------------+---------------+
//  |    version    |     flags     |     path      |    attempt    |
//  +---------------+---------------+---------------+---------------+
//  |                              psn                              |
//  +---------------------------------------------------------------+
//  |          connection: chosen by the receiver of this           |
//  |          packet; 0 only in a first hello. See binding.hpp     |
//  +---------------------------------------------------------------+
struct PacketHeader {
    u8 version = base_version;
    u8 flags = 0;
    u8 path = 0;    ///< sender's path number, echoed in acknowledgements
    u8 attempt = 0; ///< 0 for the first transmission of this psn, saturates at 255
    u32 psn;        ///< packet sequence number, per connection and direction; wraps
    u64 connection;
};
static_assert(sizeof(PacketHeader) == 16 && alignof(PacketHeader) == 1);

namespace ack_flag {
inline constexpr std::uint8_t echo = 1;               ///< echo_* and hold_ns are valid
inline constexpr std::uint8_t marks = 2;              ///< a MarkBlock follows the block
inline constexpr std::uint8_t receiver_not_ready = 4; ///< messages are being refused for lack of memory
inline constexpr std::uint8_t memory_scarce = 8;      ///< longer messages are to ask first
inline constexpr std::uint8_t no_unscheduled = 16;    ///< and not to begin before they are granted
} // namespace ack_flag

//   0               1               2               3
//  +---------------------------------------------------------------+
//  |             cumulative: every earlier psn has arrived         |
//  +---------------------------------------------------------------+
//  |       echo_psn: the packet that arrived last                  |
//  +---------------------------------------------------------------+
//  |       hold_ns: from its arrival to the making of this block   |
//  +---------------+---------------+---------------+---------------+
//  | echo_attempt  |   echo_path   |     flags     |     words     |
//  +---------------+---------------+---------------+---------------+
//  |       message_next: every earlier message was delivered       |
//  +---------------------------------------------------------------+
//  | duplicates: packets that came |    faults: fault frames that  |
//  | twice, so far                 |    the block's sender has made|
//  +---------------------------------------------------------------+
//  |  with ack_flag::marks: MarkBlock                              |
//  +---------------------------------------------------------------+
//  |  words x 64-bit bitmap: bit i <=> psn cumulative + i arrived  |
//  +---------------------------------------------------------------+
struct AckBlock {
    u32 cumulative;
    u32 echo_psn;
    u32 hold_ns; ///< saturates
    u8 echo_attempt = 0;
    u8 echo_path = 0;
    u8 flags = 0;
    u8 words = 0; ///< 0 .. max_ack_words
    u32 message_next;
    u16 duplicates; ///< wraps
    u16 faults;     ///< wraps
};
static_assert(sizeof(AckBlock) == 24 && alignof(AckBlock) == 1);
inline constexpr std::size_t max_ack_words = packet_window / 64;

/// Which of the packets that arrived lately carried ECN CE: bit i <=> psn first + i.
struct MarkBlock {
    u32 first;
    u64 bits;
};
static_assert(sizeof(MarkBlock) == 12 && alignof(MarkBlock) == 1);

/// Where a fragment lies in the frames of its packet. They never change under a psn, so a packet that was
/// made before the path's MTU fell is sent in fragments, each in a packet of its own with the header of the
/// whole.
struct FragmentHeader {
    u32 offset; ///< a multiple of fragment_unit
    u32 total;  ///< bytes of frames of the whole packet
};
static_assert(sizeof(FragmentHeader) == 8 && alignof(FragmentHeader) == 1);
/// All fragments of a packet but its last have a multiple of this many bytes.
inline constexpr std::uint32_t fragment_unit = 8;

enum class FrameType : std::uint8_t {
    message = 1,    ///< a whole message
    part = 2,       ///< a piece of a message sent without asking (eager)
    request = 3,    ///< request to send a large message
    grant = 4,      ///< permission to send up to an offset
    data = 5,       ///< a piece of a granted message
    delivered = 6,  ///< a message was placed in a matched buffer
    hello = 7,      ///< introduction, handshake and probe
    close = 8,      ///< the sender's endpoint goes away
    write = 9,      ///< bytes for the receiver's registered memory
    read = 10,      ///< request for bytes of the receiver's registered memory; answered by data or denied
    atomic = 11,    ///< an atomic operation on the receiver's registered memory
    result = 12,    ///< what a fetching atomic found
    fault = 13,     ///< a write, or an atomic that fetches nothing, was not carried out
    denied = 14,    ///< a read or a fetching atomic was not carried out
    mtu_probe = 15, ///< asks whether a packet of this size arrives
    rails = 16,     ///< tells further addresses, and asks whether one of them is reached
};

namespace frame_flag {
inline constexpr std::uint8_t tagged = 1;
inline constexpr std::uint8_t has_data = 2;       ///< MessageData follows the frame's struct
inline constexpr std::uint8_t want_delivered = 4; ///< MessageHandle follows (after MessageData)
/// part: UnscheduledMessage follows (after MessageData), and want_delivered is not set; request:
/// UnscheduledBytes follows (after MessageData), and no pieces do.
inline constexpr std::uint8_t unscheduled = 8;
inline constexpr std::uint8_t all = 15;
} // namespace frame_flag

/// Remote CQ data (FI_REMOTE_CQ_DATA).
struct MessageData {
    u64 value;
};
/// Only between processes of one host: where in the sender's memory bytes lie. A message, the receiver may
/// read there and answer with a delivered frame, or answer with grants as if it did not know. Of what a write
/// or data frame names (rma_flag::named, data_flag::named), the acknowledgement says that it was read, unless
/// a fault frame with fault_cause::not_read or ::unreadable follows.
struct SourceEpoch {
    u32 value; ///< the memory may be read as long as the sender's epoch is this
};
struct MessagePiece {
    u64 address;
    u64 length;
};
/// The sender's name for the message, returned in a delivered frame.
struct MessageHandle {
    u32 value;
};

/// type | flags | length (payload bytes in this frame) | sequence | tag, then optional fields, then payload
struct MessageFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::message);
    u8 flags = 0;
    u16 length;
    u32 sequence;
    u64 tag;
};
static_assert(sizeof(MessageFrame) == 16);

struct PartFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::part);
    u8 flags = 0;
    u16 length;
    u32 sequence;
    u64 tag;
    u32 offset;
    u32 total; ///< bytes that come without asking: all of the message, or with frame_flag::unscheduled its
               ///< first ones
};
static_assert(sizeof(PartFrame) == 24);

/// A message that is requested and begins without waiting for grants. A part of its first bytes says all that
/// the request frame says, since either may come first.
struct UnscheduledMessage {
    u32 handle; ///< the sender's name for the message, used in grants
    u64 total;  ///< bytes of the message, more than PartFrame::total
};
static_assert(sizeof(UnscheduledMessage) == 12);
/// So many bytes of a requested message come in parts, without a grant.
struct UnscheduledBytes {
    u32 value; ///< 1 .. max_eager_total, less than RequestFrame::total
};

struct RequestFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::request);
    u8 flags = 0;  ///< want_delivered never set: acknowledged data is placed data
    u8 pieces = 0; ///< MessagePieces that follow (after SourceEpoch, if there are any), at most max_iov
    u8 reserved = 0;
    u32 sequence;
    u64 tag;
    u64 total;
    u32 handle; ///< the sender's name for the message, used in grants
};
static_assert(sizeof(RequestFrame) == 28);

struct GrantFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::grant);
    u8 flags = 0;
    u16 reserved;
    u32 sequence;
    u32 sender_handle;
    u32 receiver_handle; ///< the receiver's name for the message, used in data frames
    u64 limit;           ///< bytes [0, limit) may be sent; never shrinks
};
static_assert(sizeof(GrantFrame) == 24);

namespace data_flag {
inline constexpr std::uint8_t answers_read = 1; ///< sequence and receiver_handle are those of a read
inline constexpr std::uint8_t named = 2; ///< with answers_read: `length` MessagePieces instead of bytes,
                                         ///< after MessageHandle and SourceEpoch
inline constexpr std::uint8_t all = 3;
} // namespace data_flag

struct DataFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::data);
    u8 flags = 0;
    u16 length;
    u32 sequence;
    u32 receiver_handle;
    u64 offset;
};
static_assert(sizeof(DataFrame) == 20);

// -- Remote memory access. Writes, reads and messages that may be refused never
// share a packet: a refused packet is taken again, and nothing of it may then be
// carried out twice. Atomics are messages: numbered in the same sequence, carried
// out in their turn, and recognised when they come again.
//
// A write needs no answer: its acknowledgement says that it is placed. What could
// not be placed is answered by a fault frame, and every acknowledgement block
// counts the fault frames made so far. A sender that has seen a higher count than
// it has fault frames holds back completions until they have come. A fault frame
// carries the count as well: one that overtakes another is not taken for it.

/// Bytes that one frame may name: as much as is read in one go, during which nothing else is done.
inline constexpr std::uint32_t max_named = 4U << 20;

/// Write and read frames in one packet. A window of packets full of them, all of which fail, is less than
/// half of what AckBlock::faults can tell apart.
inline constexpr std::uint32_t max_rma_frames = 31;
static_assert(max_rma_frames * packet_window < 1U << 15U);

namespace rma_flag {
inline constexpr std::uint8_t has_data = 1; ///< write: MessageData follows (after WriteTotal)
inline constexpr std::uint8_t whole = 2;    ///< write: the whole operation; else WriteTotal follows
inline constexpr std::uint8_t last = 4;     ///< read: no further read frame of this operation follows
inline constexpr std::uint8_t named =
    8; ///< write: `length` MessagePieces instead of bytes, after SourceEpoch
inline constexpr std::uint8_t all = 15;
} // namespace rma_flag

struct WriteFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::write);
    u8 flags = 0;
    u16 length; ///< payload bytes in this frame
    u32 handle; ///< the sender's name for the operation, no_index if it wants no fault frame
    u64 key;
    u64 address;
};
static_assert(sizeof(WriteFrame) == 24);

/// Bytes of a write that takes several frames.
struct WriteTotal {
    u64 value;
};

struct ReadFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::read);
    u8 flags = 0;
    u16 reserved;
    u32 sequence; ///< to be put in the data frames
    u32 handle;   ///< the reader's name for the operation: the receiver_handle of the data frames
    u32 length;   ///< bytes
    u64 key;
    u64 address;
    u64 offset; ///< of the first byte in the reader's operation
};
static_assert(sizeof(ReadFrame) == 40);

namespace atomic_flag {
inline constexpr std::uint8_t fetch = 1;       ///< a result frame is wanted
inline constexpr std::uint8_t has_operand = 2; ///< `length` bytes of operands follow the ranges
inline constexpr std::uint8_t has_compare = 4; ///< `length` bytes of comparands follow the operands
inline constexpr std::uint8_t all = 7;
} // namespace atomic_flag

/// type .. ranges | ranges x AtomicRange | operands | comparands
struct AtomicFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::atomic);
    u8 flags = 0;
    u16 length;       ///< bytes of data the operation works on, 0 .. max_atomic_size
    u32 sequence;     ///< of the message sequence
    u32 handle;       ///< the sender's name for the operation
    u8 operation = 0; ///< enum fi_op
    u8 datatype = 0;  ///< enum fi_datatype
    u8 ranges = 0;    ///< 1 .. max_iov
    u8 reserved = 0;
};
static_assert(sizeof(AtomicFrame) == 16);

struct AtomicRange {
    u64 address;
    u64 length; ///< bytes
    u64 key;
};
static_assert(sizeof(AtomicRange) == 24);

struct ResultFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::result);
    u8 flags = 0;
    u16 length; ///< bytes that follow: what was in the memory before
    u32 sequence;
    u32 handle;
};
static_assert(sizeof(ResultFrame) == 12);

/// Both fault and denied.
struct FaultFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::fault);
    u8 cause = 0;   ///< fault_cause
    u8 is_read = 0; ///< denied: `handle` names a read, else a fetching atomic
    u8 reserved = 0;
    u32 sequence; ///< as in the frame that it answers; 0 for a write
    u32 handle;   ///< of the operation that failed; not_read, unreadable: the sender's of what was named
    u16 faults;   ///< fault: fault frames made so far, itself and perhaps later ones included; wraps
};
static_assert(sizeof(FaultFrame) == 14);

namespace fault_cause {
inline constexpr std::uint8_t bad_key = 1;
inline constexpr std::uint8_t out_of_bounds = 2;
inline constexpr std::uint8_t access_denied = 3;
inline constexpr std::uint8_t bad_operation = 4;
inline constexpr std::uint8_t region_closed = 5;
// Faults of named bytes: the operation goes on with packets.
inline constexpr std::uint8_t not_read = 6;   ///< they could not be read this time
inline constexpr std::uint8_t unreadable = 7; ///< the system does not let their receiver read there
} // namespace fault_cause

struct DeliveredFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::delivered);
    u8 flags = 0;
    u16 reserved;
    u32 sequence;
    u32 handle;
};
static_assert(sizeof(DeliveredFrame) == 12);

namespace hello_flag {
inline constexpr std::uint8_t answer_wanted = 1; ///< an introduction or a question; clear in answers
inline constexpr std::uint8_t no_room = 2;       ///< an answer: all peer records are in use, ask again later
inline constexpr std::uint8_t met = 4;           ///< the sender has a record of the receiver
inline constexpr std::uint8_t key_wanted = 8;    ///< an answer: only who has the sender's job key is met
inline constexpr std::uint8_t all = 15;
} // namespace hello_flag

struct HelloFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::hello);
    u8 flags = 0;          ///< hello_flag
    u8 address_length = 0; ///< 1 .. max_address_size
    u8 round_trip = 0;     ///< to the receiver of this, as the sender knows it: put_round_trip(); 0: unknown
    u32 first_psn;         ///< of the sender's sequenced packets on this connection
    u64 incarnation;       ///< random, one per endpoint: tells a restarted process from the old one
    u64 connection;        ///< to be put in the header of packets to the sender
    u32 max_packet;        ///< largest packet the sender takes, bytes
    u32 rx_buffer;         ///< bytes the sender can queue on receive, 0 = unknown
    std::array<std::byte, max_address_size> address{}; ///< the sender's endpoint address
    // Dialect; all 0 in releases that had none, which do not look at it either.
    u8 oldest = 0; ///< version that the sender speaks; 0: it speaks base_version, and has no features
    u8 newest = 0;
    u16 reserved;
    u64 features;
};
static_assert(sizeof(HelloFrame) == 88);

/// Nanoseconds in a byte, to an eighth: (8 + lower 3 bits) << upper 5 bits. Shorter than 9 ns counts as that,
/// longer than the longest as the longest.
constexpr std::uint8_t put_round_trip(std::uint64_t ns) noexcept
{
    const std::uint64_t value = std::clamp<std::uint64_t>(ns, 9, std::uint64_t{15} << 31);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 4;
    return static_cast<std::uint8_t>(shift << 3 | (value >> shift & 7));
}
constexpr std::uint64_t get_round_trip(std::uint8_t code) noexcept
{
    return code == 0 ? 0 : std::uint64_t{8U + (code & 7U)} << (code >> 3);
}
/// The address in a hello that lives as long as the result.
inline std::span<const std::byte> address_of(const HelloFrame& hello) noexcept
{
    return std::span(hello.address).first(hello.address_length);
}

inline Dialect dialect_of(const HelloFrame& hello) noexcept
{
    return hello.oldest == 0 ? Dialect::untold() : Dialect{hello.oldest, hello.newest, hello.features};
}

struct CloseFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::close);
    u8 flags = 0;
    u16 reserved;
};
static_assert(sizeof(CloseFrame) == 4);

/// Of the frames that ask about the network.
namespace question_flag {
inline constexpr std::uint8_t answer = 1;
inline constexpr std::uint8_t all = 1;
} // namespace question_flag

/// A question has its packet to itself and is padded to `size`; the answer repeats the fields and is not
/// padded: nobody is made to send more than has come.
struct MtuProbeFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::mtu_probe);
    u8 flags = 0; ///< question_flag
    u16 number;   ///< of the question
    u32 size;     ///< bytes of the whole packet
};
static_assert(sizeof(MtuProbeFrame) == 8);

/// type .. nonce | count x 16 bytes: an IPv6 address, or an IPv4 address as such (::ffff:a.b.c.d). A question
/// goes the way that it asks about; an answer goes any, repeats `way` and `nonce`, and is no longer.
struct RailsFrame {
    u8 type = static_cast<std::uint8_t>(FrameType::rails);
    u8 flags = 0; ///< question_flag
    u8 way = 0;   ///< of the one who asks: which of his addresses, and which of the other's
    u8 count = 0; ///< further addresses of the sender, which has its first one's port at all of them
    u64 nonce;    ///< random: only who has received the question can answer
};
static_assert(sizeof(RailsFrame) == 12);

} // namespace srd::wire
