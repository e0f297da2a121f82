// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tree.hpp"

#include <algorithm>
#include <bit>

namespace srd::sim {

/// Switches of one radix (`width` links up, as many down but for the edge's, twice as many pods or leaves)
/// give the least width; with more of them, up to twice, there may be fewer hosts too many.
Shape Shape::of(std::uint32_t hosts, std::uint32_t tiers, std::uint32_t oversubscription)
{
    const auto fit = [&](std::uint32_t width) {
        const std::uint32_t edge_hosts = oversubscription * width;
        const std::uint32_t group = tiers == 3 ? width * edge_hosts : edge_hosts; // a pod, or a leaf
        const std::uint32_t groups = std::max(2U, (hosts + group - 1) / group);
        return tiers == 3 ? Shape{groups, width, edge_hosts, width, width}
                          : Shape{1, groups, edge_hosts, width, 0};
    };
    const auto is_enough = [&](std::uint32_t width) {
        const Shape shape = fit(width);
        return (tiers == 3 ? shape.pods : shape.edges) <= 2 * width;
    };
    std::uint32_t least = 1;
    while (!is_enough(least)) {
        ++least;
    }
    Shape best = fit(least);
    for (std::uint32_t width = least + 1; width <= 2 * least; ++width) {
        const Shape shape = fit(width);
        best = shape.host_count() < best.host_count() ? shape : best;
    }
    return best;
}

FatTree::FatTree(SimClock& clock, const Config& config)
    : SimNetwork(clock, config.shape.host_count()), config_(config), shape_(config.shape)
{
    const SimLink::Config link{config.ps_per_byte, config.queue_bytes, config.mark_bytes, config.hop_delay};
    SimLink::Config nic = link;
    nic.queue_bytes = config.nic_queue_bytes;
    nic.mark_bytes = config.nic_queue_bytes;
    nics_.assign(std::size_t{host_count()} * shape_.planes, SimLink(nic));
    const Port port{SimLink(link)};
    edge_up_.assign(shape_.edge_links(), port);
    aggregation_up_.assign(shape_.core_links(), port);
    core_down_.assign(shape_.core_links(), port);
    aggregation_down_.assign(shape_.edge_links(), port);
    edge_down_.assign(std::size_t{host_count()} * shape_.planes, port);
    turns_.assign(host_count(), 0);
}

/// Where the packet goes up.
FatTree::Way FatTree::way_of(const SimPacket& packet)
{
    const std::uint32_t cores = std::max(shape_.cores, 1U);
    if (config_.perfect_spread) {
        const std::uint32_t from = packet.source;
        const std::uint32_t turn = turns_[from]++;
        return {(from + turn) % shape_.ups, (edge_of(from) + turn / shape_.ups) % cores};
    }
    const auto pick = [&](std::uint64_t level, std::uint32_t links) {
        const std::uint64_t flow =
            std::uint64_t{packet.source_rail} << 60 | std::uint64_t{packet.source} << 40 |
            std::uint64_t{packet.destination} << 16 | index_of(packet.path) << 4 | level;
        return static_cast<std::uint32_t>(mix64(flow ^ mix64(config_.hash_seed)) % links);
    };
    return {pick(0, shape_.ups), pick(1, cores)};
}

bool FatTree::send(SimPacket* packet)
{
    SimLink& nic = nics_.at(packet->source * shape_.planes + packet->source_rail);
    const auto bytes = static_cast<std::uint32_t>(packet->bytes.size());
    const Time now = clock_.now();
    const std::uint32_t queued = nic.backlog(now);
    if (queued != 0 && queued + bytes > config_.nic_queue_bytes) {
        return false;
    }
    ++totals_.sent;
    const auto arrival = nic.push(bytes, now, packet->marked);
    clock_.at(*arrival, *this, put(edge_up, way_of(*packet)), std::bit_cast<std::uintptr_t>(packet));
    return true;
}

Time FatTree::nic_ready(std::uint32_t host) const
{
    Time ready = time_never;
    for (std::uint32_t plane = 0; plane < shape_.planes; ++plane) {
        ready = std::min(ready, nics_.at(host * shape_.planes + plane).ready_at(config_.nic_queue_bytes / 2));
    }
    return ready;
}

void FatTree::forward(Port& port, SimPacket* packet, Stage next, Way way)
{
    if (port.down) {
        ++totals_.blackholed;
        release(packet);
        return;
    }
    const bool was_marked = packet->marked;
    const Time now = clock_.now();
    totals_.deepest_queue = std::max(totals_.deepest_queue, port.link.backlog(now));
    const auto arrival =
        port.link.push(static_cast<std::uint32_t>(packet->bytes.size()), now, packet->marked);
    if (!arrival) {
        ++totals_.dropped;
        release(packet);
        return;
    }
    totals_.marked += packet->marked && !was_marked;
    clock_.at(*arrival, *this, put(next, way), std::bit_cast<std::uintptr_t>(packet));
}

void FatTree::finish(SimPacket* packet)
{
    ++totals_.delivered;
    packet->arrived = clock_.now();
    port(packet->destination)->deliver(packet);
}

void FatTree::fire(std::uint32_t what, std::uint64_t value)
{
    auto* const packet = std::bit_cast<SimPacket*>(static_cast<std::uintptr_t>(value));
    const std::uint32_t from = packet->source;
    const std::uint32_t to = packet->destination;
    const Way way = get_way(what);
    switch (get_stage(what)) {
    case edge_up:
        if (packet->source_rail != packet->destination_rail) {
            ++totals_.blackholed;
            return release(packet);
        }
        if (edge_of(from) == edge_of(to)) {
            return forward(host_port(*packet), packet, at_host, way);
        }
        return forward(up_port(edge_link(*packet, from, way)), packet, aggregation_up, way);
    case aggregation_up:
        if (pod_of(from) == pod_of(to)) {
            return forward(down_port(edge_link(*packet, to, way)), packet, edge_down, way);
        }
        return forward(up_port(core_link(*packet, from, way)), packet, core_down, way);
    case core_down:
        return forward(down_port(core_link(*packet, to, way)), packet, aggregation_down, way);
    case aggregation_down:
        return forward(down_port(edge_link(*packet, to, way)), packet, edge_down, way);
    case edge_down:
        return forward(host_port(*packet), packet, at_host, way);
    case at_host:
        return finish(packet);
    }
}

Link FatTree::edge_link(const SimPacket& packet, std::uint32_t host, Way way) const
{
    return {false, packet.source_rail * shape_.pods * shape_.edges + edge_of(host), way.up};
}

Link FatTree::core_link(const SimPacket& packet, std::uint32_t host, Way way) const
{
    return {true, (packet.source_rail * shape_.pods + pod_of(host)) * shape_.ups + way.up, way.core};
}

FatTree::Port& FatTree::host_port(const SimPacket& packet)
{
    return edge_down_[packet.destination * shape_.planes + packet.destination_rail];
}

FatTree::Port& FatTree::up_port(const Link& link)
{
    return link.to_core ? aggregation_up_[link.below * shape_.cores + link.up]
                        : edge_up_[link.below * shape_.ups + link.up];
}

/// Pods are counted over all planes, too.
FatTree::Port& FatTree::down_port(const Link& link)
{
    if (link.to_core) {
        const std::uint32_t pod = link.below / shape_.ups;
        const std::uint32_t plane = pod / shape_.pods;
        const std::uint32_t core = (plane * shape_.ups + link.below % shape_.ups) * shape_.cores + link.up;
        return core_down_[core * shape_.pods + pod % shape_.pods];
    }
    const std::uint32_t aggregation = link.below / shape_.edges * shape_.ups + link.up;
    return aggregation_down_[aggregation * shape_.edges + link.below % shape_.edges];
}

void FatTree::cut(const Link& link)
{
    up_port(link).down = true;
    down_port(link).down = true;
}

void FatTree::slow(const Link& link, std::uint32_t factor)
{
    up_port(link).link.config().ps_per_byte *= factor;
    down_port(link).link.config().ps_per_byte *= factor;
}

double FatTree::capacity(const std::vector<Port>& ports, std::uint32_t first, std::uint32_t count) const
{
    double sum = 0;
    const auto plane_ports = static_cast<std::uint32_t>(ports.size()) / shape_.planes;
    for (std::uint32_t index = 0; index < count * shape_.planes; ++index) {
        const std::uint32_t port = index / count * plane_ports + first + index % count;
        sum += ports[port].down ? 0.0 : 1.0 * config_.ps_per_byte / ports[port].link.config().ps_per_byte;
    }
    return sum;
}

double FatTree::edge_capacity(std::uint32_t host) const
{
    return capacity(edge_up_, edge_of(host) * shape_.ups, shape_.ups);
}

double FatTree::pod_capacity(std::uint32_t host) const
{
    const std::uint32_t links = shape_.ups * shape_.cores;
    return capacity(aggregation_up_, pod_of(host) * links, links);
}

} // namespace srd::sim
