// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Binds what a packet in clear says of its connection. A device on the way that changes bytes and computes
// UDP's checksum anew, or one that swaps words, which the checksum does not see, would else do harm for good:
// under a changed psn, frames take another packet's place; a changed acknowledgement releases what never
// arrived; a changed introduction begins a connection with nobody. So the first four bytes of the connection
// identifier go XORed with a digest of all that is read before the frames of a sequenced packet. What was
// changed names an unknown connection: the packet is lost, and comes again.
//
// This is no protection from somebody who does it on purpose, and covers neither frames nor payload: that is
// what a job key is for. Packets that are sealed or authenticated prove themselves, and are left as they are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "wire/layout.hpp"

namespace srd::wire {

/// From its beginning, how much of a packet is bound: header, acknowledgement block, a fragment's place, and
/// of an unsequenced packet the frame (a probe's padding is not). A multiple of four.
inline std::size_t bound_size(std::span<const std::byte> packet) noexcept
{
    const auto at = [packet](std::size_t offset) {
        return offset < packet.size() ? std::to_integer<std::uint8_t>(packet[offset]) : std::uint8_t{0};
    };
    const std::uint8_t flags = at(offsetof(PacketHeader, flags));
    std::size_t end = sizeof(PacketHeader);
    if ((flags & packet_flag::has_ack) != 0) {
        const bool marks = (at(end + offsetof(AckBlock, flags)) & ack_flag::marks) != 0;
        const std::size_t words = std::min<std::size_t>(at(end + offsetof(AckBlock, words)), max_ack_words);
        end += sizeof(AckBlock) + (marks ? sizeof(MarkBlock) : 0) + words * sizeof(std::uint64_t);
    }
    if ((flags & packet_flag::fragment) != 0) {
        end += sizeof(FragmentHeader);
    } else if ((flags & packet_flag::sequenced) == 0) {
        end += at(end) == static_cast<std::uint8_t>(FrameType::hello) ? sizeof(HelloFrame)
               : at(end) == static_cast<std::uint8_t>(FrameType::rails)
                   ? sizeof(RailsFrame) + at(end + offsetof(RailsFrame, count)) * rail_size
                   : sizeof(MtuProbeFrame);
    }
    return std::min(end, packet.size()) / sizeof(std::uint32_t) * sizeof(std::uint32_t);
}

/// What the identifier goes XORed with. Each step is a permutation of 32 bits, so a change of one word is
/// always seen; that it is none of a sum makes the order of the words count.
inline std::uint32_t digest(std::span<const std::byte> packet) noexcept
{
    if (packet.size() < sizeof(PacketHeader) ||
        (std::to_integer<std::uint8_t>(packet[offsetof(PacketHeader, flags)]) &
         (packet_flag::sealed | packet_flag::authenticated)) != 0) {
        return 0;
    }
    std::uint32_t mixed = 0;
    const auto mix = [&](std::size_t offset) {
        u32 word;
        std::memcpy(&word, &packet[offset], sizeof(word));
        mixed = std::rotl((mixed ^ word) * 0x9e3779b1U, 15);
    };
    mix(0);
    mix(offsetof(PacketHeader, psn));
    const std::size_t end = bound_size(packet);
    for (std::size_t offset = sizeof(PacketHeader); offset < end; offset += sizeof(u32)) {
        mix(offset);
    }
    return mixed;
}

/// Binds a packet, or takes it back. Of one in pieces, the first, which has all that is bound.
inline void bind_packet(std::span<std::byte> packet) noexcept
{
    if (packet.size() >= sizeof(PacketHeader)) {
        PacketHeader header;
        std::memcpy(&header, packet.data(), sizeof(header));
        header.connection = header.connection ^ digest(packet);
        std::memcpy(packet.data(), &header, sizeof(header));
    }
}

} // namespace srd::wire
