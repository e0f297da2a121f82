// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What experiments of fabric_sim came to, over their seeds: a table for people, JSON for programs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flows.hpp"

namespace srd::sim {

/// One experiment with one seed. Shares are percent of the ideal.
struct Result {
    std::uint64_t seed = 0;
    double ideal_us = 0;
    double mean_us = 0;
    double p99_us = 0; ///< of the flows
    double worst_us = 0;
    std::uint64_t again = 0; ///< packets sent again
    std::uint64_t spurious = 0;
    FatTree::Totals net;
    bool complete = false;

    double mean_percent() const noexcept { return 100 * ideal_us / mean_us; }
    double worst_percent() const noexcept { return 100 * ideal_us / worst_us; }
};

Result summarize(std::uint64_t seed, double ideal_us, const Outcome& outcome);

class Report {
public:
    explicit Report(const FatTree::Config& config) : config_(config) {}

    void add(const std::string& experiment, const Result& result);
    /// One line for each experiment: medians over the seeds, the least of the slowest flows, sums.
    void print() const;
    /// False: the file could not be written, and a line said why.
    bool write_json(const std::string& path) const;
    /// Some flow was not done in time.
    bool failed() const noexcept { return failed_; }

private:
    struct Row {
        std::string experiment;
        std::vector<Result> results;
    };

    FatTree::Config config_;
    std::vector<Row> rows_;
    bool failed_ = false;
};

} // namespace srd::sim
