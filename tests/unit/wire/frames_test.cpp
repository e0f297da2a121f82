// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Every frame: what is encoded is decoded, what is cut off or against its layout is malformed, and nothing
// behind the end of the packet is read (each packet is a block of memory of its own, for the sanitizers).
#include <functional>
#include <string>
#include <vector>

#include "unit/wire/frame_bytes.hpp"

namespace {

using namespace srd;
using namespace srd::wire;
using namespace srd::test;

Envelope envelope(bool tagged, bool has_data)
{
    Envelope value;
    value.tag = 0x1122334455667788;
    value.data = has_data ? 0xaabbccddeeff0011 : 0;
    value.flags.tagged = tagged;
    value.flags.has_data = has_data;
    return value;
}

Bytes eager(const Envelope& head, std::uint32_t handle, std::uint64_t offset, std::uint64_t length,
            std::uint64_t total)
{
    return written([&](std::byte* out) { return put_eager(out, head, 77, handle, offset, length, total); }) +
           filler(length);
}

Bytes write_frame(const WriteHeader& header)
{
    return written([&](std::byte* out) { return put_write(out, header); }) + filler(header.length);
}

HelloFrame hello()
{
    HelloFrame frame;
    frame.flags = hello_flag::answer_wanted;
    frame.address_length = max_address_size;
    frame.first_psn = 0xfffffff0;
    frame.incarnation = 5;
    frame.connection = 6;
    frame.max_packet = min_max_packet;
    frame.rx_buffer = 7;
    frame.address.fill(std::byte{9});
    return frame;
}

MtuProbeFrame mtu_answer()
{
    MtuProbeFrame frame;
    frame.flags = question_flag::answer;
    frame.number = 3;
    frame.size = 1472;
    return frame;
}

AtomicFrame atomic_frame(std::uint8_t flags, std::uint16_t length, std::uint8_t ranges)
{
    AtomicFrame frame;
    frame.flags = flags;
    frame.length = length;
    frame.sequence = 3;
    frame.handle = 4;
    frame.operation = 11;
    frame.datatype = 12;
    frame.ranges = ranges;
    return frame;
}

/// A well-formed packet of one frame of each type, and of each form of it.
std::vector<std::pair<std::string, Bytes>> samples()
{
    DataFrame data;
    data.length = 5;
    ResultFrame result;
    result.length = 6;
    const auto every = static_cast<std::uint8_t>(atomic_flag::all);
    const iovec source[2] = {{reinterpret_cast<void*>(0x1000), 10}, {reinterpret_cast<void*>(0x2000), 20}};
    const auto request = [&](const Envelope& head, std::size_t pieces) {
        return written([&](std::byte* out) {
            return put_request(out, head, 77, 8, 1U << 20, 0, 3, std::span(source).first(pieces));
        });
    };
    return {
        {"message", eager(envelope(true, true), 9, 0, 16, 16)},
        {"empty message", eager(envelope(false, false), no_handle, 0, 0, 0)},
        {"part", eager(envelope(true, true), 9, 100, 16, 300)},
        {"request", request(envelope(true, true), 2)},
        {"request without a place", request(envelope(false, false), 0)},
        {"grant", raw(GrantFrame{})},
        {"data", raw(data) + filler(5)},
        {"delivered", raw(DeliveredFrame{})},
        {"hello", raw(hello())},
        {"close", raw(CloseFrame{})},
        {"answer to a probe", raw(mtu_answer())},
        {"write", write_frame({{1, 0, 2}, 8, 8, 3, 4, true, true})},
        {"piece of a write", write_frame({{1, 0, 2}, 8, 20, 3, 4, false, true})},
        {"read", raw(ReadFrame{})},
        {"atomic",
         raw(atomic_frame(every, 8, 2)) + raw(AtomicRange{1, 3, 2}) + raw(AtomicRange{1, 5, 2}) + filler(16)},
        {"result", raw(result) + filler(6)},
        {"fault", written([](std::byte* out) {
             return put_failure(out, {Cause::bad_key, false, false, 1, 2, 3});
         })},
        {"denied", written([](std::byte* out) {
             return put_failure(out, {Cause::bad_key, true, true, 1, 2, 3});
         })},
    };
}

} // namespace

