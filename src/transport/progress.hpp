// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The one place that joins an engine to a backend. The order of the steps is
// the correctness argument; see docs/architecture.md.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "engine.hpp"
#include "io/packet_io.hpp"

namespace srd {

inline constexpr std::size_t rx_burst_size = 256;
inline constexpr std::size_t tx_burst_size = 128;

/// Sends what the engine has to send. Returns the number of packets.
inline std::size_t flush_transmit(Engine& engine, PacketIo& io, Time now)
{
    std::array<TxPacket, tx_burst_size> packets;
    std::size_t total = 0;
    for (int round = 0; round < 4; ++round) {
        const std::size_t built = engine.poll_transmit(packets, now);
        if (built == 0) {
            break;
        }
        const std::span<const TxPacket> burst(packets.data(), built);
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

    if (io.caps().keeps_tx_memory) {
        std::array<DescId, tx_burst_size> reaped;
        const std::size_t count = io.tx_reap(reaped);
        engine.on_tx_reaped(std::span(reaped).first(count));
        work += count;
    }

    std::array<RouteNotice, 16> notices;
    const std::size_t noticed = io.poll_notices(notices, now);
    for (const RouteNotice& notice : std::span(notices).first(noticed)) {
        engine.on_route_notice(notice, io.route_mtu(notice.route), now);
    }
    work += noticed;

    std::array<RxPacket, rx_burst_size> packets;
    const std::size_t received = io.rx_burst(packets, now);
    if (received != 0) {
        engine.on_packets(std::span(packets).first(received), now);
        work += received;
    }
    if (engine.next_timeout() <= now) {
        engine.on_timeout(now);
    }

    Event event;
    while (engine.poll_event(event)) {
        ++work;
        if (event.kind == Event::Kind::hello) {
            RouteId route{};
            if (io.resolve(event.payload, route) == Status::ok) {
                engine.accept_hello(route, io.route_mtu(route), now);
            }
            continue;
        }
        handle(engine, event);
    }
    if (received != 0) {
        io.rx_release();
    }

    RouteId probe{};
    while (engine.poll_liveness_probe(probe)) {
        io.probe_liveness(probe, now);
    }
    work += flush_transmit(engine, io, now);
    return work != 0;
}

} // namespace srd
