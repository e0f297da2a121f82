// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tree.hpp"

#include <algorithm>
#include <bit>

namespace srd::sim {

/// Switches of one radix (`ups` links up, as many down but for the edge's, twice as many pods or leaves) give
/// the least `ups`; with more of them, up to twice, there may be fewer hosts too many.
Shape Shape::of(std::uint32_t hosts, std::uint32_t tiers, std::uint32_t oversubscription)
{
    const auto fit = [&](std::uint32_t ups) {
        const std::uint32_t edge_hosts = oversubscription * ups;
        const std::uint32_t group = tiers == 3 ? ups * edge_hosts : edge_hosts; // a pod, or a leaf
        const std::uint32_t groups = std::max(2U, (hosts + group - 1) / group);
        return tiers == 3 ? Shape{groups, ups, edge_hosts, ups, ups} : Shape{1, groups, edge_hosts, ups, 0};
    };
    const auto is_enough = [&](std::uint32_t ups) {
        const Shape shape = fit(ups);
        return (tiers == 3 ? shape.pods : shape.edges) <= 2 * ups;
    };
    std::uint32_t least = 1;
    while (!is_enough(least)) {
        ++least;
    }
    Shape best = fit(least);
    for (std::uint32_t ups = least + 1; ups <= 2 * least; ++ups) {
        const Shape shape = fit(ups);
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
    nics_.assign(host_count(), SimLink(nic));
    const Port port{SimLink(link)};
    edge_up_.assign(shape_.edge_links(), port);
    aggregation_up_.assign(shape_.core_links(), port);
    core_down_.assign(shape_.core_links(), port);
    aggregation_down_.assign(shape_.edge_links(), port);
    edge_down_.assign(host_count(), port);
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
        const std::uint64_t flow = std::uint64_t{packet.source} << 40 |
                                   std::uint64_t{packet.destination} << 16 | index_of(packet.path) << 4 |
                                   level;
        return static_cast<std::uint32_t>(mix64(flow ^ mix64(config_.hash_seed)) % links);
    };
    return {pick(0, shape_.ups), pick(1, cores)};
}

bool FatTree::send(SimPacket* packet)
{
    SimLink& nic = nics_.at(packet->source);
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
    return nics_.at(host).ready_at(config_.nic_queue_bytes / 2);
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
    const auto [up, core] = way;
    const auto aggregation = [&](std::uint32_t host) { return pod_of(host) * shape_.ups + way.up; };
    switch (get_stage(what)) {
    case edge_up:
        if (edge_of(from) == edge_of(to)) {
            return forward(edge_down_[to], packet, at_host, way);
        }
        return forward(up_port({false, edge_of(from), up}), packet, aggregation_up, way);
    case aggregation_up:
        if (pod_of(from) == pod_of(to)) {
            return forward(down_port({false, edge_of(to), up}), packet, edge_down, way);
        }
        return forward(up_port({true, aggregation(from), core}), packet, core_down, way);
    case core_down:
        return forward(down_port({true, aggregation(to), core}), packet, aggregation_down, way);
    case aggregation_down:
        return forward(down_port({false, edge_of(to), up}), packet, edge_down, way);
    case edge_down:
        return forward(edge_down_[to], packet, at_host, way);
    case at_host:
        return finish(packet);
    }
}

FatTree::Port& FatTree::up_port(const Link& link)
{
    return link.to_core ? aggregation_up_[link.below * shape_.cores + link.up]
                        : edge_up_[link.below * shape_.ups + link.up];
}

FatTree::Port& FatTree::down_port(const Link& link)
{
    if (link.to_core) {
        const std::uint32_t core = link.below % shape_.ups * shape_.cores + link.up;
        return core_down_[core * shape_.pods + link.below / shape_.ups];
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
    for (std::uint32_t port = first; port < first + count; ++port) {
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
