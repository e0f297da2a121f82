// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How a harness meets the engine: the only place in it that knows what a hello looks like.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fuzz/victim.hpp"
#include "peer/handshake.hpp"
#include "wire/frames.hpp"

namespace srd::fuzz {

/// What a stranger says of itself: an introduction, or under the identifier that it was told, the proof.
struct Claim {
    std::uint32_t route = 0; ///< of its address
    std::uint64_t incarnation = 1;
    std::uint64_t connection = 1; ///< to be put into packets to it
    std::uint32_t first_psn = 0;
    std::uint32_t max_packet = Victim::max_packet;
    std::uint8_t flags = wire::hello_flag::answer_wanted;
    std::uint64_t to = 0; ///< the connection that its packet bears
};

inline void append_bytes(std::vector<std::byte>& out, const void* data, std::size_t size)
{
    const auto* const begin = static_cast<const std::byte*>(data);
    out.insert(out.end(), begin, begin + size);
}
template <typename T>
void append_layout(std::vector<std::byte>& out, const T& layout)
{
    append_bytes(out, &layout, sizeof(layout));
}

inline void put_hello(std::vector<std::byte>& out, const Claim& self)
{
    const SocketAddress address = Victim::address_of(self.route);
    Identity identity;
    std::copy(address.bytes().begin(), address.bytes().end(), identity.address.begin());
    identity.address_length = static_cast<std::uint8_t>(address.size());
    identity.incarnation = self.incarnation;
    identity.max_packet = self.max_packet;
    identity.rx_buffer = 1U << 20;
    wire::HelloFrame hello = identity.hello();
    hello.flags = self.flags;
    hello.first_psn = self.first_psn;
    hello.connection = self.connection;
    wire::PacketHeader header;
    header.connection = self.to;
    append_layout(out, header);
    append_layout(out, hello);
}

/// What the engine says of itself in a packet to us, if that is a hello.
struct Answer {
    std::uint64_t incarnation = 0;
    std::uint64_t connection = 0;
    std::uint32_t first_psn = 0;
    bool met = false; ///< it has a record of us
};
inline std::optional<Answer> heard_hello(std::span<const std::byte> packet)
{
    wire::Reader reader(packet);
    const auto header = reader.take<wire::PacketHeader>();
    if (!header || (header->flags & wire::packet_flag::sequenced) != 0 ||
        reader.peek() != static_cast<std::uint8_t>(wire::FrameType::hello)) {
        return std::nullopt;
    }
    const auto hello = reader.take<wire::HelloFrame>();
    if (!hello || (hello->flags & (wire::hello_flag::no_room | wire::hello_flag::key_wanted)) != 0) {
        return std::nullopt;
    }
    return Answer{hello->incarnation, hello->connection, hello->first_psn,
                  (hello->flags & wire::hello_flag::met) != 0};
}

} // namespace srd::fuzz
