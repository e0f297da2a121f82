// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages between the backends at the two ends of a route: packets of the base backend, which reaches
// everybody, that they take out before the engine sees them. A message is a struct of fixed size with the
// members magic (`right_magic`, whose first byte is no version of wire.hpp), kind, nonce, and address (its
// sender's, a sockaddr_in or sockaddr_in6).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <srd/address.hpp>

#include "io/core/packet_io.hpp"

namespace srd {

/// Kinds of message that all have; those from `first_other` on are each backend's own.
struct BypassKind {
    static constexpr std::uint32_t question = 1;
    static constexpr std::uint32_t answer = 2;
    static constexpr std::uint32_t first_other = 3;
};

/// The packet of one message, which must stay valid as long as the packet.
template <typename Message>
TxPacket packet_of(RouteId route, Message& message)
{
    TxPacket packet;
    packet.route = route;
    packet.iov_count = 1;
    packet.length = sizeof(message);
    packet.iov[0] = {&message, sizeof(message)};
    return packet;
}

/// One that the backend does not take is lost, as any packet may be: questions are repeated.
template <typename Message>
void send_message(PacketIo& io, RouteId route, Message message)
{
    const TxPacket packet = packet_of(route, message);
    io.tx_burst({&packet, 1});
}

/// True, with a copy, if the packet is such a message.
template <typename Message>
bool is_message(const RxPacket& packet, Message& message) noexcept
{
    if (packet.length != sizeof(message) || packet.data[0] != std::byte{Message::right_magic[0]}) [[likely]] {
        return false;
    }
    std::memcpy(&message, packet.data, sizeof(message));
    return message.magic == Message::right_magic;
}

template <typename Message>
void set_sender(Message& message, const SocketAddress& address)
{
    std::copy(address.bytes().begin(), address.bytes().end(), message.address.begin());
}

/// The address that the message names as its sender's. False: it names none. Whoever can send a packet can
/// name any: nothing may be kept, or sent there, for the sake of a name.
template <typename Message>
bool sender_of(const Message& message, SocketAddress& sender) noexcept
{
    return SocketAddress::parse(message.address.data(), message.address.size(), sender);
}

} // namespace srd
