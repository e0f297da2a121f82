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
    bool mixed = false;  ///< with remote memory access beside the messages
    bool alone = false;  ///< its traffic is its point: there is no mixed variant
};

std::span<const Scenario> scenarios();
/// Null when there is none of that name.
const Scenario* find_scenario(const std::string& name);
/// Where numbers begin.
enum class Numbers : std::uint8_t {
    usual,
    end,    ///< a little before they wrap
    middle, ///< a little before the middle, where a difference changes its sign
};
RunConfig make_run(const Scenario& scenario, std::uint64_t seed, Numbers numbers = Numbers::usual);
/// The shell command that repeats a run.
std::string replay_command(const std::string& scenario, std::uint64_t seed, Numbers numbers = Numbers::usual);

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
/// The same, from `start` on.
void add_traffic_at(Time start, RunConfig& config, SimRandom& random, const Traffic& traffic);
/// A short message from everybody to everybody, at `when`: whose connection is history finds that out.
void add_greetings(Time when, RunConfig& config);

/// What add_rma_traffic() makes.
struct RmaTraffic {
    std::uint32_t operations = 250;
    Duration horizon = std::chrono::milliseconds(5); ///< operations are submitted within it
    std::uint64_t longest = 300'000;                 ///< bytes
    std::uint64_t budget = 8 << 20;                  ///< total bytes, roughly
    std::uint32_t lanes = 12;
    double atomics = 0.35;  ///< share
    double mistakes = 0.06; ///< share of operations that their target must reject
    double closing = 0.06;  ///< of the rest: on memory that is closed under way
    double reads = 0.35;    ///< of the rest: reads of constant memory; the others work on lanes
    double fences = 0.04;
};
/// Writes, reads and atomics between random pairs; also fences some of the messages there are.
void add_rma_traffic(RunConfig& config, SimRandom& random, const RmaTraffic& traffic);

// By subject. scenarios() also has each of the first two with remote memory access added.
std::span<const Scenario> network_scenarios(); ///< what a network does
std::span<const Scenario> host_scenarios();    ///< what hosts do, how they fail, all at once; and canaries
std::span<const Scenario> long_scenarios();    ///< what takes longer than patience; and clocks
std::span<const Scenario> rma_scenarios();     ///< made for remote memory access

// What the shapes of scenarios are made of.
Duration pick(SimRandom& random, Duration low, Duration high);
Time pick_time(SimRandom& random, Duration low, Duration high);
std::uint32_t pick_host(const RunConfig& config, SimRandom& random);
void hosts_between(RunConfig& config, SimRandom& random, std::uint32_t low, std::uint32_t high);

} // namespace srd::sim
