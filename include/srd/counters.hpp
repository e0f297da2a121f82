// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Live statistics of one endpoint. Written by the thread that owns the engine,
// readable by any thread at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <srd/limits.hpp>

namespace srd {

/// A count with one writer and any number of readers. A relaxed load and store
/// instead of a read-modify-write: it costs what a plain integer costs.
class Counter {
public:
    void add(std::uint64_t amount = 1) noexcept
    {
        value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    /// Takes an add() back that turned out not to have happened.
    void undo(std::uint64_t amount = 1) noexcept
    {
        value_.store(value_.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
    }
    std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

// X(name, what it counts)
#define SRD_COUNTERS(X)                                                                                      \
    X(tx_packets, "packets sent, retransmissions and acknowledgements included")                             \
    X(tx_bytes, "bytes sent in packets")                                                                     \
    X(rx_packets, "packets received")                                                                        \
    X(rx_bytes, "bytes received in packets")                                                                 \
    X(tx_messages, "messages submitted")                                                                     \
    X(tx_message_bytes, "payload bytes of messages submitted")                                               \
    X(rx_messages, "messages announced to the matching layer")                                               \
    X(rx_message_bytes, "payload bytes of messages announced")                                               \
    X(tx_writes, "remote writes submitted")                                                                  \
    X(tx_reads, "remote reads submitted")                                                                    \
    X(tx_atomics, "atomics submitted")                                                                       \
    X(rx_writes, "frames of remote writes placed in our memory")                                             \
    X(rx_reads, "remote reads served from our memory")                                                       \
    X(rx_atomics, "atomics carried out on our memory")                                                       \
    X(tx_named,                                                                                              \
      "pieces of accesses that were named to a peer on this host, which reads them where they are")          \
    X(tx_unread, "of those, pieces that it could not read, so that they were sent")                          \
    X(rx_denied, "remote accesses denied: wrong key, bounds, access right or operation")                     \
    X(tx_acks, "packets sent that carried nothing but an acknowledgement")                                   \
    X(rx_acks, "acknowledgement blocks received")                                                            \
    X(retransmits_rack, "packets retransmitted because later packets were acknowledged")                     \
    X(retransmits_probe, "packets retransmitted by the tail probe")                                          \
    X(retransmits_timeout, "packets retransmitted by the retransmission timeout")                            \
    X(retransmits_refused, "packets retransmitted after the peer answered receiver-not-ready")               \
    X(retransmits_mtu, "packets retransmitted because the MTU of the path to the peer had fallen")           \
    X(retransmits_spurious, "retransmissions that turned out to have been unnecessary")                      \
    X(rx_duplicates, "packets dropped because they had arrived before")                                      \
    X(rx_out_of_order, "packets that arrived after a later one")                                             \
    X(rx_malformed, "packets dropped because they do not parse")                                             \
    X(rx_misdirected, "answers of somebody who lives at another address than the one that was asked")        \
    X(rx_sealed, "packets that came sealed and were opened")                                                 \
    X(rx_auth_failed, "packets dropped because they are not sealed with a key of this job")                  \
    X(rx_replayed, "sealed packets dropped because they came before, or too late to be told from such")      \
    X(rx_version, "packets of protocol versions that are not spoken here, and hellos of such peers")         \
    X(rx_unknown_connection, "packets dropped because of an unknown connection identifier")                  \
    X(rx_stale, "packets dropped because they lie outside the receive window")                               \
    X(rx_marked, "packets received with a congestion mark (ECN CE)")                                         \
    X(rx_reordered_messages, "messages held because an earlier one was missing")                             \
    X(rx_unexpected_messages, "messages that arrived before a matching receive was posted")                  \
    X(rx_refused_messages, "messages refused for lack of memory (receiver not ready)")                       \
    X(tx_rnr_backoffs, "times a peer answered receiver-not-ready")                                           \
    X(tx_hello_answers, "introductions answered; nothing is kept of those that do not come back")            \
    X(tx_no_room, "introductions refused because FI_SRD_MAX_PEERS records are in use")                       \
    X(rx_no_room, "times a peer refused our introduction because its records are in use")                    \
    X(peer_evictions, "records of silent or departed peers that were given to others")                       \
    X(tx_again, "operations refused with 'again' because a queue was full")                                  \
    X(tx_unsent, "packets that the backend did not accept at once")                                          \
    X(io_rx_dropped, "packets the backend dropped, or the kernel dropped at our socket")                     \
    X(io_rdma_packets, "packets that left through queue pairs of an RDMA device (backend verbs)")            \
    X(io_shm_packets, "packets that went to peers on this host through shared memory")                       \
    X(io_shm_messages, "messages that went to peers on this host through shared memory without a packet")    \
    X(io_tx_errors, "packets the backend could not send")                                                    \
    X(mtu_probes, "packets sent to find out how large a packet the path to a peer carries")                  \
    X(mtu_falls, "times large packets to a peer died on the way, so that its MTU fell")                      \
    X(tx_fragments, "pieces sent of packets that were made before the MTU fell")                             \
    X(rx_fragments_dropped, "pieces of packets dropped: malformed, or no memory to put them together")       \
    X(rail_questions, "packets sent to find out which of several interfaces reach which of a peer's")        \
    X(rails_proven, "ways from one of several interfaces to one of a peer's that were found to work")        \
    X(path_switches, "times a path was avoided after marks or losses")                                       \
    X(path_blackouts, "times a path was taken out of use")                                                   \
    X(handshakes, "connections established")                                                                 \
    X(peer_failures, "peers declared failed")                                                                \
    X(liveness_probes, "times the operating system of a silent peer was asked for signs of life")            \
    X(liveness_extensions, "times a silent peer was spared because its process still exists")

struct Counters {
    /// Of one path, to all peers. It leads to each of them by a way of its own, but what ails a link, a queue
    /// of the NIC or a rule for a port ails all that take it.
    struct Path {
        Counter packets; ///< sent
        Counter marked;  ///< found to have met congestion (ECN CE)
        Counter lost;    ///< found lost, or repeated because nothing was heard
    };

#define SRD_X(name, text) Counter name;
    SRD_COUNTERS(SRD_X)
#undef SRD_X
    std::array<Path, max_paths> paths; ///< by PathId
};

/// Calls `visit(name, text, value)` for every counter, in declaration order.
template <typename Visitor>
void for_each_counter(const Counters& counters, Visitor&& visit)
{
#define SRD_X(name, text) visit(#name, text, counters.name.value());
    SRD_COUNTERS(SRD_X)
#undef SRD_X
}

} // namespace srd
