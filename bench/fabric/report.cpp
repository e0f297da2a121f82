// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

namespace srd::sim {
namespace {

constexpr std::array<std::uint64_t, 3> class_limits{100'000, 1'000'000, ~std::uint64_t{0}};

/// Over the seeds.
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

/// Of flows.
struct Spread {
    double mean = 0, p50 = 0, p99 = 0, worst = 0;

    explicit Spread(std::vector<double> values)
    {
        if (values.empty()) {
            return;
        }
        std::sort(values.begin(), values.end());
        for (const double value : values) {
            mean += value / static_cast<double>(values.size());
        }
        p50 = values[values.size() / 2];
        p99 = values[values.size() * 99 / 100];
        worst = values.back();
    }
};

std::vector<SizeClass> classes_of(const std::vector<Flow>& flows)
{
    std::vector<SizeClass> classes;
    std::uint64_t from = 0;
    for (const std::uint64_t limit : class_limits) {
        std::vector<double> slowdowns;
        for (const Flow& flow : flows) {
            if (flow.bytes > from && flow.bytes <= limit) {
                slowdowns.push_back(Outcome::time_us(flow) / flow.ideal_us);
            }
        }
        const Spread spread(slowdowns);
        classes.push_back({limit, slowdowns.size(), spread.p50, spread.p99});
        from = limit;
    }
    return classes;
}

std::string name_of(const SizeClass& size)
{
    return size.up_to_bytes == class_limits.back()
               ? "longer flows"
               : "flows to " + std::to_string(size.up_to_bytes / 1000) + " KB";
}

nlohmann::json json_of(const std::string& experiment, const Result& result)
{
    nlohmann::json row = {{"experiment", experiment},
                          {"seed", result.seed},
                          {"ideal_us", result.ideal_us},
                          {"mean_us", result.mean_us},
                          {"p50_us", result.p50_us},
                          {"p99_us", result.p99_us},
                          {"worst_us", result.worst_us},
                          {"mean_percent", result.mean_percent},
                          {"p50_percent", result.p50_percent},
                          {"p99_percent", result.p99_percent},
                          {"worst_percent", result.worst_percent},
                          {"fair_percent", result.fair_percent},
                          {"completion_us", result.completion_us},
                          {"goodput_gbit", result.goodput_gbit},
                          {"sent", result.net.sent},
                          {"dropped", result.net.dropped},
                          {"blackholed", result.net.blackholed},
                          {"marked", result.net.marked},
                          {"again", result.again},
                          {"spurious", result.spurious},
                          {"dropped_percent", result.dropped_percent()},
                          {"marked_percent", result.marked_percent()},
                          {"again_percent", result.again_percent()},
                          {"spurious_percent", result.spurious_percent()},
                          {"complete", result.complete}};
    for (const SizeClass& size : result.classes) {
        row["classes"].push_back({{"name", name_of(size)},
                                  {"flows", size.flows},
                                  {"p50_slowdown", size.p50_slowdown},
                                  {"p99_slowdown", size.p99_slowdown}});
    }
    return row;
}

} // namespace

Result summarize(std::uint64_t seed, const Outcome& outcome, bool by_size)
{
    std::vector<double> times;
    std::vector<double> slowdowns;
    std::set<std::uint32_t> receivers;
    double ideal_us = 0;
    double bits = 0;
    for (const Flow& flow : outcome.flows) {
        times.push_back(Outcome::time_us(flow));
        slowdowns.push_back(times.back() / flow.ideal_us);
        receivers.insert(flow.destination);
        ideal_us += flow.ideal_us;
        bits += 8 * static_cast<double>(flow.bytes);
    }
    const Spread time(times);
    const Spread slowdown(slowdowns);
    Result result;
    result.seed = seed;
    result.ideal_us = ideal_us / static_cast<double>(outcome.flows.size());
    result.mean_us = time.mean;
    result.p50_us = time.p50;
    result.p99_us = time.p99;
    result.worst_us = time.worst;
    result.mean_percent = 100 / slowdown.mean;
    result.p50_percent = 100 / slowdown.p50;
    result.p99_percent = 100 / slowdown.p99;
    result.worst_percent = 100 / slowdown.worst;
    result.completion_us = outcome.completion_us();
    result.goodput_gbit = bits / static_cast<double>(receivers.size()) / (1000 * result.completion_us);
    result.again = outcome.counters.at("retransmits_rack") + outcome.counters.at("retransmits_probe") +
                   outcome.counters.at("retransmits_timeout");
    result.spurious = outcome.counters.at("retransmits_spurious");
    result.net = outcome.net;
    result.complete = outcome.complete;
    if (by_size) {
        result.classes = classes_of(outcome.flows);
    }
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

namespace {

/// Of the table. Each shows the median over the seeds but for `least`.
struct Column {
    const char* name;
    int width;
    int digits;
    double (*value)(const Result&);
};
constexpr double worst_of(const Result& result)
{
    return result.worst_percent;
}
constexpr Column columns[] = {
    {"ideal us", 9, 1, [](const Result& r) { return r.ideal_us; }},
    {"mean", 6, 1, [](const Result& r) { return r.mean_percent; }},
    {"p50", 6, 1, [](const Result& r) { return r.p50_percent; }},
    {"p99", 6, 1, [](const Result& r) { return r.p99_percent; }},
    {"slowest", 7, 1, worst_of},
    {"least", 6, 1, worst_of},
    {"fair", 6, 1, [](const Result& r) { return r.fair_percent; }},
    {"Gbit/s", 7, 1, [](const Result& r) { return r.goodput_gbit; }},
    {"done us", 9, 1, [](const Result& r) { return r.completion_us; }},
    {"dropped", 8, 2, [](const Result& r) { return r.dropped_percent(); }},
    {"again", 6, 2, [](const Result& r) { return r.again_percent(); }},
    {"needless", 9, 2, [](const Result& r) { return r.spurious_percent(); }},
    {"marked", 7, 1, [](const Result& r) { return r.marked_percent(); }},
};

double value_of(const Column& column, const std::vector<Result>& results)
{
    if (std::string(column.name) != "least") {
        return median(results, column.value);
    }
    double least = column.value(results.front());
    for (const Result& result : results) {
        least = std::min(least, column.value(result));
    }
    return least;
}

} // namespace

void Report::print() const
{
    const Shape& shape = config_.shape;
    std::printf(
        "%u plane%s of %u tiers, %u hosts: %u on each edge switch of %u links up (%u:1), %u ways between "
        "distant ones; "
        "%.0f Gbit/s links, %.1f us per hop\nswitches: drop-tail, %u bytes per port, ECN mark above %u "
        "bytes, no trimming; packets of 4150 bytes\n",
        shape.planes, shape.planes == 1 ? "" : "s", shape.tiers(), shape.host_count(), shape.hosts, shape.ups,
        shape.oversubscription(), shape.planes * shape.ups * std::max(shape.cores, 1U),
        8000.0 / config_.ps_per_byte, static_cast<double>(config_.hop_delay.count()) * 1e-3,
        config_.queue_bytes, config_.mark_bytes);
    std::printf(
        "Medians over the seeds. Flows' shares of the ideal, %%: mean, middle, 99th of 100, slowest; least: "
        "the slowest of all seeds;\nfair: the slowest, if all were perfect. Gbit/s: payload per receiver, "
        "until the last flow is done. Packets, %% of those sent:\ndropped, sent again, of these in vain "
        "(needless), marked.\n");
    std::printf("%-40s %5s", "experiment", "seeds");
    for (const Column& column : columns) {
        std::printf(" %*s", column.width, column.name);
    }
    std::printf("\n");
    for (const Row& row : rows_) {
        print_row(row);
    }
}

void Report::print_row(const Row& row)
{
    const std::vector<Result>& results = row.results;
    std::printf("%-40s %5zu", row.experiment.c_str(), results.size());
    for (const Column& column : columns) {
        std::printf(" %*.*f", column.width, column.digits, value_of(column, results));
    }
    const bool complete =
        std::all_of(results.begin(), results.end(), [](const Result& result) { return result.complete; });
    std::printf("%s\n", complete ? "" : "  INCOMPLETE");
    for (std::size_t index = 0; index < results.front().classes.size(); ++index) {
        std::printf("    %-36s slowdown p50 %.2f, p99 %.2f (%zu flows with the first seed)\n",
                    name_of(results.front().classes[index]).c_str(),
                    median(results, [&](const Result& r) { return r.classes[index].p50_slowdown; }),
                    median(results, [&](const Result& r) { return r.classes[index].p99_slowdown; }),
                    results.front().classes[index].flows);
    }
}

bool Report::write_json(const std::string& path) const
{
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& [name, results] : rows_) {
        for (const Result& result : results) {
            rows.push_back(json_of(name, result));
        }
    }
    const Shape& shape = config_.shape;
    const nlohmann::json document = {{"switch", "drop-tail+ecn"},
                                     {"hosts", shape.host_count()},
                                     {"tiers", shape.tiers()},
                                     {"planes", shape.planes},
                                     {"oversubscription", shape.oversubscription()},
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
