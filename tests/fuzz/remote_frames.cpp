// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The frames of a Remote.
#include <algorithm>

#include "fuzz/remote.hpp"

namespace srd::fuzz {

using wire::FrameType;

/// A length of a payload: short, or on either side of a bound.
std::uint16_t Remote::choose_size(Input& input)
{
    static constexpr std::array<std::uint16_t, 16> edges{
        0,    1,    8,    64,   100,  479, max_atomic_size, max_atomic_size + 1, 1000, 1024,
        1200, 2048, 4095, 4096, 8000, 8900};
    const std::uint8_t choice = input.byte();
    return choice < 128 ? choice % 64 : edges[choice % edges.size()];
}

/// Of a message: the next one more often than not.
std::uint32_t Remote::choose_sequence(Input& input)
{
    const std::uint8_t choice = input.byte();
    if (choice < 128) {
        return next_sequence_++;
    }
    switch (choice / 16U) {
    case 8:
    case 9:
    case 10:
        return next_sequence_ + choice % 16U;
    case 11:
        next_sequence_ += choice % 16U;
        return next_sequence_;
    case 12:
        return next_sequence_ - choice % 16U;
    case 13:
        return next_sequence_ + message_window - 8 + choice % 16U;
    default:
        return input.quad();
    }
}

void Remote::put_frames(Input& input, Made& made, unsigned count, bool remote)
{
    fetch_fails_ = remote && input.byte() % 4 == 3;
    for (; count != 0 && made.bytes.size() < Victim::max_packet; --count) {
        put_frame(input, made, remote && count == 1);
    }
}

void Remote::put_frame(Input& input, Made& made, bool remote)
{
    switch (input.byte() % 16) {
    case 0:
    case 1:
        return put_message(input, made);
    case 2:
    case 3:
    case 4:
        return put_part(input, made);
    case 5:
        return put_request(input, made.bytes);
    case 6:
        return put_grant(input, made.bytes);
    case 7:
    case 8:
        return put_data(input, made, false, remote);
    case 9:
        return put_data(input, made, true, remote);
    case 10:
    case 11:
        return put_write(input, made, remote);
    case 12:
        return put_read(input, made.bytes);
    case 13:
        return put_atomic(input, made.bytes);
    case 14:
        return put_answer(input, made.bytes);
    default: {
        const Seen& seen = pick(input, (input.byte() & 1U) != 0 ? FrameType::message : FrameType::request);
        wire::DeliveredFrame frame;
        frame.sequence = seen.sequence;
        frame.handle = seen.handle;
        return append_layout(made.bytes, frame);
    }
    }
}

void Remote::put_payload(Made& made, std::uint32_t sequence, std::uint64_t offset, std::size_t size,
                         bool remote)
{
    if (remote) {
        made.remote_length = static_cast<std::uint32_t>(size);
        made.sequence = sequence;
        made.offset = offset;
        return;
    }
    const std::span<const std::byte> bytes = pattern(sequence, offset, size);
    append_bytes(made.bytes, bytes.data(), bytes.size());
}

void Remote::put_message(Input& input, Made& made)
{
    const std::uint32_t sequence = choose_sequence(input);
    const std::uint16_t length = choose_size(input);
    const std::uint8_t how = input.byte();
    Envelope envelope;
    envelope.flags = {.tagged = true, .has_data = how % 2 == 1};
    envelope.tag = honest_tag | sequence;
    std::array<std::byte, 64> head;
    const std::byte* const end =
        wire::put_message(head.data(), envelope, sequence, how % 4 == 2 ? how : wire::no_handle, length);
    append_bytes(made.bytes, head.data(), static_cast<std::size_t>(end - head.data()));
    put_payload(made, sequence, 0, length, false);
}

/// A piece of the message begun last: its next, or any; or the first piece of another.
void Remote::put_part(Input& input, Made& made)
{
    const std::uint8_t how = input.byte();
    if (how < 80) {
        part_.sequence = choose_sequence(input);
        part_.total = 1 + choose_size(input) * (1 + how % 16U);
        part_.offset = how % 32 == 31 ? input.word() : 0;
        part_.requested = how % 4 == 3 ? part_.total + input.number() : 0;
    } else if (how >= 200) {
        part_.offset = input.word() % part_.total;
    }
    const std::uint32_t rest = part_.total - std::min(part_.offset, part_.total);
    const std::uint32_t wanted = how % 8 == 7 ? part_.total / 2 : choose_size(input) + 1U;
    const auto length =
        static_cast<std::uint16_t>(std::min<std::uint32_t>({rest + (how == 255 ? 1U : 0U), wanted, 8900U}));
    Envelope envelope;
    envelope.flags = {.tagged = true, .has_data = false};
    envelope.tag = honest_tag | part_.sequence;
    std::array<std::byte, 64> head;
    wire::UnscheduledMessage message;
    message.handle = how;
    message.total = part_.requested;
    const std::byte* const end =
        part_.requested != 0
            ? wire::put_unscheduled(head.data(), envelope, part_.sequence, message, part_.offset, length,
                                    part_.total)
            : wire::put_eager(head.data(), envelope, part_.sequence, how % 8 == 2 ? how : wire::no_handle,
                              part_.offset, length, part_.total);
    append_bytes(made.bytes, head.data(), static_cast<std::size_t>(end - head.data()));
    put_payload(made, part_.sequence, part_.offset, length, false);
    part_.offset += length;
}

void Remote::put_request(Input& input, Bytes& out)
{
    const std::uint32_t sequence = choose_sequence(input);
    const std::uint64_t total = input.number();
    const std::uint8_t how = input.byte();
    Envelope envelope;
    envelope.flags = {.tagged = true, .has_data = how % 2 == 1};
    envelope.tag = honest_tag | sequence;
    std::array<iovec, max_iov> source{};
    source[0] = {reinterpret_cast<void*>(std::uintptr_t{sequence}), total};
    std::array<std::byte, 256> bytes;
    const std::byte* const end =
        wire::put_request(bytes.data(), envelope, sequence, how % 16U, total, how % 32 == 5 ? 1U + how : 0U,
                          how / 64U, std::span(source).first(how / 16 % (max_iov + 1)));
    append_bytes(out, bytes.data(), static_cast<std::size_t>(end - bytes.data()));
}

void Remote::put_grant(Input& input, Bytes& out)
{
    const Seen& seen = pick(input, FrameType::request);
    wire::GrantFrame frame;
    frame.sequence = seen.sequence;
    frame.sender_handle = seen.handle;
    const std::uint8_t how = input.byte();
    frame.receiver_handle = how % 16U;
    frame.limit = how < 64 ? seen.length : how < 128 ? seen.length / (how % 8 + 1U) : input.number();
    append_layout(out, frame);
}

/// At the end of a frame that says where `length` bytes are: mostly so many, in one to four pieces.
void Remote::put_names(Input& input, Bytes& out, std::uint64_t length)
{
    const std::uint8_t how = input.byte();
    std::array<iovec, max_iov> source{};
    const std::size_t pieces = 1 + how % max_iov;
    for (std::size_t i = 0; i < pieces; ++i) {
        source[i] = {nullptr, static_cast<std::size_t>(i + 1 == pieces ? length : length / pieces)};
        length -= source[i].iov_len;
    }
    source[0].iov_len = how < 224 ? source[0].iov_len : static_cast<std::size_t>(input.number());
    std::array<std::byte, wire::max_named_frame> bytes;
    const std::byte* const end = wire::put_names(bytes.data(), how / 8U % 4, std::span(source).first(pieces));
    append_bytes(out, bytes.data(), static_cast<std::size_t>(end - bytes.data()));
}

void Remote::put_data(Input& input, Made& made, bool answers_read, bool remote)
{
    Seen& seen = pick(input, answers_read ? FrameType::read : FrameType::grant);
    const std::uint8_t how = input.byte();
    const std::uint64_t offset = how >= 192 ? input.number() : seen.offset;
    const auto length = static_cast<std::uint16_t>(
        how % 4 == 3 ? choose_size(input)
                     : std::min<std::uint64_t>(answers_read ? seen.length : seen.length - seen.offset, 8900));
    wire::DataFrame frame;
    frame.flags = answers_read ? wire::data_flag::answers_read : std::uint8_t{0};
    frame.length = length;
    frame.sequence = seen.sequence;
    frame.receiver_handle = seen.handle;
    frame.offset = offset;
    seen.offset = offset + length;
    if (answers_read && how % 8 == 2) {
        frame.flags |= wire::data_flag::named;
        frame.length = how < 160 ? 1 + how / 8 % max_iov : length; // mostly not what follows
        append_layout(made.bytes, frame);
        append_layout(made.bytes, wire::MessageHandle{how});
        return put_names(input, made.bytes, length);
    }
    append_layout(made.bytes, frame);
    put_payload(made, seen.sequence, offset, length, remote);
}

void Remote::put_write(Input& input, Made& made, bool remote)
{
    const std::uint8_t how = input.byte();
    wire::WriteHeader header;
    header.handle = how % 8 == 7 ? static_cast<std::uint32_t>(input.number()) : how % 4U;
    header.range.key = how < 224 ? Victim::region_key : input.byte();
    header.range.address = how < 192 ? how * 16U : input.number();
    header.length = choose_size(input);
    header.whole = how % 16 < 10;
    header.total = header.whole ? header.length : how % 16 == 15 ? input.number() : 1000;
    header.has_data = how % 32 >= 16;
    header.named = how % 8 == 6;
    header.pieces = 1 + how / 8 % max_iov;
    std::array<std::byte, 64> head;
    const std::byte* const end = wire::put_write(head.data(), header);
    append_bytes(made.bytes, head.data(), static_cast<std::size_t>(end - head.data()));
    if (header.named) {
        return put_names(input, made.bytes, header.length);
    }
    put_payload(made, 0, 0, header.length, remote);
}

void Remote::put_read(Input& input, Bytes& out)
{
    const std::uint8_t how = input.byte();
    wire::ReadFrame frame;
    frame.flags = how % 2 == 1 ? wire::rma_flag::last : std::uint8_t{0};
    frame.sequence = how % 16U;
    frame.handle = how / 16U;
    frame.length = how < 240 ? choose_size(input) : static_cast<std::uint32_t>(input.number());
    frame.key = how < 224 ? Victim::region_key : input.byte();
    frame.address = how < 192 ? how : input.number();
    frame.offset = how % 8 == 7 ? input.number() : 0;
    append_layout(out, frame);
}

void Remote::put_atomic(Input& input, Bytes& out)
{
    const std::uint8_t how = input.byte();
    const std::uint16_t length = choose_size(input);
    wire::AtomicFrame frame;
    frame.flags = how % 8;
    frame.length = length;
    frame.sequence = choose_sequence(input);
    frame.handle = input.byte();
    frame.ranges = how < 200 ? 1 + how / 8 % 4 : input.byte() % 8;
    append_layout(out, frame);
    std::uint64_t rest = length;
    for (unsigned range = 0; range < frame.ranges; ++range) {
        const std::uint64_t share = range + 1U == frame.ranges ? rest : rest / 2;
        const bool wild = how >= 240 && range == how % 4U;
        append_layout(out,
                      wire::AtomicRange{wild ? input.number() : range * 600U, wild ? input.number() : share,
                                        how % 32 == 31 ? input.byte() : Victim::region_key});
        rest -= share;
    }
    const unsigned operands = ((frame.flags & wire::atomic_flag::has_operand) != 0 ? 1 : 0) +
                              ((frame.flags & wire::atomic_flag::has_compare) != 0 ? 1 : 0);
    out.resize(out.size() + std::size_t{operands} * length);
}

/// Many of what takes a record each: pieces of writes that are never finished, messages, atomics and requests
/// ahead of their turn or in it.
void Remote::flood(Input& input)
{
    const std::uint8_t how = input.byte();
    const bool ahead = how % 8 >= 4;
    for (unsigned packets = 1 + how / 8U; packets != 0; --packets) {
        Made& made = begin();
        wire::PacketHeader header;
        header.flags = wire::packet_flag::sequenced;
        header.connection = connection_;
        header.psn = next_psn_++;
        append_layout(made.bytes, header);
        if (how % 4 == 0) {
            wire::WriteHeader write;
            write.handle = flooded_++;
            write.range.key = ahead ? 99 : Victim::region_key;
            write.length = 8;
            write.total = 16;
            write.whole = false;
            std::array<std::byte, 64> head;
            const std::byte* const end = wire::put_write(head.data(), write);
            append_bytes(made.bytes, head.data(), static_cast<std::size_t>(end - head.data()));
            put_payload(made, 0, 0, write.length, false);
            continue;
        }
        for (unsigned frames = 8; frames != 0; --frames) {
            const std::uint32_t sequence = ahead ? next_sequence_ + 1 + flooded_++ : next_sequence_++;
            if (how % 4 == 1) {
                std::array<std::byte, 64> head;
                Envelope envelope;
                envelope.flags.tagged = true;
                envelope.tag = honest_tag | sequence;
                const std::byte* const end =
                    wire::put_message(head.data(), envelope, sequence, wire::no_handle, 600);
                append_bytes(made.bytes, head.data(), static_cast<std::size_t>(end - head.data()));
                put_payload(made, sequence, 0, 600, false);
            } else if (how % 4 == 2) {
                std::array<std::byte, 64> bytes;
                const std::byte* const end =
                    wire::put_request(bytes.data(), {}, sequence, sequence, 50'000, 0, 0, {});
                append_bytes(made.bytes, bytes.data(), static_cast<std::size_t>(end - bytes.data()));
            } else {
                wire::AtomicFrame atomic;
                atomic.flags = wire::atomic_flag::fetch | wire::atomic_flag::has_operand;
                atomic.length = 8;
                atomic.sequence = sequence;
                atomic.ranges = 1;
                append_layout(made.bytes, atomic);
                append_layout(made.bytes, wire::AtomicRange{0, 8, Victim::region_key});
                made.bytes.resize(made.bytes.size() + 8);
            }
        }
    }
}

/// To an atomic, a write or a read: a result, a fault, a denial.
void Remote::put_answer(Input& input, Bytes& out)
{
    const std::uint8_t how = input.byte();
    const bool is_write = how % 4 == 1;
    const bool is_read = how % 4 == 2;
    const Seen& seen = pick(input, is_write  ? FrameType::write
                                   : is_read ? FrameType::read
                                             : FrameType::atomic);
    if (how % 4 == 0) {
        wire::ResultFrame frame;
        frame.length = how < 192 ? static_cast<std::uint16_t>(seen.length) : choose_size(input);
        frame.sequence = seen.sequence;
        frame.handle = seen.handle;
        append_layout(out, frame);
        out.resize(out.size() + std::min<std::size_t>(frame.length, 9000));
        return;
    }
    wire::FaultFrame frame;
    frame.type = static_cast<std::uint8_t>(is_write || how >= 224 ? FrameType::fault : FrameType::denied);
    frame.cause = how < 240 ? 1 + how / 4 % 7 : input.byte();
    frame.is_read = is_read ? 1 : 0;
    frame.sequence = seen.sequence;
    frame.handle = seen.handle;
    faults_ = static_cast<std::uint16_t>(faults_ + (how < 128 ? 1 : input.word()));
    frame.faults = faults_;
    append_layout(out, frame);
}

} // namespace srd::fuzz
