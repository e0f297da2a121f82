// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What an endpoint is built for. Limits size the memory, which is reserved
// once when the engine is made (pages are touched only when used); Tuning sets
// behaviour. Both are plain values; the provider fills them from FI_SRD_*.
#pragma once

#include <cstddef>
#include <cstdint>

#include <srd/dialect.hpp>
#include <srd/time.hpp>

namespace srd {

inline constexpr std::size_t max_iov = 4;            ///< iovecs per operation
inline constexpr std::size_t max_address_size = 44;  ///< bytes of an endpoint address
inline constexpr std::size_t max_inject_size = 4096; ///< bytes copied by an inject
inline constexpr std::size_t buffered_size = 65536;  ///< bytes of the longest message whose sender need not
                                                     ///< wait until the peer has it
inline constexpr std::size_t max_atomic_size = 480; ///< bytes of one operand of an atomic: operand, comparand
                                                    ///< and four ranges fit the smallest packet of IPv6
inline constexpr std::uint32_t max_paths = 64; ///< entropies per peer: a word of bits holds them, and more
                                               ///< spread no better over what switches have
inline constexpr std::uint32_t max_rails = 4;  ///< addresses of one endpoint, each of an interface of its own
inline constexpr std::size_t rail_size = 16;   ///< bytes of an address as peers are told: IPv6, or IPv4 in it
inline constexpr std::uint32_t max_udp_payload = 65507; ///< bytes of the longest IPv4 datagram; IPv6's is 20
                                                        ///< more, which nothing needs
inline constexpr std::uint32_t packet_window = 1024;  ///< sequenced packets in flight per peer and direction
inline constexpr std::uint32_t message_window = 8192; ///< messages a sender may be ahead of in-order delivery

/// How long this host, or a router, may know no way to an address that was never heard: links go down for a
/// moment, and come back.
inline constexpr Duration way_patience = std::chrono::seconds(5);

struct Limits {
    std::uint32_t max_peers = 65536;     ///< remote endpoints with state at one time
    std::uint32_t max_routes = 1U << 20; ///< addresses that the backend can have resolved
    std::uint32_t idle_routes =
        1U << 16; ///< of those, addresses remembered after their peers have gone; at least 2
    std::uint32_t max_packet = max_udp_payload; ///< largest packet the backend can carry, bytes
    std::uint32_t tx_slots = 16384;             ///< sequenced packets in flight over all peers
    std::uint32_t tx_messages = 32768;          ///< submitted operations not yet complete; 128 .. 65535
    std::size_t tx_buffers = 4U << 20;          ///< bytes of messages that are done and not yet acknowledged
    std::uint32_t tx_descs = 1024;      ///< packets handed out between poll_transmit() and on_tx_done()
    std::uint32_t rx_messages = 131072; ///< unexpected, reordered and incomplete messages; at least 256
    std::size_t unexpected_bytes = 128U << 20; ///< payload bytes of unexpected and reordered messages
};

enum class CongestionPolicy : std::uint8_t { swift, fixed };
enum class PathPolicy : std::uint8_t { adaptive, round_robin, single };

/// The longest message sent without asking, bytes, where the receiver's memory is scarce or its size unknown,
/// or where it reads ours.
inline constexpr std::size_t careful_eager_size = 16384;

/// Where the numbers of every connection begin, for tests of what happens where they wrap. Peers must agree
/// on all but the psn.
struct FirstNumbers {
    bool chosen = false;          ///< else the psn is a secret, and all others begin at 0
    std::uint32_t psn = 0;        ///< of the first packet
    std::uint32_t message = 0;    ///< sequence of the first message
    std::uint16_t duplicates = 0; ///< wire::AckBlock's counts
    std::uint16_t faults = 0;
};

struct Tuning {
    std::size_t eager_size = 65536;          ///< longest message sent without asking, bytes
    std::size_t copy_size = 1024;            ///< shorter messages are copied and may share a packet, bytes
    std::uint32_t window_max = 8U << 20;     ///< upper bound of a peer's congestion window, bytes
    std::uint32_t window_start = 256U << 10; ///< congestion window of a new peer, bytes
    std::uint32_t grant_budget = 4U << 20;   ///< bytes granted and not yet received, over all peers
    CongestionPolicy congestion = CongestionPolicy::swift;
    PathPolicy paths = PathPolicy::adaptive;
    Duration target_delay =
        std::chrono::microseconds(50); ///< queueing delay that Swift aims at, above the base rtt
    Duration ack_delay = std::chrono::microseconds(25); ///< longest wait of an acknowledgement for company
    Duration rto_min = std::chrono::microseconds(300);  ///< floor of timeouts that prove needless (Recovery)
    Duration rto_max = std::chrono::milliseconds(100);  ///< ceiling of the backed-off timeout
    Duration peer_timeout =
        std::chrono::seconds(5); ///< silence with data unacknowledged until a peer is dead
    Duration connect_timeout = std::chrono::seconds(30); ///< the same for an address that never answered
    Duration stopped_timeout =
        std::chrono::minutes(60);                    ///< the same while the peer's process is seen to exist
    Duration rnr_timeout = std::chrono::minutes(60); ///< receiver-not-ready for so long is an error
    FirstNumbers first;
    Dialect dialect; ///< what we tell others that we speak
};

} // namespace srd
