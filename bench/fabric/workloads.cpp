// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "workloads.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "support/sim/sim_random.hpp"

namespace srd::sim {
namespace {

template <typename Item>
void shuffle(std::vector<Item>& items, SimRandom& random)
{
    for (std::size_t last = items.size(); last > 1; --last) {
        std::swap(items[last - 1], items[random.between(0, last - 1)]);
    }
}

std::vector<std::uint32_t> random_order(std::uint32_t hosts, std::uint64_t seed)
{
    std::vector<std::uint32_t> order(hosts);
    for (std::uint32_t host = 0; host < hosts; ++host) {
        order[host] = host;
    }
    SimRandom random(seed);
    shuffle(order, random);
    return order;
}

/// Above 0, at most 1.
double share_of(SimRandom& random)
{
    return static_cast<double>((random.next() >> 11) + 1) * 0x1.0p-53;
}

/// The share of flows that are not longer.
struct Step {
    double bytes = 0;
    double share = 0;
};
constexpr std::array<Step, 12> websearch{{{0, 0},
                                          {10e3, 0.15},
                                          {20e3, 0.2},
                                          {30e3, 0.3},
                                          {50e3, 0.4},
                                          {80e3, 0.53},
                                          {200e3, 0.6},
                                          {1e6, 0.7},
                                          {2e6, 0.8},
                                          {5e6, 0.9},
                                          {10e6, 0.97},
                                          {30e6, 1}}};

/// Sixteen lengths from a power of two to the next, so that the ideal of each can be measured.
std::uint64_t websearch_bytes(double share)
{
    std::size_t step = 1;
    while (websearch[step].share < share) {
        ++step;
    }
    const auto [low, low_share] = websearch[step - 1];
    const auto [high, high_share] = websearch[step];
    const double bytes = low + (high - low) * (share - low_share) / (high_share - low_share);
    const auto whole = std::max<std::uint64_t>(static_cast<std::uint64_t>(bytes), 64);
    const std::uint64_t grain = std::bit_floor(whole) / 16;
    return (whole + grain / 2) / grain * grain;
}

double websearch_mean()
{
    double mean = 0;
    for (std::size_t step = 1; step < websearch.size(); ++step) {
        mean += (websearch[step].share - websearch[step - 1].share) *
                (websearch[step].bytes + websearch[step - 1].bytes) / 2;
    }
    return mean;
}

/// Bytes through the links that may be any flow's bottleneck. Parallel links count as one.
class Loads {
public:
    explicit Loads(const FatTree& tree) : tree_(tree), shape_(tree.config().shape) { clear(); }

    void clear()
    {
        for (Direction* direction : {&up_, &down_}) {
            direction->host.assign(shape_.host_count(), 0);
            direction->edge.assign(std::size_t{shape_.pods} * shape_.edges, 0);
            direction->pod.assign(shape_.pods, 0);
        }
        longest_ = 0;
    }

    void add(const Flow& flow)
    {
        const std::uint32_t from = flow.source;
        const std::uint32_t to = flow.destination;
        up_.host[from] += flow.bytes;
        down_.host[to] += flow.bytes;
        if (from / shape_.hosts != to / shape_.hosts) {
            up_.edge[from / shape_.hosts] += flow.bytes;
            down_.edge[to / shape_.hosts] += flow.bytes;
        }
        if (from / shape_.pod_hosts() != to / shape_.pod_hosts()) {
            up_.pod[from / shape_.pod_hosts()] += flow.bytes;
            down_.pod[to / shape_.pod_hosts()] += flow.bytes;
        }
        longest_ = std::max(longest_, flow.bytes);
    }

    std::uint64_t longest() const noexcept { return longest_; }

