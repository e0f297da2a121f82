// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// When a sender asks for an acknowledgement at once. They clock the sender, and
// each tells of one path: so eight times a window, or every request_packets if
// that is less often; and wherever waiting would stall, which the caller knows.
#pragma once

#include <algorithm>
#include <cstdint>

namespace srd {

class AckClock {
public:
    static constexpr std::uint32_t request_packets = 8;

    /// A packet of `length` bytes goes out. `stalls`: waiting would. True: ask.
    bool on_packet(std::uint32_t length, bool stalls, std::uint32_t window, std::uint32_t bytes_in_flight,
                   std::uint32_t mtu) noexcept
    {
        since_ += length;
        const bool filling = bytes_in_flight + length + 2 * mtu > window && since_ >= window / 4;
        if (!stalls && !filling && since_ < std::max(window / 8, request_packets * mtu)) {
            return false;
        }
        since_ = 0;
        return true;
    }

private:
    std::uint32_t since_ = 0; ///< bytes sent since we last asked
};

} // namespace srd
