// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/sim/meddler.hpp"

#include <algorithm>
#include <utility>

#include "wire/layout.hpp"

namespace srd::sim {

void Meddler::look(const SimPacket& packet)
{
    constexpr std::size_t kept = 256;
    if (seen_.size() < kept) {
        seen_.push_back(packet);
    } else if (random_.chance(0.05)) {
        seen_[random_.between(0, kept - 1)] = packet; // some stay until the end
    }
}

std::optional<SimPacket> Meddler::meddle(SimPacket& packet)
{
    auto& bytes = packet.bytes;
    switch (random_.between(0, 6)) {
    case 0:
        bytes[random_.between(0, bytes.size() - 1)] ^= static_cast<std::byte>(1U << random_.between(0, 7));
        return std::nullopt;
    case 1: // the header, where most can be done
        bytes[random_.between(0, std::min(bytes.size(), sizeof(wire::PacketHeader)) - 1)] =
            static_cast<std::byte>(random_.next());
        return std::nullopt;
    case 2:
        bytes.resize(random_.between(1, bytes.size() + 8));
        return std::nullopt;
    case 3: { // one's header, another's contents
        const auto& other = any_seen().bytes;
        const std::size_t cut = std::min({bytes.size(), other.size(), sizeof(wire::PacketHeader)});
        std::copy_n(other.begin(), cut, bytes.begin());
        return std::nullopt;
    }
    case 4: {
        SimPacket back = packet;
        std::swap(back.source, back.destination);
        return back;
    }
    case 5: {
        SimPacket elsewhere = any_seen();
        elsewhere.destination = static_cast<std::uint32_t>(random_.between(0, hosts_ - 1));
        return elsewhere;
    }
    default:
        return any_seen();
    }
}

} // namespace srd::sim
