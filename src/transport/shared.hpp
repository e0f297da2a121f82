// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the parts of one engine have in common: settings, pools and the table of
// peers. Each member is a class that owns its law; this only hands them round.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include <srd/check.hpp>
#include <srd/counters.hpp>
#include <srd/limits.hpp>

#include "io/core/local_road.hpp"
#include "io/core/packet_io.hpp"
#include "peer/connection_names.hpp"
#include "peer/handshake.hpp"
#include "peer/peer_table.hpp"
#include "peer/random_source.hpp"
#include "receive/grants.hpp"
#include "receive/incoming.hpp"
#include "receive/packet_reader.hpp"
#include "seal/endpoint_seals.hpp"
#include "send/outgoing.hpp"
#include "send/packet_pool.hpp"

namespace srd {

struct Shared {
    Shared(const IoCaps& io_caps, const Limits& limits, const Tuning& engine_tuning, Counters& counters,
           std::span<const std::byte> address, std::uint64_t seed, EndpointSeals* endpoint_seals);

    /// True if the peer has delivered every message before `next`. What it has taken from memory (LocalRoad)
    /// was delivered, but no acknowledgement tells of that: whoever waits for it has to look, and does so
    /// here.
    bool delivered_before(std::uint32_t peer, std::uint32_t next) noexcept
    {
        SendQueue& queue = peers[peer].connection.queue;
        const auto missing = [&] { return wire::sequence_distance(queue.message_delivered(), next) < 0; };
        if (missing() && caps.local != nullptr) {
            const std::uint64_t connection = peers[peer].handshake.tx_connection();
            queue.on_delivered(caps.local->taken(peers[peer].route.id(), LocalMessage::name_of(connection),
                                                 queue.message_delivered()));
            awaits_readers = awaits_readers || missing();
        }
        return !missing();
    }
    /// The peer may be sent one more message.
    bool message_window_open(std::uint32_t peer) noexcept
    {
        const SendQueue& queue = peers[peer].connection.queue;
        return !queue.message_window_full() ||
               delivered_before(peer, queue.message_next() - message_window + 1);
    }

    const IoCaps caps;
    const Tuning tuning;
    Counters& count;
    RandomSource random;
    const ConnectionNames names;
    Identity identity;

    EndpointSeals* const seals; ///< null: nothing is sealed

    PeerTable peers;
    LivenessQuestions questions;
    PacketPool packets;
    OutgoingPool outgoing;
    IncomingPool incoming;
    Grants grants;
    PacketReader reader;

    std::uint32_t refusing_peers = 0; ///< peers whose messages we refuse (Receiver::refusing)
    bool closing = false;             ///< the endpoint goes away: no new connections
    bool awaits_readers = false;      ///< something waits that a peer takes what it has in memory
    bool revocation_due = false; ///< memory of packets under way may be another's soon (PacketIo::revoke)
};

} // namespace srd
