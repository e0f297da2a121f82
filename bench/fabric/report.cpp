// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include <nlohmann/json.hpp>

namespace srd::sim {
namespace {

template <typename Value>
double median(const std::vector<Result>& results, Value&& value)
{
    std::vector<double> values;
    for (const Result& result : results) {
        values.push_back(value(result));
    }
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

template <typename Value>
std::uint64_t sum(const std::vector<Result>& results, Value&& value)
{
    std::uint64_t total = 0;
    for (const Result& result : results) {
        total += value(result);
    }
    return total;
}

} // namespace

Result summarize(std::uint64_t seed, double ideal_us, const Outcome& outcome)
{
    Result result;
    result.seed = seed;
    result.ideal_us = ideal_us;
    std::vector<double> times = outcome.fct_us;
    std::sort(times.begin(), times.end());
    for (const double time : times) {
        result.mean_us += time / static_cast<double>(times.size());
    }
    result.p99_us = times[times.size() * 99 / 100];
    result.worst_us = times.back();
    result.again = outcome.counters.at("retransmits_rack") + outcome.counters.at("retransmits_probe") +
                   outcome.counters.at("retransmits_timeout");
    result.spurious = outcome.counters.at("retransmits_spurious");
    result.net = outcome.net;
    result.complete = outcome.complete;
    return result;
}

void Report::add(const std::string& experiment, const Result& result)
{
    const auto place = std::find_if(rows_.begin(), rows_.end(),
                                    [&](const Row& row) { return row.experiment == experiment; });
    Row& row = place != rows_.end() ? *place : rows_.emplace_back(Row{experiment, {}});
    row.results.push_back(result);
    failed_ = failed_ || !result.complete;
}

void Report::print() const
{
    std::printf(
        "fat-tree k=%u, %u hosts, %.0f Gbit/s links, %.1f us per hop; switches: drop-tail, %u bytes per "
        "port, ECN mark above %u bytes, no trimming; packets of 4150 bytes\n"
        "medians over the seeds; %%: of the ideal, mean flow and slowest; least: the slowest of all seeds\n",
        config_.k, config_.k * config_.k * config_.k / 4, 8000.0 / config_.ps_per_byte,
        static_cast<double>(config_.hop_delay.count()) * 1e-3, config_.queue_bytes, config_.mark_bytes);
    std::printf("%-36s %5s %9s %9s %9s %9s %7s %8s %7s %8s %8s %8s %7s\n", "experiment", "seeds", "ideal us",
                "mean us", "p99 us", "worst us", "mean %", "worst %", "least", "dropped", "again", "spurious",
                "marked");
    for (const auto& [name, results] : rows_) {
        double least = 100;
        bool complete = true;
        for (const Result& result : results) {
            least = std::min(least, result.worst_percent());
            complete = complete && result.complete;
        }
        const auto sent = sum(results, [](const Result& result) { return result.net.sent; });
        const auto marked = sum(results, [](const Result& result) { return result.net.marked; });
        const auto dropped =
            sum(results, [](const Result& result) { return result.net.dropped + result.net.blackholed; });
        std::printf("%-36s %5zu %9.1f %9.1f %9.1f %9.1f %7.1f %8.1f %7.1f %8llu %8llu %8llu %6.1f%%%s\n",
                    name.c_str(), results.size(), median(results, [](const Result& r) { return r.ideal_us; }),
                    median(results, [](const Result& r) { return r.mean_us; }),
                    median(results, [](const Result& r) { return r.p99_us; }),
                    median(results, [](const Result& r) { return r.worst_us; }),
                    median(results, [](const Result& r) { return r.mean_percent(); }),
                    median(results, [](const Result& r) { return r.worst_percent(); }), least,
                    static_cast<unsigned long long>(dropped),
                    static_cast<unsigned long long>(sum(results, [](const Result& r) { return r.again; })),
                    static_cast<unsigned long long>(sum(results, [](const Result& r) { return r.spurious; })),
                    100.0 * static_cast<double>(marked) / static_cast<double>(sent),
                    complete ? "" : "  INCOMPLETE");
    }
}

bool Report::write_json(const std::string& path) const
{
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& [name, results] : rows_) {
        for (const Result& result : results) {
            rows.push_back({{"experiment", name},
                            {"seed", result.seed},
                            {"ideal_us", result.ideal_us},
                            {"mean_us", result.mean_us},
                            {"p99_us", result.p99_us},
                            {"worst_us", result.worst_us},
                            {"mean_percent", result.mean_percent()},
                            {"worst_percent", result.worst_percent()},
                            {"sent", result.net.sent},
                            {"dropped", result.net.dropped},
                            {"blackholed", result.net.blackholed},
                            {"marked", result.net.marked},
                            {"again", result.again},
                            {"spurious", result.spurious},
                            {"complete", result.complete}});
        }
    }
    const nlohmann::json document = {{"switch", "drop-tail+ecn"},
                                     {"k", config_.k},
                                     {"gbit_per_s", 8000.0 / config_.ps_per_byte},
                                     {"queue_bytes", config_.queue_bytes},
                                     {"mark_bytes", config_.mark_bytes},
                                     {"rows", rows}};
    std::ofstream file(path);
    file << document.dump(1) << '\n';
    file.close();
    if (!file) {
        std::perror(path.c_str());
    }
    return file.good();
}

} // namespace srd::sim
