// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Somebody on the way, who sees all traffic, changes it, repeats it, sends it elsewhere and back, and puts
// parts of packets together. Without keys he can be believed; with keys he must not be.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "support/sim/sim_net.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {

class Meddler {
public:
    Meddler(std::uint32_t hosts, std::uint64_t seed) : hosts_(hosts), random_(seed) {}

    /// He sees a packet, and may keep it for later.
    void look(const SimPacket& packet);
    /// He changes the packet, or leaves it and returns another one, which goes its way.
    std::optional<SimPacket> meddle(SimPacket& packet);

private:
    const SimPacket& any_seen() { return seen_[random_.between(0, seen_.size() - 1)]; }

    const std::uint32_t hosts_;
    SimRandom random_;
    std::vector<SimPacket> seen_;
};

} // namespace srd::sim
