// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A packet window and its pool, whose packets are sent by hand.
#pragma once

#include <initializer_list>
#include <vector>

#include "send/packet_window.hpp"

namespace srd::test {

struct SenderParts {
    explicit SenderParts(std::uint32_t first_psn = 100, std::uint32_t packets = 2048)
        : pool(packets, 64), window(first_psn)
    {
    }

    /// A packet of 100 bytes, ready to go.
    std::uint32_t add(bool is_operation = true)
    {
        window.add_piece(pool, peer, 7, 0, 100, is_operation);
        return window.last_ready();
    }
    /// `count` packets, sent in one burst; their slots.
    std::vector<std::uint32_t> burst(std::size_t count, Time now)
    {
        std::vector<std::uint32_t> slots;
        for (std::size_t i = 0; i < count; ++i) {
            slots.push_back(add());
            window.sent(pool, slots.back(), now);
        }
        return slots;
    }
    std::uint32_t psn(std::uint32_t slot) const { return pool[slot].psn(); }
    TxSlot::State state(std::uint32_t slot) const { return pool[slot].state(); }
    /// The packet is acknowledged and done with.
    void ack(std::uint32_t slot)
    {
        pool.release(window.release(pool, psn(slot)));
        window.advance(pool);
    }
    /// Sends what is lost, in order; the slots.
    std::vector<std::uint32_t> repair(Time now)
    {
        std::vector<std::uint32_t> slots;
        while (window.any_lost()) {
            slots.push_back(window.first_lost());
            window.sent(pool, slots.back(), now);
        }
        return slots;
    }
    void check() const { window.check(pool, peer); }

    static constexpr std::uint32_t peer = 2;
    PacketPool pool;
    PacketWindow window;
};

} // namespace srd::test
