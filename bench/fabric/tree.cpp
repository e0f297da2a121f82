// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tree.hpp"

#include <algorithm>
#include <bit>

namespace srd::sim {

FatTree::FatTree(SimClock& clock, const Config& config)
    : SimNetwork(clock, config.k * config.k * config.k / 4), config_(config)
{
    const SimLink::Config link{config.ps_per_byte, config.queue_bytes, config.mark_bytes, config.hop_delay};
    SimLink::Config nic = link;
    nic.queue_bytes = config.nic_queue_bytes;
    nic.mark_bytes = config.nic_queue_bytes;
    const std::uint32_t hosts = host_count();
    nics_.assign(hosts, SimLink(nic));
    const Port port{SimLink(link)};
    edge_up_.assign(hosts, port);
    aggregation_up_.assign(hosts, port);
    core_down_.assign(half() * half() * config.k, port);
    aggregation_down_.assign(hosts, port);
    edge_down_.assign(hosts, port);
    turns_.assign(hosts, 0);
}

/// Where the packet goes up.
FatTree::Way FatTree::way_of(const SimPacket& packet)
{
    if (config_.perfect_spread) {
        const std::uint32_t from = packet.source;
        const std::uint32_t turn = turns_[from]++;
        return {(from + turn) % half(), (from / half() + turn / half()) % half()};
    }
    const auto pick = [&](std::uint64_t level) {
        const std::uint64_t flow = std::uint64_t{packet.source} << 40 |
                                   std::uint64_t{packet.destination} << 16 | index_of(packet.path) << 4 |
                                   level;
        return static_cast<std::uint32_t>(mix64(flow ^ mix64(config_.hash_seed)) % half());
    };
    return {pick(0), pick(1)};
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
    switch (get_stage(what)) {
    case edge_up:
        if (pod_of(from) == pod_of(to) && edge_of(from) == edge_of(to)) {
            return forward(edge_down_[to], packet, at_host, way);
        }
        return forward(edge_up_[switch_port(pod_of(from), edge_of(from), up)], packet, aggregation_up, way);
    case aggregation_up:
        if (pod_of(from) == pod_of(to)) {
            return forward(aggregation_down_[switch_port(pod_of(to), up, edge_of(to))], packet, edge_down,
                           way);
        }
        return forward(aggregation_up_[switch_port(pod_of(from), up, core)], packet, core_down, way);
    case core_down:
        return forward(core_down_[(up * half() + core) * config_.k + pod_of(to)], packet, aggregation_down,
                       way);
    case aggregation_down:
        return forward(aggregation_down_[switch_port(pod_of(to), up, edge_of(to))], packet, edge_down, way);
    case edge_down:
        return forward(edge_down_[to], packet, at_host, way);
    case at_host:
        return finish(packet);
    }
}

void FatTree::cut_edge_link(std::uint32_t pod, std::uint32_t edge, std::uint32_t up)
{
    edge_up_[switch_port(pod, edge, up)].down = true;
    aggregation_down_[switch_port(pod, up, edge)].down = true;
}

void FatTree::slow_core_link(std::uint32_t pod, std::uint32_t aggregation, std::uint32_t up,
                             std::uint32_t factor)
{
    aggregation_up_[switch_port(pod, aggregation, up)].link.config().ps_per_byte *= factor;
    core_down_[(aggregation * half() + up) * config_.k + pod].link.config().ps_per_byte *= factor;
}

} // namespace srd::sim
