// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets of single frames, written by hand.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include "support/catch.hpp"
#include "wire/frames.hpp"

namespace srd::test {

using Bytes = std::vector<std::byte>;

inline Bytes filler(std::size_t size)
{
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) {
        bytes[i] = static_cast<std::byte>(i * 7 + 1);
    }
    return bytes;
}

template <typename T>
inline Bytes raw(const T& layout)
{
    Bytes bytes(sizeof(T));
    std::memcpy(bytes.data(), &layout, sizeof(T));
    return bytes;
}

inline Bytes operator+(Bytes left, const Bytes& right)
{
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

/// What `write(out)`, which returns the end, has written.
inline Bytes written(const std::function<std::byte*(std::byte*)>& write)
{
    Bytes room(512);
    const auto size = static_cast<std::size_t>(write(room.data()) - room.data());
    return {room.begin(), room.begin() + static_cast<std::ptrdiff_t>(size)};
}

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
