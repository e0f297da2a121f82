// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The congestion-control policy's interface: what it is told and what it
// answers. A policy is a small value type, one per peer; it sees facts, never
// the engine. Times are passed in; sizes are bytes on the wire.
#pragma once

#include <concepts>
#include <cstdint>

#include <srd/time.hpp>
#include <srd/types.hpp>

namespace srd {

struct CongestionLimits {
    std::uint32_t window_start = 0; ///< bytes
    std::uint32_t window_min = 0;   ///< bytes; at least one full packet
    std::uint32_t window_max = 0;   ///< bytes
    std::uint32_t packet_size = 0;  ///< bytes of a full packet
    Duration target_delay{};        ///< queueing delay aimed at, above the base rtt
};

/// One acknowledgement that released data.
struct AckSample {
    Time now{};
    Duration rtt{};                 ///< of the echoed packet, peer's hold time taken out; zero: no sample
    std::uint32_t acked_bytes = 0;  ///< newly acknowledged
    std::uint32_t in_flight = 0;    ///< bytes in flight before this acknowledgement
    PathId path{};                  ///< the echoed packet's path
    std::uint32_t marked_bytes = 0; ///< of the newly acknowledged, those that bore a congestion mark
    bool window_limited = false;    ///< the sender was held back by the window (else do not grow)
};

/// Packets declared lost in one go.
struct LossSample {
    Time now{};
    std::uint32_t lost_bytes = 0;
    std::uint32_t in_flight = 0; ///< bytes in flight before the loss was taken out
    bool timeout = false;        ///< found by a retransmission timeout: nothing at all came back
};

// Version 14 takes a requires expression apart.
// clang-format off
template <typename T>
concept CongestionControl = std::copyable<T> && std::constructible_from<T, const CongestionLimits&> &&
    requires(T t, const T c, const AckSample& ack, const LossSample& loss, std::uint32_t bytes,
             unsigned lanes) {
        { t.on_ack(ack) } -> std::same_as<void>;
        { t.on_loss(loss) } -> std::same_as<void>;
        { t.set_packet_size(bytes, bytes, lanes) } -> std::same_as<void>; ///< of a full packet; window_min of a lane
        { c.window_bytes() } -> std::same_as<std::uint32_t>;
        { c.pacing_gap(bytes) } -> std::same_as<Duration>; ///< least time between `bytes` and what follows; zero: no pacing
    };
// clang-format on

} // namespace srd
