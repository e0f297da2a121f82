// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "fuzz/remote.hpp"

#include <algorithm>
#include <cstring>
#include <variant>

#include <srd/iov.hpp>

namespace srd::fuzz {

using wire::FrameType;

bool Remote::meet(Victim& victim, std::uint32_t first_psn, std::uint32_t max_packet)
{
    ++self_.incarnation;
    ++self_.connection;
    self_.route = route_;
    self_.max_packet = max_packet;
    self_.first_psn = next_psn_ = first_psn;
    next_sequence_ = 0;
    told_ = connection_ = 0;
    seen_count_ = made_count_ = 0;
    meddling_ = Meddling::none;
    sealed_.clear();
    if (seals_ != nullptr) {
        seals_->end(0);
    }
    faults_ = 0;
    flooded_ = 0;
    part_ = {};
    exchange(victim, self_);
    Claim proof = self_;
    proof.to = told_;
    proof.flags |= wire::hello_flag::met;
    exchange(victim, proof);
    return connection_ != 0;
}

void Remote::exchange(Victim& victim, const Claim& claim)
{
    put_hello(begin().bytes, claim);
    send(victim, false);
    victim.transmit([&](RouteId route, std::span<const std::byte> packet) {
        if (route == RouteId{route_}) {
            hear(packet);
        }
    });
}

// -- What the victim says ---------------------------------------------------------------

void Remote::hear(std::span<const std::byte> packet)
{
    packet = seals_ != nullptr ? opened(packet) : packet;
    if (const auto answer = heard_hello(packet)) {
        return hear_hello(*answer, packet);
    }
    wire::Reader reader(packet);
    const auto header = reader.take<wire::PacketHeader>();
    if (!header) {
        return;
    }
    if ((header->flags & wire::packet_flag::sequenced) == 0) {
        if (reader.peek() == static_cast<std::uint8_t>(FrameType::mtu_probe)) {
            asked_ = reader.take<wire::MtuProbeFrame>().value_or(asked_);
        } else if (reader.peek() == static_cast<std::uint8_t>(FrameType::rails)) {
            asked_way_ = reader.take<wire::RailsFrame>().value_or(asked_way_);
        }
        return;
    }
    if (wire::sequence_distance(header->psn, tx_next_) >= 0) {
        tx_next_ = header->psn + 1;
        tx_attempt_ = header->attempt;
    }
    if ((header->flags & wire::packet_flag::has_ack) != 0) {
        const auto block = reader.take<wire::AckBlock>();
        reader.take_bytes(block && (block->flags & wire::ack_flag::marks) != 0 ? sizeof(wire::MarkBlock) : 0);
        reader.take_bytes(block ? block->words * sizeof(std::uint64_t) : 0);
    }
    if ((header->flags & wire::packet_flag::fragment) != 0) {
        return;
    }
    wire::Frame frame;
    while (reader.remaining() != 0) {
        if (!wire::decode(reader, false, 0, frame)) {
            fail("the victim sends what does not parse");
        }
        note(frame);
    }
}

/// Of a connection that it has met us under, both count anew.
void Remote::hear_hello(const Answer& answer, std::span<const std::byte> packet)
{
    told_ = answer.connection;
    if (answer.met && connection_ != answer.connection) {
        connection_ = answer.connection;
        tx_first_ = tx_next_ = answer.first_psn;
        next_psn_ = self_.first_psn;
        next_sequence_ = 0;
        if (seals_ != nullptr) {
            begin_session(answer, packet);
        }
    }
}

void Remote::note(FrameType type, std::uint32_t sequence, std::uint32_t handle, std::uint64_t length)
{
    seen_[seen_count_++ % seen_.size()] = {type, sequence, handle, length, 0};
}

void Remote::note(const wire::Frame& frame)
{
    if (const auto* eager = std::get_if<wire::EagerFrame>(&frame)) {
        note(FrameType::message, eager->sequence, eager->handle, eager->total);
    } else if (const auto* request = std::get_if<wire::RequestedMessage>(&frame)) {
        note(FrameType::request, request->sequence, request->handle, request->total);
    } else if (const auto* grant = std::get_if<wire::GrantFrame>(&frame)) {
        note(FrameType::grant, grant->sequence, grant->receiver_handle, grant->limit);
    } else if (const auto* read = std::get_if<wire::ReadFrame>(&frame)) {
        note(FrameType::read, read->sequence, read->handle, read->length);
        seen_[(seen_count_ - 1) % seen_.size()].offset = read->offset;
    } else if (const auto* write = std::get_if<wire::WritePiece>(&frame)) {
        note(FrameType::write, 0, write->handle, write->total);
    } else if (const auto* atomic = std::get_if<wire::AtomicRequest>(&frame)) {
        note(FrameType::atomic, atomic->frame.sequence, atomic->frame.handle, atomic->frame.length);
    }
}

/// A frame of that type which the victim has sent, or what the input makes up.
Remote::Seen& Remote::pick(Input& input, FrameType type)
{
    const std::uint8_t choice = input.byte();
    const std::size_t known = std::min(seen_count_, seen_.size());
    for (std::size_t i = 0; choice < 224 && i < known; ++i) {
        Seen& seen = seen_[(choice + i) % known];
        if (seen.type == type) {
            return seen;
        }
    }
    static Seen invented;
    invented = {type, input.byte() % 32U, choice % 16U, input.number(), 0};
    return invented;
}

// -- Packets ------------------------------------------------------------------------------

Remote::Made& Remote::begin()
{
    if (made_count_ == made_.size()) {
        made_.emplace_back();
    }
    Made& made = made_[made_count_++];
    made.bytes.clear();
    made.remote_length = 0;
    made.finished = false;
    return made;
}

std::uint32_t Remote::choose_psn(Input& input)
{
    const std::uint8_t choice = input.byte();
    switch (choice & 15U) {
    case 10:
        return next_psn_ - 1 - choice / 16U;
    case 11:
        return next_psn_ + choice / 16U;
    case 12:
        return next_psn_ + packet_window - 8 + choice / 16U;
    case 13:
        return input.quad();
    case 14:
        next_psn_ += 1 + choice / 16U;
        return next_psn_ - 1;
    default:
        return next_psn_++;
    }
}

wire::PacketHeader Remote::header(Input& input, std::uint8_t flags)
{
    wire::PacketHeader made;
    made.flags = flags;
    made.connection = connection_;
    const std::uint8_t how = input.byte();
    made.path = how % 8;
    made.attempt = how / 64;
    made.psn = (flags & wire::packet_flag::sequenced) != 0 ? choose_psn(input) : 0;
    return made;
}

void Remote::put_ack(Input& input, Bytes& out) const
{
    wire::AckBlock block;
    const std::uint8_t how = input.byte();
    const std::uint32_t sent = tx_next_ - tx_first_;
    block.cumulative = how % 4 == 0   ? tx_next_
                       : how % 4 == 1 ? tx_first_
                       : how % 4 == 2 ? tx_first_ + input.byte() % (sent + 2)
                                      : static_cast<std::uint32_t>(input.number());
    block.flags = how / 4 % 8;
    block.echo_psn = tx_next_ - 1 - how / 32U;
    block.echo_attempt = tx_attempt_;
    block.echo_path = input.byte() % 8;
    block.hold_ns = static_cast<std::uint32_t>(input.number());
    block.message_next = input.byte() % 32U;
    block.duplicates = static_cast<std::uint16_t>(input.byte());
    block.faults = static_cast<std::uint16_t>(faults_ + (how >= 192 ? input.word() : 0));
    const std::uint8_t words = input.byte();
    block.words = words < 128 ? words % 4 : words % 20;
    append_layout(out, block);
    if ((block.flags & wire::ack_flag::marks) != 0) {
        append_layout(out, wire::MarkBlock{tx_next_ - 1 - words % 80U, wire::u64{input.number()}});
    }
    for (unsigned word = 0; word < block.words; ++word) {
        append_layout(out, wire::u64{input.number()});
    }
}

void Remote::make_acknowledgement()
{
    Made& made = begin();
    wire::PacketHeader header;
    header.flags = wire::packet_flag::has_ack;
    header.connection = connection_;
    wire::AckBlock block;
    block.cumulative = tx_next_;
    block.echo_psn = tx_next_ - 1;
    block.echo_attempt = tx_attempt_;
    block.flags = wire::ack_flag::echo;
    block.faults = faults_;
    append_layout(made.bytes, header);
    append_layout(made.bytes, block);
    tx_first_ = tx_next_;
}

void Remote::make(Input& input)
{
    if (seals_ != nullptr) {
        choose_meddling(input);
    }
    const std::uint8_t how = input.byte();
    if (how >= 248) { // bytes of the input
        Made& made = begin();
        append_layout(made.bytes, header(input, input.byte()));
        for (unsigned count = input.byte(); count != 0; --count) {
            made.bytes.push_back(static_cast<std::byte>(input.byte()));
        }
        return;
    }
    if (how >= 244) {
        return flood(input);
    }
    std::uint8_t flags = (how & 32U) != 0 ? wire::packet_flag::ack_requested : std::uint8_t{0};
    flags |= (how & 64U) != 0 ? wire::packet_flag::has_ack : std::uint8_t{0};
    Made& made = begin();
    if (how % 16 == 15) {
        append_layout(made.bytes, header(input, flags));
        if ((flags & wire::packet_flag::has_ack) != 0) {
            put_ack(input, made.bytes);
        }
        put_unsequenced(input, made);
        return;
    }
    flags |= wire::packet_flag::sequenced;
    append_layout(made.bytes, header(input, flags));
    if ((flags & wire::packet_flag::has_ack) != 0) {
        put_ack(input, made.bytes);
    }
    const std::size_t frames_at = made.bytes.size();
    const bool remote = how % 16 == 12;
    put_frames(input, made, how % 16 == 13 ? 1 + input.byte() % 40U : 1 + how % 4U, remote);
    if (how % 16 == 14) {
        cut(input, frames_at);
    } else if (how >= 240) {
        made.bytes.resize(made.bytes.size() - std::min<std::size_t>(made.bytes.size(), input.byte()));
    }
    for (Made& one : std::span(made_).first(made_count_)) {
        one.bytes.resize(std::min<std::size_t>(one.bytes.size(), Victim::max_packet));
    }
}

void Remote::put_unsequenced(Input& input, Made& made)
{
    const std::uint8_t how = input.byte();
    if (how < 64) {
        return; // only an acknowledgement, or a question for one
    }
    if (how < 96) {
        wire::MtuProbeFrame answer = asked_;
        answer.flags = wire::question_flag::answer;
        append_layout(made.bytes, answer);
        return;
    }
    if (how < 128) {
        wire::MtuProbeFrame probe;
        probe.flags = how % 4;
        probe.number = static_cast<std::uint16_t>(input.byte() % 8);
        const std::uint32_t size = choose_size(input);
        probe.size = how % 8 == 7 ? static_cast<std::uint32_t>(input.number()) : size;
        append_layout(made.bytes, probe);
        if (probe.flags == 0 && made.bytes.size() < size) {
            made.bytes.resize(size);
        }
        return;
    }
    if (how < 136) {
        append_layout(made.bytes, wire::CloseFrame{});
        return;
    }
    if (how < 144) {
        wire::RailsFrame rails = asked_way_;
        rails.flags = how < 140 ? wire::question_flag::answer : std::uint8_t{0};
        rails.way = static_cast<std::uint8_t>(rails.way + (how % 4 == 3 ? input.byte() % 20 : 0));
        rails.count = static_cast<std::uint8_t>(input.byte() % (how % 4 == 2 ? 5 : 4));
        append_layout(made.bytes, rails);
        made.bytes.resize(made.bytes.size() + rails.count * rail_size - (how % 4 == 1 ? 1 : 0));
        return;
    }
    made.bytes.clear();
    Claim hello = self_;
    hello.to = how % 2 == 0 ? connection_ : how % 4 == 1 ? told_ : 0;
    hello.flags = how / 2 % 16;
    if (how < 224) {
        hello.flags &= wire::hello_flag::answer_wanted | wire::hello_flag::met;
    }
    hello.incarnation += how % 16 == 15 ? 1 : 0;
    hello.connection += how % 32 >= 30 ? 1 : 0;
    hello.route ^= how % 64 == 58 ? 1 : 0; // of the other's address
    put_hello(made.bytes, hello);
}

/// The packet made last, in pieces: all of them, or but one, or one alone, in whatever order.
void Remote::cut(Input& input, std::size_t frames_at)
{
    const Bytes whole = made_[--made_count_].bytes;
    const std::uint8_t how = input.byte();
    const std::size_t step = wire::fragment_unit * (1 + input.byte() % 64U) * (how % 8 == 7 ? 16 : 1);
    wire::PacketHeader header;
    std::memcpy(&header, whole.data(), sizeof(header));
    header.flags = wire::packet_flag::sequenced | wire::packet_flag::fragment;
    const std::size_t total = whole.size() - frames_at;
    const std::size_t pieces = std::min<std::size_t>((total + step - 1) / step, 12);
    for (std::size_t piece = 0; piece < pieces; ++piece) {
        const std::size_t number = how >= 128 ? pieces - 1 - piece : piece;
        if (how % 8 == 1 && number == how / 8 % pieces) {
            continue;
        }
        Made& made = begin();
        append_layout(made.bytes, header);
        wire::FragmentHeader place;
        place.offset = static_cast<std::uint32_t>(number * step - (how % 8 == 2 && number != 0 ? 8 : 0));
        place.total = static_cast<std::uint32_t>(total + (how % 8 == 3 ? how / 8U : 0));
        append_layout(made.bytes, place);
        const std::size_t from = std::min<std::size_t>(place.offset, total);
        append_bytes(made.bytes, whole.data() + frames_at + from, std::min(step, total - from));
    }
}

void Remote::send(Victim& victim, bool tamper)
{
    const std::uint32_t bad = seals_ != nullptr ? seal_all() : 0;
    const std::uint64_t dropped = victim.dropped();
    std::array<RxPacket, 64> packets;
    const std::size_t count = std::min(made_count_, packets.size());
    for (std::size_t i = 0; i < count; ++i) {
        Made& made = made_[i];
        packets[i] = {made.bytes.data(), static_cast<std::uint32_t>(made.bytes.size()), i % 16 == 7, false,
                      victim.now()};
        if (made.remote_length != 0) {
            packets[i].remote_length = made.remote_length;
            packets[i].mapping_id = static_cast<std::uint32_t>(i);
            packets[i].remote = this;
            packets[i].local = true;
        }
    }
    victim.set_tamper(tamper && count != 0 ? std::span(made_[count - 1].bytes) : std::span<std::byte>{});
    victim.receive(std::span(packets).first(count));
    victim.set_tamper({});
    if (made_count_ <= packets.size() && victim.dropped() - dropped < bad) {
        fail("a packet is taken that nobody with a key has sent, or a second time");
    }
    if (made_count_ > packets.size()) {
        sealed_.clear(); // has not arrived, so that to repeat it would be to send it
    }
    made_count_ = 0;
}

bool Remote::fetch(std::uint32_t mapping_id, std::span<const iovec> into) noexcept
{
    const Made& made = made_[mapping_id];
    scatter(into, 0, pattern(made.sequence, made.offset, total_length(into)));
    return !fetch_fails_;
}

} // namespace srd::fuzz
