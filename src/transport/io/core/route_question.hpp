// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a backend asks the one at the other end of a route, and how: by packets of the backend that reaches
// everybody, which it takes out before the engine sees them. A message is a struct of fixed size with the
// members magic (`right_magic`, whose first byte is no version of wire.hpp) and address (its sender's).
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>

#include <srd/address.hpp>
#include <srd/time.hpp>

#include "io/core/packet_io.hpp"

namespace srd {

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

/// One that the backend does not take is lost, as any packet may be: it will be asked again.
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

/// The route to the message's sender. False: there is none.
template <typename Message>
bool sender_of(const Message& message, PacketIo& io, RouteId& route)
{
    SocketAddress sender;
    return SocketAddress::parse(message.address.data(), message.address.size(), sender) &&
           io.resolve(sender, route) == Status::ok;
}

/// When a question is due, and which answer counts: that to the question asked last.
struct Question {
    std::uint64_t nonce = 0;
    Time at{};              ///< of the next repetition
    std::uint8_t asked = 0; ///< times, without an answer

    void begin(std::uint64_t new_nonce, Time now) noexcept { *this = {new_nonce, now, 0}; }
    /// It is asked now; the waits after it double, up to about a second.
    void ask(Time now) noexcept
    {
        at = now + first_wait * (1U << std::min(asked, max_doublings));
        asked = static_cast<std::uint8_t>(std::min(asked + 1, 255));
    }

private:
    static constexpr Duration first_wait = std::chrono::milliseconds(2);
    static constexpr std::uint8_t max_doublings = 9;
};

} // namespace srd
