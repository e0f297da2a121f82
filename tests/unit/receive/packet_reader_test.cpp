// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <array>
#include <vector>

#include "receive/packet_reader.hpp"
#include "unit/wire/frame_bytes.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using Question = PacketReader::Question;
using wire::FrameType;

/// A well-formed frame of the type.
Bytes frame_of(FrameType type)
{
    switch (type) {
    case FrameType::message:
        return raw(wire::MessageFrame{});
    case FrameType::request:
        return raw(wire::RequestFrame{});
    case FrameType::atomic: {
        wire::AtomicFrame frame;
        frame.ranges = 1;
        return raw(frame) + raw(wire::AtomicRange{});
    }
    case FrameType::write: {
        wire::WriteFrame frame;
        frame.flags = wire::rma_flag::whole;
        return raw(frame);
    }
    case FrameType::read:
        return raw(wire::ReadFrame{});
    case FrameType::fault: {
        wire::FaultFrame frame;
        frame.cause = wire::fault_cause::bad_key;
        return raw(frame);
    }
    case FrameType::result:
        return raw(wire::ResultFrame{});
    case FrameType::grant:
        return raw(wire::GrantFrame{});
    default:
        return raw(wire::CloseFrame{});
    }
}

/// How many of the frames are read before the packet ends or is found malformed.
std::size_t taken(const std::vector<FrameType>& types)
{
    Bytes packet;
    for (const FrameType type : types) {
        packet = packet + frame_of(type);
    }
    PacketReader reader;
    PacketNote note;
    note.frames = packet;
    reader.open(note);
    std::size_t count = 0;
    while (!reader.at_end() && reader.next_frame()) {
        ++count;
    }
    return count;
}

struct FakeRemote : RemoteBytes {
    bool fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept override
    {
        id = mapping_id;
        ++fetches;
        length = total_length(into);
        first = into.empty() ? nullptr : into.front().iov_base;
        return works;
    }
    std::uint32_t id = 0;
    unsigned fetches = 0;
    std::uint64_t length = 0;
    void* first = nullptr;
    bool works = true;
};

} // namespace

TEST_CASE("PacketReader: a burst is read packet by packet, in order")
{
    PacketReader reader;
    CHECK(reader.drained());
    CHECK(reader.take_note() == nullptr);
    reader.begin_burst();
    for (std::uint32_t i = 0; i < 3; ++i) {
        reader.note().psn = i;
    }
    for (std::uint32_t i = 0; i < 3; ++i) {
        CHECK_FALSE(reader.drained());
        const PacketNote* note = reader.take_note();
        REQUIRE(note != nullptr);
        CHECK(note->psn == i);
        reader.open(*note);
        CHECK(reader.is_open());
        CHECK_FALSE(reader.drained());
        CHECK(reader.packet().psn == i);
        reader.close();
        CHECK_FALSE(reader.is_open());
    }
    CHECK(reader.drained());
    CHECK(reader.take_note() == nullptr);
    reader.begin_burst();
    CHECK(reader.drained());
}

TEST_CASE("PacketReader: frames one after the other, to the first malformed one")
{
    Bytes packet = frame_of(FrameType::grant) + frame_of(FrameType::message) + Bytes(3);
    PacketReader reader;
    PacketNote note;
    note.frames = packet;
    reader.open(note);
    REQUIRE(reader.next_frame());
    CHECK(std::holds_alternative<wire::GrantFrame>(reader.frame()));
    REQUIRE(reader.next_frame());
    CHECK(reader.frame_as<wire::EagerFrame>().whole());
    CHECK_FALSE(reader.at_end());
    CHECK_FALSE(reader.next_frame());
}

TEST_CASE("PacketReader: what may be refused and what must not be done twice share no packet")
{
    const std::array messages{FrameType::message, FrameType::request, FrameType::atomic};
    const std::array accesses{FrameType::write, FrameType::read, FrameType::fault};
    const std::array neutral{FrameType::grant, FrameType::result, FrameType::close};
    for (const FrameType message : messages) {
        for (const FrameType access : accesses) {
            for (const FrameType other : neutral) {
                CHECK(taken({message, access}) == 1);
                CHECK(taken({access, message}) == 1);
                CHECK(taken({other, message, other, access}) == 3);
                CHECK(taken({other, access, other, message}) == 3);
                CHECK(taken({other, message, other, message}) == 4);
                CHECK(taken({other, access, other, access}) == 4);
            }
        }
    }
}

