// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// When a sender asks for an acknowledgement at once. They clock the sender, and
// each tells of the paths: so sixteen times a window, or every four packets if
// that is less often; and wherever waiting would stall, which the caller knows.
// Where packets go in trains, a train takes one path and arrives as one: half as
// often tells as much.
// While paths mark packets, every dense_packets: what is known of them would be old
// when it comes, and would come in lumps, which make queues of their own.
#pragma once

#include <algorithm>
#include <cstdint>

namespace srd {

class AckClock {
public:
    struct Pace {
        std::uint32_t per_window; ///< times
        std::uint32_t packets;    ///< at least, between two
    };
    static constexpr Pace single_packets{16, 4};
    static constexpr Pace trains{8, 8};
    static constexpr std::uint32_t dense_packets = 2;
    /// Until so many packets after the last mark. Losses do not count: where they are random, more
    /// acknowledgements bring nothing but work.
    static constexpr std::uint16_t dense_span = 256;

    /// A packet was marked.
    void on_mark() noexcept { dense_left_ = dense_span; }

    /// A packet of `length` bytes goes out. `stalls`: waiting would. True: ask.
    bool on_packet(const Pace& pace, std::uint32_t length, bool stalls, std::uint32_t window,
                   std::uint32_t bytes_in_flight, std::uint32_t mtu) noexcept
    {
        since_ += length;
        std::uint32_t enough = std::max(window / pace.per_window, pace.packets * mtu);
        if (dense_left_ != 0) {
            --dense_left_;
            enough = std::min(enough, dense_packets * mtu);
        }
        const bool filling = bytes_in_flight + length + 2 * mtu > window && since_ >= window / 4;
        if (!stalls && !filling && since_ < enough) {
            return false;
        }
        since_ = 0;
        return true;
    }

private:
    std::uint32_t since_ = 0;      ///< bytes sent since we last asked
    std::uint16_t dense_left_ = 0; ///< packets for which we go on asking often
};

} // namespace srd