TEST_CASE("frames: a frame cut off anywhere is malformed")
{
    for (const auto& [name, packet] : samples()) {
        INFO(name);
        Frame frame;
        std::size_t rest = 1;
        REQUIRE(decodes(packet, frame, rest));
        CHECK(rest == 0);
        for (std::size_t size = 0; size < packet.size(); ++size) {
            INFO("cut to " << size << " of " << packet.size() << " bytes");
            REQUIRE(malformed({packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size)}));
        }
    }
}

TEST_CASE("frames: those with a piece of something longer end their packet, hellos take what is behind them")
{
    for (const auto& [name, packet] : samples()) {
        INFO(name);
        Frame frame;
        std::size_t rest = 0;
        const bool good = decodes(packet + Bytes(1), frame, rest);
        const bool ends =
            name == "part" || name == "data" || name == "piece of a write" || name == "answer to a probe";
        CHECK(good == !ends);
        CHECK((ends || rest == (name == "hello" ? 0 : 1)));
    }
}

TEST_CASE("frames: no type but those of the protocol")
{
    CHECK(malformed({}));
    for (unsigned type = 0; type < 256; ++type) {
        if (type == 0 || type > 16) {
            INFO(type);
            Bytes packet(128);
            packet[0] = static_cast<std::byte>(type);
            CHECK(malformed(packet));
        }
    }
}

TEST_CASE("frames: message and part carry envelope, order and bytes")
{
    for (const bool tagged : {false, true}) {
        for (const bool has_data : {false, true}) {
            for (const std::uint32_t handle : {no_handle, 0U, 9U}) {
                for (const std::uint64_t total : {std::uint64_t{16}, max_eager_total}) {
                    const Envelope head = envelope(tagged, has_data);
                    const std::uint64_t offset = total == 16 ? 0 : total - 16;
                    const Bytes packet = eager(head, handle, offset, 16, total);
                    const auto frame = only<EagerFrame>(packet);
                    CHECK(packet.size() == (total == 16 ? sizeof(MessageFrame) : sizeof(PartFrame)) + 16 +
                                               optional_size(head.flags, handle != no_handle));
                    CHECK(frame.tag == head.tag);
                    CHECK(frame.data == head.data);
                    CHECK(frame.flags.tagged == tagged);
                    CHECK(frame.flags.has_data == has_data);
                    CHECK(frame.sequence == 77);
                    CHECK(frame.want_delivered == (handle != no_handle));
                    CHECK((handle == no_handle || frame.handle == handle));
                    CHECK(frame.offset == offset);
                    CHECK(frame.total == total);
                    CHECK(frame.whole() == (total == 16));
                    CHECK(of(frame.payload) == filler(16));
                }
            }
        }
    }
}

TEST_CASE("frames: malformed messages and parts")
{
    Bytes message = eager(envelope(false, false), no_handle, 0, 16, 16) + Bytes(64);
    message[1] = std::byte{8};
    CHECK(malformed(message));

    const auto part = [](std::uint16_t length, std::uint32_t offset, std::uint32_t total,
                         std::uint8_t flags = 0) {
        PartFrame frame;
        frame.flags = flags;
        frame.length = length;
        frame.offset = offset;
        frame.total = total;
        return raw(frame) + filler(length);
    };
    CHECK_FALSE(malformed(part(10, 90, 100)));
    CHECK_FALSE(malformed(part(10, 0, 11)));
    CHECK(malformed(part(10, 90, 100, 8)));
    CHECK(malformed(part(0, 0, 100)));   // no bytes
    CHECK(malformed(part(10, 0, 10)));   // all of the message
    CHECK(malformed(part(10, 0, 9)));    // more than it
    CHECK(malformed(part(10, 91, 100))); // over its end
    CHECK(malformed(part(10, 0xfffffffb, 100)));
    CHECK_FALSE(malformed(part(10, 0, max_eager_total)));
    CHECK(malformed(part(10, 0, max_eager_total + 1)));
}

