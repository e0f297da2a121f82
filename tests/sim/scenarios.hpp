// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Named families of runs. A scenario and a seed give exactly one RunConfig.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "sim/run.hpp"

namespace srd::sim {

struct Scenario {
    const char* name;
    const char* what; ///< in one sentence
    void (*shape)(RunConfig& config, SimRandom& random);
    bool canary = false; ///< a broken variant: the checkers must catch it
};

std::span<const Scenario> scenarios();
/// Null when there is none of that name.
const Scenario* find_scenario(const std::string& name);
RunConfig make_run(const Scenario& scenario, std::uint64_t seed);
/// The shell command that repeats a run.
std::string replay_command(const std::string& scenario, std::uint64_t seed);

/// What add_traffic() makes.
struct Traffic {
    std::uint32_t messages = 200;
    Duration horizon = std::chrono::milliseconds(5); ///< messages are submitted within it
    std::uint64_t longest = 1 << 20;
    std::uint64_t budget = 12 << 20; ///< total bytes, roughly
    double late_receives = 0.3;      ///< share of receives posted well after the message
    double short_buffers = 0.05;     ///< share of receives that truncate
    bool identified = false;         ///< every message carries its identity (needed when peers may fail)
    bool small_only = false;
};
/// Messages between random pairs of the run's hosts.
void add_traffic(RunConfig& config, SimRandom& random, const Traffic& traffic);

} // namespace srd::sim
