// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Flows between the simulated hosts of a fat-tree: who sends what to whom, and when each was done.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <srd/limits.hpp>
#include <srd/time.hpp>

#include "tree.hpp"

namespace srd::sim {

struct Flow {
    static constexpr std::uint32_t from_start = ~std::uint32_t{0};

    std::uint32_t source = 0;
    std::uint32_t destination = 0;
    std::uint64_t bytes = 0;
    std::uint32_t after = from_start; ///< starts when this flow, to its source, is done
    Time done = time_never;
};

/// Every host sends to one other host and receives from one other.
std::vector<Flow> permutation(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed);
/// Hosts send to one.
std::vector<Flow> incast(std::uint32_t hosts, std::uint32_t senders, std::uint64_t bytes, std::uint64_t seed);
/// Every host sends `bytes` to every other, all at once.
std::vector<Flow> all_to_all(std::uint32_t hosts, std::uint64_t bytes);
/// 2 (hosts - 1) steps round a ring in random order; in each, every host sends 1/hosts of `bytes` on
/// when that of the step before has come.
std::vector<Flow> ring_allreduce(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed);

struct Setup {
    std::uint16_t paths = 64;
    std::uint64_t seed = 1;
    PathPolicy policy = PathPolicy::adaptive;
    CongestionPolicy congestion = CongestionPolicy::swift;
    bool perfect_spread = false; ///< FatTree::Config
    Duration noise{}; ///< if any: each host looks away about once in a millisecond, for so long at most
    std::function<void(FatTree&)> at_start = [](FatTree&) {}; ///< called when the flows start
    std::function<void(FatTree&)> later = [](FatTree&) {};    ///< called `later_after` the start
    Duration later_after = std::chrono::microseconds(60);
};

struct Outcome {
    std::vector<double> fct_us; ///< of each flow, from the start of all
    FatTree::Totals net;
    std::map<std::string, std::uint64_t> counters; ///< sums over the hosts
    bool complete = false;
};

/// Connections are made first; then the flows start together. Ends the program if an engine reports an error.
Outcome play(std::vector<Flow> flows, const Setup& setup, const FatTree::Config& tree_config);

} // namespace srd::sim