TEST_CASE("frames: request says what comes and where it lies")
{
    iovec source[max_iov];
    for (std::size_t i = 0; i < max_iov; ++i) {
        source[i] = {reinterpret_cast<void*>(0x1000 + i), 100 + i};
    }
    for (std::size_t pieces = 0; pieces <= max_iov; ++pieces) {
        const Envelope head = envelope(true, pieces % 2 != 0);
        const Bytes packet = written([&](std::byte* out) {
            return put_request(out, head, 77, 8, 1ULL << 40, 0, 3, std::span(source).first(pieces));
        });
        const auto frame = only<RequestedMessage>(packet);
        CHECK(packet.size() == request_size(head.flags, 0, pieces));
        CHECK(frame.tag == head.tag);
        CHECK(frame.data == head.data);
        CHECK(frame.flags.tagged);
        CHECK(frame.flags.has_data == head.flags.has_data);
        CHECK(frame.sequence == 77);
        CHECK(frame.handle == 8);
        CHECK(frame.total == 1ULL << 40);
        REQUIRE(frame.source_count == pieces);
        CHECK((pieces == 0 || frame.source_epoch == 3));
        for (std::size_t i = 0; i < pieces; ++i) {
            CHECK(frame.source[i].iov_base == source[i].iov_base);
            CHECK(frame.source[i].iov_len == source[i].iov_len);
        }
    }
}

TEST_CASE("frames: malformed requests")
{
    RequestFrame frame;
    CHECK_FALSE(malformed(raw(frame) + Bytes(200)));
    frame.pieces = max_iov + 1;
    CHECK(malformed(raw(frame) + Bytes(200)));
    frame.pieces = 0;
    for (const unsigned flags : {4U, 8U, 128U}) { // a request never wants a delivered frame
        frame.flags = static_cast<std::uint8_t>(flags);
        CHECK(malformed(raw(frame) + Bytes(200)));
    }
}

TEST_CASE("frames: a probe of the MTU is as long as it says, its answer bears no padding")
{
    MtuProbeFrame frame;
    frame.number = 7;
    frame.size = 1472;
    const std::size_t padding = 1472 - sizeof(PacketHeader) - sizeof(frame);
    const Bytes probe = raw(frame) + Bytes(padding);
    CHECK(raw(only<MtuProbeFrame>(probe)) == raw(frame));
    CHECK(malformed(raw(frame) + Bytes(padding - 1)));
    CHECK(malformed(raw(frame) + Bytes(padding + 1)));
    CHECK(malformed(raw(frame) + Bytes(padding), {true, 0}));
    CHECK(malformed(raw(frame)));
    frame.flags = question_flag::answer;
    CHECK(raw(only<MtuProbeFrame>(raw(frame))) == raw(frame));
    CHECK(malformed(raw(frame) + Bytes(1)));
    frame.flags = 2;
    CHECK(malformed(raw(frame)));
}

TEST_CASE("frames: grant, delivered, close and read are their layouts")
{
    GrantFrame grant;
    grant.sequence = 1;
    grant.sender_handle = 2;
    grant.receiver_handle = 3;
    grant.limit = 1ULL << 50;
    CHECK(raw(only<GrantFrame>(raw(grant))) == raw(grant));
    DeliveredFrame delivered;
    delivered.sequence = 4;
    delivered.handle = 5;
    CHECK(raw(only<DeliveredFrame>(raw(delivered))) == raw(delivered));
    CHECK(raw(only<CloseFrame>(raw(CloseFrame{}))) == raw(CloseFrame{}));
    ReadFrame read;
    read.flags = rma_flag::last;
    read.sequence = 1;
    read.handle = 2;
    read.length = 3;
    read.key = 4;
    read.address = 5;
    read.offset = 6;
    CHECK(raw(only<ReadFrame>(raw(read))) == raw(read));
    for (const unsigned flags : {1U, 2U, 8U}) {
        read.flags = static_cast<std::uint8_t>(flags);
        CHECK(malformed(raw(read)));
    }
}

TEST_CASE("frames: data, here or with its sender")
{
    DataFrame layout;
    layout.flags = data_flag::answers_read;
    layout.length = 10;
    layout.sequence = 1;
    layout.receiver_handle = 2;
    layout.offset = 1ULL << 40;
    const Bytes packet = raw(layout) + filler(10);
    const auto here = only<DataPiece>(packet);
    CHECK(here.sequence == 1);
    CHECK(here.handle == 2);
    CHECK(here.offset == 1ULL << 40);
    CHECK(here.answers_read);
    CHECK(of(here.payload.bytes) == filler(10));
    CHECK(here.payload.size == 10);
    CHECK_FALSE(here.payload.remote);

    const Bytes head = raw(layout);
    const auto there = only<DataPiece>(head, {true, 10});
    CHECK(there.payload.remote);
    CHECK(there.payload.size == 10);
    CHECK(there.payload.bytes.empty());
    CHECK(malformed(raw(layout), {true, 9}));
    CHECK(malformed(raw(layout), {true, 11}));
    CHECK(malformed(raw(layout) + filler(10), {true, 10}));

    layout.flags = 4;
    CHECK(malformed(raw(layout) + filler(10)));
}

