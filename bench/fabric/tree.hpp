// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A k-ary three-tier fat-tree of drop-tail switches that mark (ECN), without
// trimming and without priorities: k pods of k/2 edge and k/2 aggregation
// switches, (k/2)^2 cores, k^3/4 hosts, all links of one rate.
//
//              core  0 .. (k/2)^2 - 1
//            /   |   \                     core a * k/2 + c is linked to
//      aggregation  a = 0 .. k/2 - 1       aggregation switch a of every pod
//          |  ×  |
//         edge    e = 0 .. k/2 - 1
//         |  |  |
//         hosts
//
// A packet goes up by a hash of (source, destination, path) per switch, as ECMP
// on the source port does, and down the only way. With perfect_spread it goes up
// as nothing that knows only hashes could send it: each host uses all ways in
// turn, its neighbours others at the same time. What remains of a flow's time then is not the
// path policy's.
#pragma once

#include <cstdint>
#include <vector>

#include "support/sim/sim_clock.hpp"
#include "support/sim/sim_net.hpp"

namespace srd::sim {

class FatTree final : public SimNetwork, public SimTarget {
public:
    struct Config {
        std::uint32_t k = 8;
        std::uint32_t ps_per_byte = 80; ///< 100 Gbit/s
        Duration hop_delay = std::chrono::microseconds(1);
        std::uint32_t queue_bytes = 35 * 4150;
        std::uint32_t mark_bytes = 9 * 4150;
        std::uint32_t nic_queue_bytes = 8 * 4150;
        std::uint64_t hash_seed = 1;
        bool perfect_spread = false;
    };
    struct Totals {
        std::uint64_t sent = 0, delivered = 0, dropped = 0, marked = 0, blackholed = 0;
        std::uint32_t deepest_queue = 0; ///< bytes
    };

    FatTree(SimClock& clock, const Config& config);

    bool send(SimPacket* packet) override;
    Time nic_ready(std::uint32_t host) const override;
    void fire(std::uint32_t what, std::uint64_t value) override;

    /// The links from edge switch `edge` of `pod` to aggregation switch `up`, and back, swallow everything.
    void cut_edge_link(std::uint32_t pod, std::uint32_t edge, std::uint32_t up);
    /// The links between aggregation switch `aggregation` of `pod` and its core number `up` get slower.
    void slow_core_link(std::uint32_t pod, std::uint32_t aggregation, std::uint32_t up, std::uint32_t factor);
    const Totals& totals() const noexcept { return totals_; }

private:
    enum Stage : std::uint8_t { edge_up, aggregation_up, core_down, aggregation_down, edge_down, at_host };

    /// The aggregation switch of the pod, and which of its cores.
    struct Way {
        std::uint32_t up = 0, core = 0;
    };
    // Both go with the packet, in the number of its next event.
    static std::uint32_t put(Stage stage, Way way) noexcept { return stage | way.up << 8 | way.core << 16; }
    static Stage get_stage(std::uint32_t what) noexcept { return static_cast<Stage>(what & 0xff); }
    static Way get_way(std::uint32_t what) noexcept { return {what >> 8 & 0xff, what >> 16 & 0xff}; }

    struct Port {
        SimLink link;
        bool down = false;
    };

    std::uint32_t half() const noexcept { return config_.k / 2; }
    std::uint32_t pod_of(std::uint32_t host) const noexcept { return host / (half() * half()); }
    std::uint32_t edge_of(std::uint32_t host) const noexcept { return host / half() % half(); }
    Way way_of(const SimPacket& packet);
    std::uint32_t switch_port(std::uint32_t pod, std::uint32_t index, std::uint32_t port) const noexcept
    {
        return (pod * half() + index) * half() + port;
    }
    void forward(Port& port, SimPacket* packet, Stage next, Way way);
    void finish(SimPacket* packet);

    Config config_;
    std::vector<SimLink> nics_;
    std::vector<Port> edge_up_, aggregation_up_, core_down_, aggregation_down_, edge_down_;
    std::vector<std::uint32_t> turns_; ///< by host: packets sent
    Totals totals_;
};

} // namespace srd::sim
