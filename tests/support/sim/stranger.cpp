// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/stranger.hpp"

#include <algorithm>

#include "wire/binding.hpp"
#include "wire/frames.hpp"

namespace srd::sim {

namespace {

template <typename Frame>
std::vector<std::byte> packet_of(const wire::PacketHeader& header, const Frame& frame)
{
    std::vector<std::byte> bytes(sizeof(header) + sizeof(frame));
    wire::put(wire::put(bytes.data(), header), frame);
    wire::bind_packet(bytes);
    return bytes;
}

wire::HelloFrame hello_of(SimRandom& random, const SocketAddress& claimed)
{
    wire::HelloFrame hello;
    const auto flags = static_cast<std::uint8_t>(random.between(0, wire::hello_flag::all));
    hello.flags =
        static_cast<std::uint8_t>(flags | (random.chance(0.7) ? wire::hello_flag::answer_wanted : 0U));
    hello.address_length = static_cast<std::uint8_t>(claimed.bytes().size());
    std::copy(claimed.bytes().begin(), claimed.bytes().end(), hello.address.begin());
    hello.first_psn = static_cast<std::uint32_t>(random.next());
    hello.incarnation = random.next() | 1;
    hello.connection = random.next() | 1;
    hello.max_packet = static_cast<std::uint32_t>(random.between(wire::min_max_packet, max_udp_payload));
    hello.rx_buffer = static_cast<std::uint32_t>(random.next());
    return hello;
}

} // namespace

std::vector<std::byte> forge_packet(SimRandom& random, const SocketAddress& claimed)
{
    wire::PacketHeader header;
    header.connection = random.chance(0.5) ? 0 : random.next();
    if (random.chance(0.7)) {
        return packet_of(header, hello_of(random, claimed));
    }
    if (random.chance(0.3)) {
        return packet_of(header, wire::CloseFrame{});
    }
    header.flags = static_cast<std::uint8_t>(random.between(0, wire::packet_flag::all));
    header.psn = static_cast<std::uint32_t>(random.next());
    std::vector<std::byte> bytes(sizeof(header) + random.between(0, 200));
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<std::byte>(random.next()); });
    wire::put(bytes.data(), header);
    wire::bind_packet(bytes);
    return bytes;
}

} // namespace srd::sim