    /// Of the busiest links, by how much of it each of them has to carry.
    double busiest() const
    {
        double most = 0;
        for (const Direction* direction : {&up_, &down_}) {
            for (const std::uint64_t bytes : direction->host) {
                most = std::max(most, over(bytes, shape_.planes));
            }
            for (std::uint32_t edge = 0; edge < direction->edge.size(); ++edge) {
                most = std::max(most, over(direction->edge[edge], tree_.edge_capacity(edge * shape_.hosts)));
            }
            for (std::uint32_t pod = 0; pod < direction->pod.size(); ++pod) {
                most =
                    std::max(most, over(direction->pod[pod], tree_.pod_capacity(pod * shape_.pod_hosts())));
            }
        }
        return most;
    }

private:
    struct Direction {
        std::vector<std::uint64_t> host, edge, pod;
    };

    /// Two tiers have one pod, and nothing leaves it.
    static double over(std::uint64_t bytes, double links)
    {
        return bytes == 0 ? 0 : static_cast<double>(bytes) / links;
    }

    const FatTree& tree_;
    const Shape& shape_;
    Direction up_, down_;
    std::uint64_t longest_ = 0;
};

} // namespace

std::vector<Flow> permutation(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed)
{
    const std::vector<std::uint32_t> order = random_order(hosts, seed);
    std::vector<Flow> flows; // a cycle through all hosts in random order: nobody sends to itself
    for (std::uint32_t index = 0; index < hosts; ++index) {
        flows.push_back({order[index], order[(index + 1) % hosts], bytes});
    }
    return flows;
}

std::vector<Flow> permutation_with_background(std::uint32_t hosts, std::uint64_t bytes, double percent,
                                              std::uint64_t seed)
{
    std::vector<Flow> flows = permutation(hosts, bytes, seed);
    const auto some = static_cast<std::size_t>(std::lround(hosts * percent / 100));
    for (std::size_t index = 0; index < std::clamp<std::size_t>(some, 1, hosts - 1); ++index) {
        flows[index * hosts / std::max<std::size_t>(some, 1)].background = true;
    }
    for (Flow& flow : flows) {
        flow.bytes *= flow.background ? 4 : 1;
    }
    return flows;
}

std::vector<Flow> incast(std::uint32_t hosts, std::uint32_t senders, std::uint64_t bytes, std::uint64_t seed)
{
    const std::vector<std::uint32_t> order = random_order(hosts, seed);
    std::vector<Flow> flows;
    for (std::uint32_t index = 1; index <= senders; ++index) {
        flows.push_back({order[index], order[0], bytes});
    }
    return flows;
}

std::vector<Flow> all_to_all(std::uint32_t hosts, std::uint64_t bytes)
{
    std::vector<Flow> flows; // each begins with its next neighbour: nobody is everybody's first
    for (std::uint32_t step = 1; step < hosts; ++step) {
        for (std::uint32_t host = 0; host < hosts; ++host) {
            flows.push_back({host, (host + step) % hosts, bytes});
        }
    }
    return flows;
}

std::vector<Flow> ring_allreduce(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed)
{
    std::vector<Flow> flows = permutation(hosts, bytes / hosts, seed);
    for (std::uint32_t round = 1; round < 2 * (hosts - 1); ++round) {
        for (std::uint32_t place = 0; place < hosts; ++place) {
            Flow flow = flows[place];
            flow.after = (round - 1) * hosts + (place + hosts - 1) % hosts;
            flow.round = round;
            flows.push_back(flow);
        }
    }
    return flows;
}

std::vector<Flow> tree_broadcast(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed)
{
    const std::vector<std::uint32_t> order = random_order(hosts, seed);
    std::vector<std::uint32_t> last(hosts, Flow::at_its_time); // by place: the flow that it took part in
    std::vector<Flow> flows;
    std::uint32_t round = 0;
    for (std::uint32_t having = 1; having < hosts; having *= 2, ++round) {
        for (std::uint32_t place = 0; place < having && place + having < hosts; ++place) {
            Flow flow{order[place], order[place + having], bytes};
            flow.after = last[place];
            flow.round = round;
            last[place] = last[place + having] = static_cast<std::uint32_t>(flows.size());
            flows.push_back(flow);
        }
    }
    return flows;
}

std::vector<Flow> websearch_mix(std::uint32_t hosts, double bytes_per_us, Duration time, std::uint64_t seed)
{
    const double gap_ns = 1000 * websearch_mean() / (bytes_per_us * hosts);
    SimRandom random(seed);
    std::vector<Flow> flows;
    double start = 0;
    while ((start -= std::log(share_of(random)) * gap_ns) < static_cast<double>(time.count())) {
        Flow flow;
        flow.source = static_cast<std::uint32_t>(random.between(0, hosts - 1));
        flow.destination = static_cast<std::uint32_t>(random.between(0, hosts - 2));
        flow.destination += flow.destination >= flow.source;
        flow.bytes = websearch_bytes(share_of(random));
        flow.start = Duration(static_cast<std::int64_t>(start));
        flows.push_back(flow);
    }
    return flows;
}

double least_us(const FatTree& tree, const std::vector<Flow>& flows,
                const std::function<double(std::uint64_t)>& lone_us)
{
    Loads loads(tree);
    double sum = 0;
    for (std::size_t index = 0; index < flows.size(); ++index) {
        if (!flows[index].background) {
            loads.add(flows[index]);
        }
        if (index + 1 == flows.size() || flows[index + 1].round != flows[index].round) {
            const double rest =
                loads.busiest() - static_cast<double>(loads.longest()) / tree.config().shape.planes;
            sum += lone_us(loads.longest()) + rest * tree.config().ps_per_byte * 1e-6;
            loads.clear();
        }
    }
    return sum;
}

bool LinkCount::parse(const std::string& text, LinkCount& count)
{
    std::size_t end = 0;
    try {
        count.number = std::stod(text, &end);
    } catch (const std::exception&) {
        return false;
    }
    count.is_percent = text.substr(end) == "%";
    const bool whole = count.is_percent || (end == text.size() && count.number == std::floor(count.number));
    return whole && count.number >= 0 && count.number <= (count.is_percent ? 100 : 1e9);
}

std::uint32_t LinkCount::of(std::uint32_t links) const
{
    if (!is_percent) {
        return static_cast<std::uint32_t>(number);
    }
    const auto share = static_cast<std::uint32_t>(std::lround(links * number / 100));
    return number > 0 ? std::max(share, 1U) : 0;
}

namespace {

void add_links(std::vector<Link>& links, bool to_core, std::uint32_t switches, std::uint32_t ups)
{
    for (std::uint32_t index = 0; index < switches * ups; ++index) {
        links.push_back({to_core, index / ups, index % ups});
    }
}

} // namespace

std::vector<Link> random_core_links(const Shape& shape, std::uint32_t count, std::uint64_t seed)
{
    std::vector<Link> links;
    if (shape.tiers() == 3) {
        add_links(links, true, shape.aggregations(), shape.cores);
    } else {
        add_links(links, false, shape.edge_switches(), shape.ups);
    }
    SimRandom random(seed);
    shuffle(links, random);
    links.resize(std::min<std::size_t>(links.size(), count));
    return links;
}

std::vector<Link> random_dead_links(const Shape& shape, std::uint32_t count, std::uint64_t seed)
{
    std::vector<Link> links;
    add_links(links, false, shape.edge_switches(), shape.ups);
    add_links(links, true, shape.aggregations(), shape.cores);
    SimRandom random(seed);
    shuffle(links, random);
    std::array<std::vector<std::uint32_t>, 2> alive{
        // of each lower switch
        std::vector<std::uint32_t>(shape.edge_switches(), shape.ups),
        std::vector<std::uint32_t>(shape.aggregations(), shape.cores)};
    std::vector<Link> dead;
    for (const Link& link : links) {
        std::uint32_t& left = alive[link.to_core][link.below];
        const std::uint32_t all = link.to_core ? shape.cores : shape.ups;
        if (dead.size() < count && 2 * (left - 1) > all) {
            --left;
            dead.push_back(link);
        }
    }
    return dead;
}

} // namespace srd::sim
