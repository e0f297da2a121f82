// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// srd perf: what "srd bench --json" measured, as a picture (SVG): latency and bandwidth against the messages'
// size, a line for each run, both axes logarithmic.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace srd::tool {

struct PerfRow {
    double size = 0;
    double median_us = 0;
    double p99_us = 0;
    double bytes_per_second = 0;
};

struct PerfRun {
    std::string name; ///< "srd eth0"
    std::vector<PerfRow> rows;
};

/// Throws std::runtime_error that says what is wrong with it.
PerfRun read_run(std::istream& in);

void write_plot(const std::vector<PerfRun>& runs, std::ostream& out);

} // namespace srd::tool
