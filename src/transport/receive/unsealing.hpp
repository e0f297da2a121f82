// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What a packet holds, for those who may read it.
//
// An endpoint with job keys takes sealed packets, hellos with a trailer, and what came through memory of this
// host; one without takes what is neither sealed nor has a trailer. What goes the other way is counted and
// dropped, except hellos: they are answered, for the other side to know why it is not met.
#pragma once

#include <cstdint>
#include <span>

#include <srd/wire.hpp>

#include "io/core/packet_io.hpp"
#include "shared.hpp"
#include "wire/layout.hpp"

namespace srd {

class Unsealing {
public:
    enum class Result : std::uint8_t {
        readable,
        sealed, ///< for somebody whom we may meet when this burst is read
        dropped,
    };

    explicit Unsealing(Shared& shared) noexcept : s_(shared) {}

    /// True if there is anything to be done with such a packet: most endpoints have no keys, and get none.
    bool concerns(const RxPacket& packet, const wire::PacketHeader& header) const noexcept
    {
        constexpr int marks = wire::packet_flag::sealed | wire::packet_flag::authenticated;
        return s_.seals != nullptr || ((header.flags & marks) != 0 && !packet.local);
    }
    /// `reader` is behind the header, and then before what the packet holds; `proof`: what a hello
    /// proves, as PacketReader numbers it.
    Result open(const RxPacket& packet, const wire::PacketHeader& header, std::uint32_t peer,
                wire::Reader& reader, std::uint8_t& proof) noexcept;
    /// Of a connection that we have now; `packet` may be written.
    bool open_sealed(std::uint32_t peer, std::span<const std::byte> packet, wire::Reader& reader) noexcept;

private:
    Result drop() noexcept
    {
        s_.count.rx_auth_failed.add();
        return Result::dropped;
    }

    Shared& s_;
};

} // namespace srd
