// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The experiments of fabric_sim.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report.hpp"
#include "workloads.hpp"

namespace srd::sim {

struct Options {
    std::string only;
    std::string json;
    std::uint64_t bytes = 2'000'000;
    std::uint64_t seed = 1;
    std::uint32_t seeds = 1;
    std::uint32_t noise_us = 0;
    std::uint32_t progress_s = 5;
    std::vector<std::uint32_t> senders{8, 48, 127}; ///< of incasts
    LinkCount dead_links;
    LinkCount slow_links;
    double background_percent = 10;
    double load_percent = 50;    ///< of the mix
    std::uint32_t mix_us = 1000; ///< flows of the mix begin for so long
    bool ablate = false;
    bool verbose = false;
    FatTree::Config tree;
};

/// What is asked for, with that seed. The results go to the report; a line on stderr tells each experiment.
void run_experiments(const Options& options, std::uint64_t seed, Report& report);

} // namespace srd::sim