TEST_CASE("frames: write, whole and in pieces, here or with its sender")
{
    for (const bool whole : {false, true}) {
        for (const bool has_data : {false, true}) {
            const WriteHeader header{
                {0x1000, 0, 0x2000}, 10, whole ? 10U : 30U, has_data ? 55U : 0U, 8, whole, has_data};
            const Bytes packet = write_frame(header);
            const auto frame = only<WritePiece>(packet);
            CHECK(packet.size() == header.size() + 10);
            CHECK(frame.address == 0x1000);
            CHECK(frame.key == 0x2000);
            CHECK(frame.handle == 8);
            CHECK(frame.total == header.total);
            CHECK(frame.data == header.data);
            CHECK(frame.flags.has_data == has_data);
            CHECK_FALSE(frame.flags.tagged);
            CHECK(of(frame.payload.bytes) == filler(10));

            const Bytes head = written([&](std::byte* out) { return put_write(out, header); });
            CHECK(only<WritePiece>(head, {true, 10}).payload.remote);
            CHECK(malformed(head, {true, 9}));
            CHECK(malformed(packet, {true, 10}));
        }
    }
}

TEST_CASE("frames: malformed writes")
{
    const auto piece = [](std::uint64_t length, std::uint64_t total, std::size_t behind) {
        return write_frame({{1, 0, 2}, length, total, 0, 4, false, false}) + Bytes(behind);
    };
    CHECK_FALSE(malformed(piece(10, 10, 3)));
    CHECK_FALSE(malformed(piece(10, 11, 0)));
    CHECK(malformed(piece(10, 9, 0)));  // more than all
    CHECK(malformed(piece(10, 11, 1))); // a piece has its packet for itself
    CHECK(malformed(piece(0, 11, 0)));  // nothing of something
    CHECK_FALSE(malformed(piece(0, 0, 3)));
    Bytes flags = write_frame({{1, 0, 2}, 10, 10, 0, 4, true, false}) + Bytes(64);
    flags[1] |= std::byte{4}; // last: of a read
    CHECK_FALSE(malformed(flags));
    flags[1] |= std::byte{16};
    CHECK(malformed(flags));
}

TEST_CASE("frames: atomic carries ranges, operands and comparands")
{
    for (unsigned flags = 0; flags <= atomic_flag::all; ++flags) {
        const bool operand = (flags & atomic_flag::has_operand) != 0;
        const bool compare = (flags & atomic_flag::has_compare) != 0;
        const Bytes body = raw(AtomicRange{1, 3, 2}) + raw(AtomicRange{5, 5, 6}) + filler(operand ? 8 : 0) +
                           filler(compare ? 8 : 0);
        const Bytes packet = raw(atomic_frame(static_cast<std::uint8_t>(flags), 8, 2)) + body;
        const auto frame = only<AtomicRequest>(packet);
        CHECK(of(frame.body) == body);
        CHECK(frame.fetches() == ((flags & atomic_flag::fetch) != 0));
        CHECK(raw(frame.frame) == raw(atomic_frame(static_cast<std::uint8_t>(flags), 8, 2)));
    }
}

TEST_CASE("frames: malformed atomics")
{
    const auto with = [](std::uint8_t flags, std::uint16_t length, std::uint8_t count,
                         const std::vector<std::uint64_t>& lengths) {
        Bytes packet = raw(atomic_frame(flags, length, count));
        for (const std::uint64_t bytes : lengths) {
            packet = packet + raw(AtomicRange{1, bytes, 2});
        }
        return packet + Bytes(2 * max_atomic_size + 512);
    };
    CHECK_FALSE(malformed(with(2, 8, 1, {8})));
    CHECK(malformed(with(10, 8, 1, {8})));
    CHECK(malformed(with(2, 8, 0, {})));
    CHECK(malformed(with(2, 0, 0, {})));
    CHECK_FALSE(malformed(with(2, 8, 4, {1, 2, 2, 3})));
    CHECK(malformed(with(2, 8, 5, {1, 2, 2, 2, 1})));
    CHECK_FALSE(malformed(with(6, max_atomic_size, 1, {max_atomic_size})));
    CHECK(malformed(with(6, max_atomic_size + 1, 1, {max_atomic_size + 1})));
    CHECK(malformed(with(2, 8, 1, {7})));
    CHECK(malformed(with(2, 8, 1, {9})));
    CHECK(malformed(with(2, 8, 2, {~std::uint64_t{0}, 9}))); // a sum that wraps to 8
}

