// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A peer as people see it who watch an endpoint: a value without pointers, of which a file may consist.
#pragma once

#include <cstdint>

#include <srd/status.hpp>

namespace srd {

/// The paths to a peer, a bit for each; of those that are none of `dark` and `resting` nothing bad is known.
struct PathsView {
    std::uint64_t dark = 0;      ///< out of use: nothing gets through
    std::uint64_t resting = 0;   ///< not used for a moment, after a loss
    std::uint64_t marked = 0;    ///< the latest packet that was acknowledged had a congestion mark
    std::uint32_t switches = 0;  ///< times one was avoided, so far
    std::uint32_t blackouts = 0; ///< times one was taken out of use, so far
    std::uint32_t count = 1;
    std::uint32_t unused = 0;
};

struct PeerView {
    enum class State : std::uint8_t { idle, greeting, established };
    /// What cannot go on before the peer says something.
    enum class Awaits : std::uint8_t {
        nothing,
        introduction,    ///< that it answers ours
        acknowledgement, ///< of packets
        answer, ///< a grant for a large message, delivery, or bytes that are read: all packets have come
        room,   ///< it has no memory for our messages
    };

    State state = State::idle;
    Awaits awaits = Awaits::nothing;
    Cause suspicion = Cause::none; ///< of one that is silent and waited for: what it would be given up for
    std::uint8_t is_suspect = 0;   ///< more is known against it than that it is silent
    std::uint8_t same_host = 0;    ///< reached through shared memory
    std::uint8_t heard = 0;        ///< anything has ever come from it
    std::uint16_t repeats_in_vain = 0; ///< in a row; at the end of its range: or more
    std::uint32_t mtu = 0;             ///< bytes of a packet
    std::uint32_t window = 0;          ///< bytes that may be in flight
    std::uint32_t in_flight = 0;       ///< bytes
    std::uint32_t rtt_us = 0;          ///< smoothed; 0: not measured
    std::uint32_t rtt_min_us = 0;      ///< of the last seconds
    std::uint32_t unused = 0;
    std::uint64_t heard_ago_us = 0; ///< since anything has come from it
    std::uint64_t waiting_us = 0;   ///< in vain
    PathsView paths;
};

} // namespace srd
