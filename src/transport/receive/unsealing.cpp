// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "receive/unsealing.hpp"

namespace srd {

namespace {

/// Nothing but a hello. Any other flag would make something else of what follows the header: the first byte
/// of an acknowledgement may be a hello's type.
bool is_hello(const wire::PacketHeader& header, const wire::Reader& reader) noexcept
{
    return (header.flags & ~wire::packet_flag::authenticated) == 0 &&
           reader.peek() == static_cast<std::uint8_t>(wire::FrameType::hello);
}

} // namespace

Unsealing::Result Unsealing::open(const RxPacket& packet, const wire::PacketHeader& header,
                                  std::uint32_t peer, wire::Reader& reader, std::uint8_t& proof) noexcept
{
    const std::span<const std::byte> bytes(packet.data, packet.length);
    if ((header.flags & wire::packet_flag::authenticated) != 0) {
        constexpr std::size_t around = sizeof(wire::PacketHeader) + EndpointSeals::trailer_size;
        if (!is_hello(header, reader) || bytes.size() < around) {
            return drop();
        }
        reader = wire::Reader(bytes.subspan(sizeof(wire::PacketHeader), bytes.size() - around));
        if (s_.seals != nullptr) {
            proof = s_.reader.add_proof(s_.seals->verify(bytes));
        }
        if (proof == 0) {
            s_.count.rx_auth_failed.add();
        }
        return Result::readable;
    }
    if (packet.local) {
        return Result::readable;
    }
    if ((header.flags & wire::packet_flag::sealed) == 0 && is_hello(header, reader)) {
        s_.count.rx_auth_failed.add();
        return Result::readable;
    }
    if (s_.seals == nullptr || (header.flags & wire::packet_flag::sealed) == 0) {
        return drop();
    }
    if (peer == no_index) {
        return Result::sealed;
    }
    return open_sealed(peer, bytes, reader) ? Result::readable : Result::dropped;
}

bool Unsealing::open_sealed(std::uint32_t peer, std::span<const std::byte> packet,
                            wire::Reader& reader) noexcept
{
    SealedSession* const session = s_.seals->session(peer);
    if (session == nullptr) {
        s_.count.rx_unknown_connection.add();
        return false;
    }
    const std::span<std::byte> bytes(const_cast<std::byte*>(packet.data()), packet.size()); // see RxPacket
    switch (session->open(bytes)) {
    case OpenResult::opened:
        s_.count.rx_sealed.add();
        reader = wire::Reader(
            packet.subspan(SealedSession::counter_size + sizeof(wire::PacketHeader),
                           packet.size() - SealedSession::overhead - sizeof(wire::PacketHeader)));
        return true;
    case OpenResult::replayed:
    case OpenResult::too_old:
    case OpenResult::too_new:
        s_.count.rx_replayed.add();
        return false;
    case OpenResult::too_short:
    case OpenResult::auth_failed:
    case OpenResult::exhausted:
        s_.count.rx_auth_failed.add();
        return false;
    }
    return false;
}

} // namespace srd
