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
    bool revocation_due = false; ///< memory of packets under way may be another's soon (PacketIo::revoke)
};

} // namespace srd
