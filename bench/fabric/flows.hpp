// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Flows between the simulated hosts of a tree: each is a tagged message from one engine to another.
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
    static constexpr std::uint32_t at_its_time = ~std::uint32_t{0};

    std::uint32_t source = 0;
    std::uint32_t destination = 0;
    std::uint64_t bytes = 0;
    Duration start{}; ///< after the first
    /// Starts when this flow is done, which is to its source or from it.
    std::uint32_t after = at_its_time;
    std::uint32_t round = 0; ///< those of one go together, after those of the round before
    bool background = false; ///< its host sends by one path; nobody waits for it
    double ideal_us = 0;     ///< its time if nobody were in its way
    Time done = time_never;
};

struct Setup {
    std::uint16_t paths = 64;
    std::uint16_t burst = 1; ///< packets that leave on one path, as with GSO
    std::uint64_t seed = 1;
    PathPolicy policy = PathPolicy::adaptive;
    CongestionPolicy congestion = CongestionPolicy::swift;
    std::uint32_t grant_budget = Tuning{}.grant_budget;
    Duration noise{}; ///< if any: each host looks away about once in a millisecond, for so long at most
    std::function<void(FatTree&)> at_start{}; ///< called when the flows start, if anything
    std::function<void(FatTree&)> later{};    ///< called `later_after` the start
    Duration later_after = std::chrono::microseconds(60);
    std::string name{};                     ///< in the lines that tell how far it is
    std::chrono::seconds progress_every{5}; ///< of the world's time, from one line to the next
};

struct Outcome {
    std::vector<Flow> flows; ///< as they went; without those in the background
    FatTree::Totals net;
    std::map<std::string, std::uint64_t> counters; ///< sums over the hosts
    bool complete = false;

    /// Of a flow, from its start; if it waited for another one, from the start of all.
    static double time_us(const Flow& flow);
    /// From the start of the first flow to the end of the last one.
    double completion_us() const;
};

/// Connections are made first; then the flows go. Ends the program if an engine reports an error.
Outcome play(std::vector<Flow> flows, const Setup& setup, const FatTree::Config& config);

} // namespace srd::sim
