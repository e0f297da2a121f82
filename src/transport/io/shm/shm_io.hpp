// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Shared memory between processes of one host: a bypass (bypass_io.hpp) beside any other backend. Packets to
// peers that turn out to be on this host go through rings in memory (shm_routes.hpp tells how that is found
// out); all others, and everything else, are the other backend's.
//
// It never waits for a reader. While a ring is full because its reader is not running, packets take the base
// backend, whose buffers and losses the engine can handle.
#pragma once

#include <memory>

#include <srd/counters.hpp>

#include "io/core/io_options.hpp"
#include "io/core/packet_io.hpp"

namespace srd {

/// `base` reaches everybody. `log` gets a line for each peer on this host.
std::unique_ptr<PacketIo> make_shm_io(IoLog log, std::unique_ptr<PacketIo> base, Counters& counters);

} // namespace srd
