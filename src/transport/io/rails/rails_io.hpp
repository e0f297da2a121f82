// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Several interfaces, one endpoint: a backend for each of this host's addresses (a rail), put together as
// one.
//
// The first one's address is the endpoint's: peers meet there, and everything but packets of established
// connections is its business. The others have addresses of their own, which peers are told (IoCaps::rails),
// and the same port number. A packet leaves by the rail that its way names (TxPacket::way), to the address of
// the peer that it names.
//
// Laws:
//  - an address that is a peer's own is nobody's further one: who claims it does not get it, and who had
//    claimed it first loses it;
//  - what a rail says of routes (it has no way there, the port is closed) is heard of the first address of
//    each end alone: of all others, lost packets tell;
//  - a rail that has no room ends a burst, as its backend does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/core/packet_io.hpp"

namespace srd {

/// Puts `rails` together: 2..max_rails backends of sockets, which must have the same port number. Each should
/// have max_rails paths for each of them, or some ways have none. Throws
/// std::bad_alloc; null with `error`, errno: the system has no room for a descriptor.
std::unique_ptr<PacketIo> make_rails_io(std::vector<std::unique_ptr<PacketIo>> rails, int& error);

} // namespace srd
