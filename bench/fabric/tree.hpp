// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A Clos network of drop-tail switches that mark (ECN), without trimming and
// without priorities, all links of one rate.
//
//              core                           core switch (a, c) is linked to
//            /   |   \                        aggregation switch a of every pod
//      aggregation  a = 0 .. ups - 1          each with `cores` links up
//          |  ×  |
//         edge    e = 0 .. edges - 1          each with `ups` links up,
//         |  |  |                             and oversubscription * ups hosts
//         hosts
//
// Two tiers are one pod of it, without cores: the edge switches are the leaves,
// the aggregation switches the spines. With several planes there is such a
// network for each, every host has an interface in each, and nothing gets from
// one plane to another.
//
// A packet goes up by a hash of (source, destination, path) per switch, as ECMP
// on the source port does, and down the only way. A dead link swallows what is
// sent to it: no switch knows, and none goes round it. With perfect_spread a
// packet goes up as nothing that knows only hashes could send it: each host uses
// all ways in turn, its neighbours others at the same time. What remains of a
// flow's time then is not the path policy's.
#pragma once

#include <cstdint>
#include <vector>

#include "support/sim/sim_clock.hpp"
#include "support/sim/sim_net.hpp"

namespace srd::sim {

/// How many of what.
struct Shape {
    std::uint32_t pods = 8;
    std::uint32_t edges = 4; ///< switches of a pod
    std::uint32_t hosts = 4; ///< of an edge switch
    std::uint32_t ups = 4;   ///< links up of an edge switch, and so aggregation switches of a pod
    std::uint32_t cores = 4; ///< links up of an aggregation switch; 0: there are two tiers
    std::uint32_t planes = 1;

    /// The smallest tree of one plane with so many hosts whose switches above the edge have as many links up
    /// as down.
    static Shape of(std::uint32_t hosts, std::uint32_t tiers, std::uint32_t oversubscription);

    std::uint32_t pod_hosts() const noexcept { return edges * hosts; }
    std::uint32_t host_count() const noexcept { return pods * pod_hosts(); }
    // Over all planes.
    std::uint32_t edge_switches() const noexcept { return planes * pods * edges; }
    std::uint32_t aggregations() const noexcept { return planes * pods * ups; }
    std::uint32_t edge_links() const noexcept { return edge_switches() * ups; }
    std::uint32_t core_links() const noexcept { return aggregations() * cores; }
    std::uint32_t switch_links() const noexcept { return edge_links() + core_links(); }
    /// Of the highest tier.
    std::uint32_t top_links() const noexcept { return tiers() == 3 ? core_links() : edge_links(); }
    std::uint32_t tiers() const noexcept { return cores == 0 ? 2 : 3; }
    std::uint32_t oversubscription() const noexcept { return hosts / ups; }
};

/// Two switches' link, both its directions.
struct Link {
    bool to_core = false;    ///< else between edge and aggregation
    std::uint32_t below = 0; ///< the lower switch, counted over all pods of all planes
    std::uint32_t up = 0;    ///< which of its links up
};

class FatTree final : public SimNetwork, public SimTarget {
public:
    struct Config {
        Shape shape;
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

    void cut(const Link& link);
    /// The link's rate is divided by `factor`.
    void slow(const Link& link, std::uint32_t factor);
    /// What the links up of the edge switches of `host` carry together, or down, in links of full rate.
    double edge_capacity(std::uint32_t host) const;
    /// The same of the links between the pod of `host` and the cores. There are three tiers.
    double pod_capacity(std::uint32_t host) const;

    const Config& config() const noexcept { return config_; }
    const Totals& totals() const noexcept { return totals_; }

private:
    enum Stage : std::uint8_t { edge_up, aggregation_up, core_down, aggregation_down, edge_down, at_host };

    /// The aggregation switch of the pod, and which of its cores.
    struct Way {
        std::uint32_t up = 0, core = 0;
    };
    // Both go with the packet, in the number of its next event.
    static std::uint32_t put(Stage stage, Way way) noexcept { return stage | way.up << 4 | way.core << 18; }
    static Stage get_stage(std::uint32_t what) noexcept { return static_cast<Stage>(what & 0xf); }
    static Way get_way(std::uint32_t what) noexcept { return {what >> 4 & 0x3fff, what >> 18}; }

    struct Port {
        SimLink link;
        bool down = false;
    };

    std::uint32_t pod_of(std::uint32_t host) const noexcept { return host / shape_.pod_hosts(); }
    /// Of all of a plane, not of its pod's.
    std::uint32_t edge_of(std::uint32_t host) const noexcept { return host / shape_.hosts; }
    Way way_of(const SimPacket& packet);
    Link edge_link(const SimPacket& packet, std::uint32_t host, Way way) const;
    Link core_link(const SimPacket& packet, std::uint32_t host, Way way) const;
    Port& host_port(const SimPacket& packet);
    Port& up_port(const Link& link);
    Port& down_port(const Link& link);
    /// Of `count` ports from `first` on, and as many in each other plane.
    double capacity(const std::vector<Port>& ports, std::uint32_t first, std::uint32_t count) const;
    void forward(Port& port, SimPacket* packet, Stage next, Way way);
    void finish(SimPacket* packet);

    Config config_;
    const Shape shape_;
    std::vector<SimLink> nics_;                  ///< by host and plane
    std::vector<Port> edge_up_, aggregation_up_; ///< by switch and link up
    std::vector<Port> core_down_;                ///< by core, over all planes, and pod
    std::vector<Port> aggregation_down_;         ///< by switch and edge switch of the pod
    std::vector<Port> edge_down_;                ///< by host and plane
    std::vector<std::uint32_t> turns_;           ///< by host: packets sent
    Totals totals_;
};

} // namespace srd::sim
