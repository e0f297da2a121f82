// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What experiments of fabric_sim came to, over their seeds: a table for people, JSON for programs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "flows.hpp"

namespace srd::sim {

/// Flows of like length.
struct SizeClass {
    std::uint64_t up_to_bytes = 0;
    std::size_t flows = 0;
    double p50_slowdown = 0; ///< times as long as alone
    double p99_slowdown = 0;
};

/// One experiment with one seed. Shares are percent of the ideal: 100 for a flow that nobody was in the way
/// of.
struct Result {
    std::uint64_t seed = 0;
    double ideal_us = 0; ///< of the mean flow
    double mean_us = 0;
    double p50_us = 0; ///< of the flows
    double p99_us = 0;
    double worst_us = 0;
    double mean_percent = 0;
    double p50_percent = 0;
    double p99_percent = 0; ///< of a hundred flows, one has less
    double worst_percent = 0;
    double fair_percent = 100; ///< what the slowest flow of a perfect fabric and transport would have
    double completion_us = 0;
    double goodput_gbit = 0; ///< payload, per host that receives, until the last flow is done
    std::uint64_t again = 0; ///< packets sent again
    std::uint64_t spurious = 0;
    FatTree::Totals net;
    std::vector<SizeClass> classes; ///< of flows of different lengths
    bool complete = false;

    double dropped_percent() const { return of_sent(net.dropped + net.blackholed); }
    double marked_percent() const { return of_sent(net.marked); }
    double again_percent() const { return of_sent(again); }
    double spurious_percent() const { return of_sent(spurious); }

private:
    double of_sent(std::uint64_t packets) const
    {
        return 100.0 * static_cast<double>(packets) / static_cast<double>(net.sent);
    }
};

/// `by_size`: with classes.
Result summarize(std::uint64_t seed, const Outcome& outcome, bool by_size);

class Report {
public:
    explicit Report(const FatTree::Config& config) : config_(config) {}

    void add(const std::string& experiment, const Result& result);
    /// One line for each experiment: medians over the seeds, and the least of the slowest flows.
    void print() const;
    /// False: the file could not be written, and a line said why.
    bool write_json(const std::string& path) const;
    bool is_empty() const noexcept { return rows_.empty(); }
    /// Some flow was not done in time.
    bool failed() const noexcept { return failed_; }

private:
    struct Row {
        std::string experiment;
        std::vector<Result> results;
    };

    static void print_row(const Row& row);

    FatTree::Config config_;
    std::vector<Row> rows_;
    bool failed_ = false;
};

} // namespace srd::sim
