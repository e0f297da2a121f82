// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Somebody who can send datagrams to an endpoint, under any name, and sees none of its traffic.
#pragma once

#include <cstddef>
#include <vector>

#include <srd/address.hpp>

#include "support/sim/sim_random.hpp"

namespace srd::sim {

/// A packet that claims to come from `claimed`: mostly introductions, and everything else that a stranger
/// may hope to be believed.
std::vector<std::byte> forge_packet(SimRandom& random, const SocketAddress& claimed);

} // namespace srd::sim
