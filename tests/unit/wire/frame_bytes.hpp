// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets of single frames, written by hand.
#pragma once

#include <cstring>
#include <vector>

#include "support/catch.hpp"
#include "support/frame_bytes.hpp"
#include "wire/frames.hpp"

namespace srd::test {

inline Bytes of(std::span<const std::byte> bytes)
{
    return {bytes.begin(), bytes.end()};
}

struct Remote {
    bool has = false;
    std::uint32_t length = 0;
};

/// Decodes the first frame of the packet; `rest`: bytes behind it.
inline bool decodes(const Bytes& packet, wire::Frame& frame, std::size_t& rest, Remote remote = {})
{
    const Bytes copy(packet.begin(), packet.end()); // exactly as long as the packet
    wire::Reader reader(copy);
    const bool good = wire::decode(reader, remote.has, remote.length, frame);
    rest = reader.remaining();
    return good;
}

inline bool malformed(const Bytes& packet, Remote remote = {})
{
    wire::Frame frame;
    std::size_t rest = 0;
    return !decodes(packet, frame, rest, remote);
}

/// Decodes a packet of this one frame; payloads point into `packet`.
template <typename T>
T only(const Bytes& packet, Remote remote = {})
{
    wire::Reader reader(packet);
    wire::Frame frame;
    REQUIRE(wire::decode(reader, remote.has, remote.length, frame));
    REQUIRE(reader.remaining() == 0);
    REQUIRE(std::holds_alternative<T>(frame));
    return std::get<T>(frame);
}

} // namespace srd::test
