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
#include <srd/lazy_array.hpp>
#include <srd/limits.hpp>
#include <srd/trace.hpp>

#include "device/device_placement.hpp"
#include "device/device_staging.hpp"
#include "io/core/local_road.hpp"
#include "io/core/packet_io.hpp"
#include "lb/way_times.hpp"
#include "peer/connection_names.hpp"
#include "peer/handshake.hpp"
#include "peer/peer_table.hpp"
#include "peer/rails.hpp"
#include "peer/random_source.hpp"
#include "receive/grants.hpp"
#include "receive/incoming.hpp"
#include "receive/packet_reader.hpp"
#include "seal/endpoint_seals.hpp"
#include "send/outgoing.hpp"
#include "send/packet_pool.hpp"

namespace srd {

/// Why a packet is sent again, to whoever traces.
constexpr TraceKind trace_of(TxSlot::Repair repair) noexcept
{
    constexpr int first = static_cast<int>(TraceKind::again_rack) - static_cast<int>(TxSlot::Repair::rack);
    static_assert(first + static_cast<int>(TxSlot::Repair::mtu) == static_cast<int>(TraceKind::again_mtu));
    return static_cast<TraceKind>(first + static_cast<int>(repair));
}

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
    void trace_packet(const TxPacket& packet) noexcept
    {
        if (trace != nullptr) [[unlikely]] {
            trace->on_packet(TraceKind::sent, packet.route, std::span(packet.iov).first(packet.iov_count));
        }
    }
    /// Tells of an event that concerns the peer, if anybody listens.
    void trace_event(TraceKind kind, const Peer& peer, std::uint32_t value) noexcept
    {
        if (trace != nullptr) [[unlikely]] {
            trace->on_event(kind, peer.route.id(), value);
        }
    }
    /// There is a version that we and the sender of the hello speak.
    bool speaks_with(const wire::HelloFrame& hello) const noexcept
    {
        return identity.dialect.any_common(wire::dialect_of(hello));
    }
    /// The one that is used then.
    std::uint8_t common_version(const wire::HelloFrame& hello) const noexcept
    {
        return identity.dialect.common_version(wire::dialect_of(hello));
    }
    /// The peer may be sent one more message.
    bool message_window_open(std::uint32_t peer) noexcept
    {
        const SendQueue& queue = peers[peer].connection.queue;
        return !queue.message_window_full() ||
               delivered_before(peer, queue.message_next() - message_window + 1);
    }

    /// What the peer is asked to do, beside what its Receiver asks: of wire::ack_flag.
    std::uint8_t wishes(std::uint32_t peer) const noexcept
    {
        const bool careful = incoming.is_scarce(peer) || grants.is_crowded();
        return careful ? wire::ack_flag::memory_scarce | wire::ack_flag::no_unscheduled : 0;
    }

    const IoCaps caps;
    const Tuning tuning;
    Counters& count;
    RandomSource random;
    const ConnectionNames names;
    Identity identity;

    EndpointSeals* const seals; ///< null: nothing is sealed
    TraceSink* trace = nullptr; ///< null: nobody is told

    PeerTable peers;
    OwedRails owed_rails;
    LazyArray<WayTimes> way_times; ///< by peer, of those with several ways
    LivenessQuestions questions;
    PacketPool packets;
    OutgoingPool outgoing;
    IncomingPool incoming;
    Grants grants;
    PacketReader reader;
    DeviceStaging staging;
    DevicePlacement devices;

    std::uint32_t refusing_peers = 0; ///< peers whose messages we refuse (Receiver::refusing)
    bool closing = false;             ///< the endpoint goes away: no new connections
    bool awaits_readers = false;      ///< something waits that a peer takes what it has in memory
    /// What was to be sent to this peer cannot be read from its device, as was found out then: the connection
    /// ends, since a part may have been sent. no_index: none.
    std::uint32_t device_failed_peer = no_index;
    Time device_failed_at{};
    bool revocation_due = false; ///< memory of packets under way may be another's soon (PacketIo::revoke)
};

} // namespace srd
