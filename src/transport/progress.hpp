// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The one place that joins an engine to a backend. The order of the steps is
// the correctness argument; see docs/architecture.md.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

#include "engine.hpp"
#include "io/packet_io.hpp"

namespace srd {

inline constexpr std::size_t rx_burst_size = 64;
/// A pass takes in no more than this, so that acknowledgements, built at its end, are not late.
inline constexpr std::size_t rx_burst_bytes = 512U << 10;
/// Of so many bursts when a timer is due.
inline constexpr int max_rx_bursts = 8;
inline constexpr std::size_t tx_burst_size = 128;

/// Room for a burst, not cleared first: clearing these arrays would cost a pass with
/// one packet, or none, more than everything else it does. Who fills a burst sets every member.
template <typename Item, std::size_t count>
class BurstMemory {
    static_assert(std::is_aggregate_v<Item> && std::is_trivially_destructible_v<Item>); // implicit lifetime

public:
    std::span<Item> items() noexcept { return {reinterpret_cast<Item*>(memory_.data()), count}; }

private:
    alignas(Item) std::array<std::byte, sizeof(Item) * count> memory_;
};

/// Sends what the engine has to send. Returns the number of packets.
inline std::size_t flush_transmit(Engine& engine, PacketIo& io, Time now)
{
    BurstMemory<TxPacket, tx_burst_size> memory;
    const std::span<TxPacket> packets = memory.items();
    std::size_t total = 0;
    for (int round = 0; round < 4; ++round) {
        const std::size_t built = engine.poll_transmit(packets, now);
        if (built == 0) {
            break;
        }
        const std::span<const TxPacket> burst = packets.first(built);
        const std::size_t accepted = io.tx_burst(burst);
        if (accepted < built) {
            engine.return_unsent(burst.subspan(accepted), now);
        }
        if (!io.caps().keeps_tx_memory) {
            engine.on_tx_done();
        }
        total += accepted;
        if (accepted < built || built < packets.size()) {
            break;
        }
    }
    return total;
}

/// One pass. `handle(engine, event)` gets every event but hello, which is served here.
/// Returns true if anything at all happened.
template <typename Handler>
bool progress_once(Engine& engine, PacketIo& io, Time now, Handler&& handle)
{
    std::size_t work = 0;
    const IoCaps& caps = io.caps();

    if (caps.keeps_tx_memory) {
        std::array<DescId, tx_burst_size> reaped;
        const std::size_t count = io.tx_reap(reaped);
        engine.on_tx_reaped(std::span(reaped).first(count));
        work += count;
    }

    BurstMemory<RxPacket, rx_burst_size> packet_memory;
    const std::size_t room = std::clamp<std::size_t>(rx_burst_bytes / caps.max_packet, 8, rx_burst_size);
    const std::span<RxPacket> packets = packet_memory.items().first(room);
    const auto take_packets = [&] {
        const std::size_t received = io.rx_burst(packets, now);
        if (received != 0) {
            engine.on_packets(packets.first(received), now);
            work += received;
        }
        return received;
    };
    std::size_t received = take_packets();

    const auto drain_events = [&] {
        BurstMemory<Event, 1> event_memory;
        Event& event = event_memory.items().front();
        while (engine.poll_event(event)) {
            ++work;
            if (event.cause != Cause::none && engine.take_withdrawal()) {
                io.withdraw(); // before the application hears that its buffers are its own again
            }
            if (event.kind == Event::Kind::hello) {
                RouteId route{};
                if (io.resolve(event.payload, route) == Status::ok) {
                    engine.accept_hello(route, io.route_mtu(route), now, io.route_paths(route));
                }
                continue;
            }
            handle(engine, event);
        }
    };
    const auto finish_packets = [&] {
        drain_events();
        if (received != 0) {
            io.rx_release();
        }
    };
    finish_packets();

    // A timer speaks of what has not come. Where an endpoint is polled late, it has come and waits in the
    // socket; repeating it then makes the next pass later still.
    for (int burst = 1; received == packets.size() && engine.next_timeout() <= now && burst < max_rx_bursts;
         ++burst) {
        received = take_packets();
        finish_packets();
    }
    if (engine.next_timeout() <= now) {
        engine.on_timeout(now);
        drain_events();
    }

    // A notice that a peer is gone was caused after everything that the peer has sent: its last
    // acknowledgement and its goodbye may still be in the socket, or have come there since the burst, so
    // the socket is emptied between hearing the notice and acting on it.
    if (received < packets.size()) {
        BurstMemory<RouteNotice, 128> notice_memory;
        const std::span<RouteNotice> notices = notice_memory.items();
        const std::size_t noticed = io.poll_notices(notices, now);
        for (received = packets.size(); noticed != 0 && received == packets.size();) {
            received = take_packets();
            finish_packets();
        }
        for (const RouteNotice& notice : notices.first(noticed)) {
            engine.on_route_notice(notice, io.route_mtu(notice.route), now);
        }
        if (noticed != 0) {
            work += noticed;
            drain_events();
        }
        engine.on_rx_drained(now);
    }

    RouteId probe{};
    while (engine.poll_liveness_probe(probe)) {
        io.probe_liveness(probe, now);
    }
    work += flush_transmit(engine, io, now);
    return work != 0;
}

} // namespace srd
