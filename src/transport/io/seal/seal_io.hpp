// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Seals what leaves the host: a forwarding decorator around the backend that reaches the network, below
// shared memory, whose packets nobody else can read. Each packet is gathered and sealed in one pass over its
// bytes. What arrives is opened by the engine, who knows whose it is.
#pragma once

#include <memory>

#include "io/core/packet_io.hpp"

namespace srd {

/// `base` with packets sealed by their TxPacket::seal, and so much shorter for its users. Throws
/// std::bad_alloc.
std::unique_ptr<PacketIo> make_seal_io(std::unique_ptr<PacketIo> base);

} // namespace srd