TEST_CASE("PacketReader: no more accesses in a packet than there are answers kept ready for")
{
    std::vector<FrameType> types(wire::max_rma_frames, FrameType::read);
    types.push_back(FrameType::grant);
    CHECK(taken(types) == wire::max_rma_frames + 1);
    types.push_back(FrameType::fault);
    CHECK(taken(types) == wire::max_rma_frames + 1);
    CHECK(taken(std::vector(2 * wire::max_rma_frames, FrameType::message)) == 2 * wire::max_rma_frames);
}

TEST_CASE("PacketReader: every packet is judged by itself")
{
    PacketReader reader;
    for (const FrameType type : {FrameType::write, FrameType::message, FrameType::write}) {
        const Bytes packet = frame_of(type);
        PacketNote note;
        note.frames = packet;
        reader.open(note);
        REQUIRE(reader.next_frame());
        CHECK(reader.rma_frames() == (type == FrameType::write ? 1U : 0U));
        reader.close();
    }
}

TEST_CASE("PacketReader: bytes go where they belong, what lies beyond the end is dropped")
{
    PacketReader reader;
    PacketNote note;
    reader.open(note);
    Bytes target(6);
    const iovec into[2] = {{target.data(), 2}, {target.data() + 3, 3}};
    const Bytes bytes = filler(3);
    CHECK(reader.copy_payload({bytes, 3, false}, into, 1));
    CHECK(target == Bytes{std::byte{0}, bytes[0], std::byte{0}, bytes[1], bytes[2], std::byte{0}});
    CHECK(reader.copy_payload({bytes, 3, false}, into, 4));
    CHECK(target[5] == bytes[0]);
    CHECK(reader.copy_payload({bytes, 3, false}, {}, 0));
}

TEST_CASE("PacketReader: bytes that lie with the sender are fetched, or the packet counts as lost")
{
    FakeRemote remote;
    PacketReader reader;
    PacketNote note;
    note.remote = &remote;
    note.mapping_id = 77;
    reader.open(note);
    Bytes target(10);
    const iovec into{target.data(), 10};
    CHECK(reader.copy_payload({{}, 4, true}, std::span(&into, 1), 2));
    CHECK(remote.id == 77);
    CHECK(remote.length == 4);
    CHECK(remote.first == target.data() + 2);
    CHECK(reader.copy_payload({{}, 4, true}, std::span(&into, 1), 8));
    CHECK(remote.length == 2); // as many as there is room for
    remote.works = false;
    CHECK(reader.copy_payload({{}, 4, true}, std::span(&into, 1), 10)); // none: nothing to fetch
    CHECK(remote.fetches == 2);
    CHECK_FALSE(reader.copy_payload({{}, 4, true}, std::span(&into, 1), 0));
}

TEST_CASE("PacketReader: one question at a time")
{
    PacketReader reader;
    CHECK(reader.question() == Question::none);
    reader.ask(Question::message, 3, 9);
    CHECK(reader.question() == Question::message);
    CHECK(reader.peer() == 3);
    CHECK(reader.record() == 9);
    reader.answered();
    CHECK(reader.question() == Question::none);
    CHECK(reader.record() == no_index);
}

TEST_CASE("PacketReader: a peer whose connection has ended is forgotten, others are not")
{
    PacketReader reader;
    PacketNote note;
    note.peer = 3;
    reader.open(note);
    reader.ask(Question::write, 3, 9);
    reader.set_turn_of(3);
    reader.forget(4);
    CHECK(reader.is_open());
    CHECK(reader.question() == Question::write);
    CHECK(reader.turn_of() == 3);
    reader.forget(3);
    CHECK_FALSE(reader.is_open());
    CHECK(reader.question() == Question::none);
    CHECK(reader.turn_of() == no_index);
}