TEST_CASE("frames: result, fault and denied")
{
    ResultFrame layout;
    layout.length = 8;
    layout.sequence = 1;
    layout.handle = 2;
    const Bytes packet = raw(layout) + filler(8);
    const auto result = only<AtomicResult>(packet);
    CHECK(result.sequence == 1);
    CHECK(result.handle == 2);
    CHECK(of(result.payload) == filler(8));

    for (const Cause cause : {Cause::bad_key, Cause::out_of_bounds, Cause::access_denied,
                              Cause::bad_operation, Cause::region_closed}) {
        for (const bool denied : {false, true}) {
            const AccessFailure sent{cause, denied, denied, 4, 5, 0xfffe};
            const auto got =
                only<AccessFailure>(written([&](std::byte* out) { return put_failure(out, sent); }));
            CHECK(got.cause == cause);
            CHECK(got.denied == denied);
            CHECK(got.is_read == denied);
            CHECK(got.sequence == 4);
            CHECK(got.handle == 5);
            CHECK(got.faults == 0xfffe);
        }
    }
    FaultFrame fault;
    for (unsigned code = 0; code < 256; ++code) {
        for (const FrameType type : {FrameType::fault, FrameType::denied}) {
            fault.type = static_cast<std::uint8_t>(type);
            fault.cause = static_cast<std::uint8_t>(code);
            const unsigned last = type == FrameType::fault ? 7U : 5U; // named bytes were not read
            CHECK(malformed(raw(fault)) == (code < 1 || code > last));
        }
    }
    fault.cause = fault_cause::bad_key;
    fault.is_read = 2;
    CHECK(malformed(raw(fault))); // type denied
    fault.type = static_cast<std::uint8_t>(FrameType::fault);
    CHECK_FALSE(only<AccessFailure>(raw(fault)).is_read);
}

TEST_CASE("frames: hello, and what no hello may say")
{
    CHECK(raw(only<HelloFrame>(raw(hello()))) == raw(hello()));
    const auto changed = [](const std::function<void(HelloFrame&)>& change) {
        HelloFrame frame = hello();
        change(frame);
        return malformed(raw(frame));
    };
    CHECK_FALSE(changed([](HelloFrame& frame) { frame.flags = hello_flag::all; }));
    CHECK_FALSE(changed([](HelloFrame& frame) { frame.address_length = 1; }));
    CHECK(changed([](HelloFrame& frame) {
        frame.newest = 1;
        frame.oldest = 2;
    }));
    CHECK(changed([](HelloFrame& frame) { frame.address_length = 0; }));
    CHECK(changed([](HelloFrame& frame) { frame.address_length = max_address_size + 1; }));
    CHECK(changed([](HelloFrame& frame) { frame.connection = 0; }));
    CHECK(changed([](HelloFrame& frame) { frame.incarnation = 0; }));
    CHECK(changed([](HelloFrame& frame) { frame.max_packet = min_max_packet - 1; }));
}

TEST_CASE("frames: what later releases may add to a hello is left aside")
{
    HelloFrame later = hello();
    later.flags = hello_flag::all + 1;
    CHECK(only<HelloFrame>(raw(later)).flags == 0);
    CHECK(raw(only<HelloFrame>(raw(hello()) + filler(40))) == raw(hello()));
}

TEST_CASE("HelloFrame: a round trip in a byte is true to an eighth")
{
    CHECK(wire::get_round_trip(0) == 0);
    CHECK(wire::put_round_trip(0) == wire::put_round_trip(9));
    CHECK(wire::put_round_trip(9) == 1);
    for (std::uint64_t ns = 9; ns < std::uint64_t{15} << 31; ns = ns * 9 / 8 + 1) {
        const std::uint64_t told = wire::get_round_trip(wire::put_round_trip(ns));
        CHECK(told <= ns);
        CHECK(told * 9 / 8 + 1 >= ns);
    }
    CHECK(wire::get_round_trip(wire::put_round_trip(~std::uint64_t{0})) == std::uint64_t{15} << 31);
}
