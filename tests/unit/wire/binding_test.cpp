// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Whatever is changed in what is bound changes the connection that the packet names; nothing else does.
#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "unit/wire/frame_bytes.hpp"
#include "wire/binding.hpp"

namespace {

using namespace srd;
using namespace srd::wire;
using namespace srd::test;

constexpr std::uint64_t connection = 0x1122334455667788;

Bytes header(unsigned flags)
{
    PacketHeader header;
    header.flags = static_cast<std::uint8_t>(flags);
    header.path = 3;
    header.psn = 0xfffffff0;
    header.connection = connection;
    return raw(header);
}

Bytes acknowledgement(unsigned words)
{
    AckBlock block;
    block.cumulative = 7;
    block.echo_psn = 12;
    block.flags = ack_flag::echo | ack_flag::marks;
    block.words = static_cast<std::uint8_t>(words);
    return raw(block) + raw(MarkBlock{u32(8), u64(5)}) + filler(words * sizeof(std::uint64_t));
}

std::uint64_t named(const Bytes& packet)
{
    PacketHeader header;
    std::memcpy(&header, packet.data(), sizeof(header));
    return header.connection ^ digest(packet);
}

struct Kind {
    Bytes packet;     ///< as it is meant
    std::size_t size; ///< of what is bound
};

HelloFrame hello()
{
    HelloFrame frame;
    frame.address_length = 16;
    frame.first_psn = 5;
    frame.incarnation = 6;
    return frame;
}

RailsFrame rails()
{
    RailsFrame frame;
    frame.count = 2;
    frame.nonce = 7;
    return frame;
}

/// Packets in clear of every form.
std::vector<Kind> kinds()
{
    return {
        {header(packet_flag::sequenced) + filler(50), 16},
        {header(packet_flag::sequenced | packet_flag::has_ack) + acknowledgement(2) + filler(50), 16 + 52},
        {header(packet_flag::sequenced | packet_flag::fragment) + filler(50), 16 + 8},
        {header(packet_flag::has_ack) + acknowledgement(max_ack_words), 16 + 36 + 128},
        {header(packet_flag::has_ack) + acknowledgement(0) + raw(CloseFrame{}), 16 + 36 + 4},
        {header(0) + raw(hello()), 16 + 88},
        {header(0) + raw(MtuProbeFrame{}) + Bytes(1000), 16 + 8},
        {header(0) + raw(rails()) + filler(2 * rail_size), 16 + 12 + 32},
    };
}

} // namespace

TEST_CASE(
    "bind_packet: a packet names the connection that it was bound with, and is as it was when taken back")
{
    for (const Kind& kind : kinds()) {
        Bytes packet = kind.packet;
        CHECK(bound_size(packet) == kind.size);
        bind_packet(packet);
        CHECK(packet != kind.packet);
        CHECK(named(packet) == connection);
        bind_packet(packet);
        CHECK(packet == kind.packet);
    }
}

TEST_CASE("bind_packet: a changed byte names another connection, behind what is bound it does not")
{
    for (const Kind& kind : kinds()) {
        Bytes packet = kind.packet;
        bind_packet(packet);
        for (std::size_t i = 0; i < packet.size(); ++i) {
            for (const unsigned change : {1U, 2U, 0x10U, 0x80U, 0xffU}) {
                packet[i] ^= static_cast<std::byte>(change);
                CHECK((named(packet) == connection) == (i >= kind.size));
                packet[i] ^= static_cast<std::byte>(change);
            }
        }
    }
}

TEST_CASE(
    "bind_packet: words in each other's place, which UDP's checksum does not see, name another connection")
{
    for (const Kind& kind : kinds()) {
        Bytes bound = kind.packet;
        bind_packet(bound);
        for (std::size_t one = 0; one < kind.size; one += 2) {
            for (std::size_t other = one + 2; other < kind.size; other += 2) {
                Bytes packet = bound;
                std::swap_ranges(&packet[one], &packet[one] + 2, &packet[other]);
                CHECK((named(packet) == connection) == (packet == bound));
            }
        }
    }
}

TEST_CASE("bind_packet: what proves itself stays as it is, and what is cut is read no further")
{
    for (const unsigned flag : {packet_flag::sealed, packet_flag::authenticated}) {
        Bytes packet = header(flag) + filler(100);
        const Bytes before = packet;
        bind_packet(packet);
        CHECK(packet == before);
    }
    for (const Kind& kind : kinds()) {
        for (std::size_t size = 0; size < kind.packet.size(); ++size) {
            const auto cut = std::make_unique<std::byte[]>(size); // for the sanitizers, memory of its own
            std::copy_n(kind.packet.begin(), size, cut.get());
            bind_packet({cut.get(), size});
            CHECK(bound_size({cut.get(), size}) <= size);
        }
    }
}
