// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets whose payload is in memory of a device.
#include "send/transmitter.hpp"

namespace srd {

/// Has the packet's payload in host memory for this burst. False: it does not go now.
bool Transmitter::stage(std::uint32_t index, const TxSlot& slot, Time now) noexcept
{
    TxMessage& message = s_.outgoing[slot.message];
    if (message.is_revoked()) {
        return true;
    }
    const DeviceStaging::Result result = s_.staging.prepare(message, slot.offset, slot.length);
    if (result != DeviceStaging::Result::failed) {
        return result == DeviceStaging::Result::ready;
    }
    if (ReadResponse* response = message.as<ReadResponse>()) {
        response->revoked = true; // a denied frame goes instead
        message.level = CompletionLevel::none;
        return true;
    }
    s_.unreadable_peer = index;
    s_.unreadable_at = now;
    return false;
}

/// The payload follows what the packet has. It is not announced to a peer on this host: it is gone with the
/// burst.
void Transmitter::add_staged(const TxSlot& slot, TxPacket& packet) const noexcept
{
    const std::size_t pieces = s_.staging.pieces(s_.outgoing[slot.message], slot.offset, slot.length,
                                                 std::span(packet.iov).subspan(packet.iov_count));
    packet.iov_count = static_cast<std::uint8_t>(packet.iov_count + pieces);
}

} // namespace srd
