// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory between processes of one host, beside any other backend: a PacketIo around the backend that
// reaches everybody. Packets to peers that turn out to be on this host go through rings in memory
// (shm_routes.hpp tells how that is found out); all others, and everything else, are that backend's.
//
// It never waits for a reader. A ring that is full because its reader does not run right now is as good as
// no ring: packets take the other backend, whose buffers and losses the engine knows how to treat.
#pragma once

#include <functional>
#include <memory>

#include <srd/counters.hpp>

#include "io/core/packet_io.hpp"

namespace srd {

struct ShmConfig {
    std::function<void(const char*)> warn; ///< gets one-line warnings that say what to do; may be empty
    std::function<void(const char*)> tell; ///< gets a line for each peer on this host; may be empty
};

/// `wire` reaches everybody; packets to other hosts always go through it.
std::unique_ptr<PacketIo> make_shm_io(const ShmConfig& config, std::unique_ptr<PacketIo> wire,
                                      Counters& counters);

} // namespace srd
