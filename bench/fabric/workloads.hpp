// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Who sends what to whom, how long that takes at best, and which links are bad.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "flows.hpp"

namespace srd::sim {

/// Every host sends to one other host and receives from one other.
std::vector<Flow> permutation(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed);
/// A permutation in which that share of the hosts, at least one, send four times as much by one path each,
/// in the background.
std::vector<Flow> permutation_with_background(std::uint32_t hosts, std::uint64_t bytes, double percent,
                                              std::uint64_t seed);
/// Hosts send to one.
std::vector<Flow> incast(std::uint32_t hosts, std::uint32_t senders, std::uint64_t bytes, std::uint64_t seed);
/// Every host sends `bytes` to every other, all at once.
std::vector<Flow> all_to_all(std::uint32_t hosts, std::uint64_t bytes);
/// 2 (hosts - 1) rounds about a ring in random order; in each, every host sends 1/hosts of `bytes` on
/// when that of the round before has come.
std::vector<Flow> ring_allreduce(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed);
/// A binomial tree in random order: who has the bytes sends them to one who has not, and then to the next.
std::vector<Flow> tree_broadcast(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed);
/// Flows between random hosts, begun at random for `time`, of the lengths of a web search cluster (Alizadeh
/// et al., DCTCP, 2010). Together every host sends `bytes_per_us` in the mean.
std::vector<Flow> websearch_mix(std::uint32_t hosts, double bytes_per_us, Duration time, std::uint64_t seed);

/// No flows of these can all be done sooner on the tree as it is now: what the busiest link, or group of
/// links that are as good as each other, has to carry, and the rest of a flow's time, `lone_us` of its bytes,
/// which it takes alone in the tree. Round by round.
double least_us(const FatTree& tree, const std::vector<Flow>& flows,
                const std::function<double(std::uint64_t)>& lone_us);

/// So many links, or that share of them.
struct LinkCount {
    double number = 0;
    bool is_percent = false;

    /// "4" or "5%". False: it is neither.
    static bool parse(const std::string& text, LinkCount& count);
    std::uint32_t of(std::uint32_t links) const;
};

/// Links of the highest tier, at random.
std::vector<Link> random_core_links(const Shape& shape, std::uint32_t count, std::uint64_t seed);
/// Links between switches, at random, such that every switch keeps more than half of its links up: any two
/// hosts have a way then. Fewer, if there are not so many.
std::vector<Link> random_dead_links(const Shape& shape, std::uint32_t count, std::uint64_t seed);

} // namespace srd::sim
