// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fabric_sim: the real engine on simulated hosts (128, or --hosts) of a fat-tree. Flow
// completion times as a share of the ideal, which is the same flow alone in
// the same fabric. The switches are drop-tail with ECN marks: no trimming, so
// the figures stand beside, not above, those of trimming fabrics.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fabric_tree.hpp"
#include "support/sim/sim_host.hpp"
#include "support/sim/sim_random.hpp"

namespace {

using namespace srd;
using namespace srd::sim;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Time flows_start{milliseconds(1)}; ///< connections are made before
constexpr std::uint64_t warm_up_cookie = ~std::uint64_t{0};

struct Flow {
    std::uint32_t source = 0;
    std::uint32_t destination = 0;
    std::uint64_t bytes = 0;
    Time done = time_never;
};

struct Setup {
    std::uint16_t paths = 64;
    std::uint64_t seed = 1;
    PathPolicy policy = PathPolicy::adaptive;
    CongestionPolicy congestion = CongestionPolicy::swift;
    std::function<void(FatTree&)> at_start = [](FatTree&) {}; ///< called when the flows start
    std::function<void(FatTree&)> later = [](FatTree&) {};    ///< called `later_after` the start
    Duration later_after = microseconds(60);
};

struct Outcome {
    std::vector<double> fct_us;
    FatTree::Totals net;
    std::map<std::string, std::uint64_t> counters;
    bool complete = false;
};

/// Sends the flows of one host, and takes what comes.
class FlowApp final : public SimApp {
public:
    FlowApp(std::vector<Flow>& flows, std::uint32_t host, std::vector<std::byte>& memory)
        : flows_(flows), host_(host), memory_(memory)
    {
    }

    void on_event(SimHost& host, const Event& event) override
    {
        if (event.kind == Event::Kind::message) {
            const iovec sink{memory_.data(), event.length};
            Accepted outcome{};
            if (host.accept(event.message, std::span(&sink, 1), event.tag, outcome) != Status::ok) {
                host.refuse(event.message);
            } else if (outcome == Accepted::complete) {
                finish(event.tag, host.now());
            }
        } else if (event.kind == Event::Kind::receive_done) {
            finish(event.cookie, host.now());
        }
        if (event.cause != Cause::none) {
            std::fprintf(stderr, "fabric_sim: host %u: %s\n", host_, to_string(event.cause));
            std::exit(1);
        }
    }

    Time on_pass(SimHost& host, Time now) override
    {
        const bool starting = now >= flows_start;
        if (stage_ == 2 || (stage_ == 1 && !starting)) {
            return stage_ == 2 ? time_never : flows_start;
        }
        for (std::size_t index = 0; index < flows_.size(); ++index) {
            if (flows_[index].source == host_) {
                submit(host, flows_[index], starting ? index : warm_up_cookie, starting);
            }
        }
        ++stage_;
        return now;
    }

private:
    void submit(SimHost& host, const Flow& flow, std::uint64_t tag, bool whole)
    {
        const iovec source{memory_.data(), whole ? flow.bytes : 0};
        Operation operation;
        operation.peer = host.open_peer(flow.destination);
        operation.iov = std::span(&source, 1);
        operation.tag = tag;
        operation.flags.tagged = true;
        operation.cookie = tag;
        if (host.submit(operation) != Status::ok) {
            std::fprintf(stderr, "fabric_sim: host %u cannot submit\n", host_);
            std::exit(1);
        }
    }

    void finish(std::uint64_t tag, Time now)
    {
        if (tag != warm_up_cookie) {
            flows_[tag].done = now;
        }
    }

    std::vector<Flow>& flows_;
    const std::uint32_t host_;
    std::vector<std::byte>& memory_; ///< all flows come from it and go to it: only times matter here
    int stage_ = 0;
};

class Later final : public SimTarget {
public:
    Later(FatTree& tree, const Setup& setup) : tree_(tree), setup_(setup) {}
    void fire(std::uint32_t what, std::uint64_t) override
    {
        (what == 0 ? setup_.at_start : setup_.later)(tree_);
    }

private:
    FatTree& tree_;
    const Setup& setup_;
};

SimHostOptions host_options(const Setup& setup)
{
    SimHostOptions options;
    options.io.caps.max_packet = 4150;
    options.io.caps.path_count = setup.paths;
    options.io.caps.rx_buffer = 0;
    options.limits = small_limits();
    options.tuning.paths = setup.policy;
    options.tuning.congestion = setup.congestion;
    options.check_period = 0;
    options.pass_gap_min = std::chrono::nanoseconds(100);
    options.pass_gap_max = std::chrono::nanoseconds(300);
    return options;
}

Outcome play(std::vector<Flow> flows, const Setup& setup, const FatTree::Config& tree_config)
{
    FatTree::Config config = tree_config;
    config.hash_seed = setup.seed;
    SimClock clock;
    FatTree tree(clock, config);
    Later later(tree, setup);
    std::uint64_t longest = 0;
    for (const Flow& flow : flows) {
        longest = std::max(longest, flow.bytes);
    }
    std::vector<std::byte> memory(longest);
    std::vector<std::unique_ptr<FlowApp>> apps;
    std::vector<std::unique_ptr<SimHost>> hosts;
    const SimHostOptions options = host_options(setup);
    for (std::uint32_t host = 0; host < tree.host_count(); ++host) {
        apps.push_back(std::make_unique<FlowApp>(flows, host, memory));
        hosts.push_back(
            std::make_unique<SimHost>(tree, host, options, *apps.back(), mix64(setup.seed + host)));
    }
    clock.at(flows_start, later, 0);
    clock.at(flows_start + setup.later_after, later, 1);
    const auto all_done = [&] {
        return std::all_of(flows.begin(), flows.end(),
                           [](const Flow& flow) { return flow.done != time_never; });
    };
    const Time limit = flows_start + std::chrono::seconds(2);
    bool more = true;
    while (more && !all_done()) {
        for (int events = 0; more && events < 2000; ++events) {
            more = clock.step(limit);
        }
    }
    Outcome outcome;
    outcome.complete = all_done();
    outcome.net = tree.totals();
    for (const Flow& flow : flows) {
        outcome.fct_us.push_back(static_cast<double>((flow.done - flows_start).count()) * 1e-3);
    }
    for (const auto& host : hosts) {
        for_each_counter(host->counters(), [&](const char* name, const char*, std::uint64_t value) {
            outcome.counters[name] += value;
        });
    }
    return outcome;
}

/// Every host sends to one other host and receives from one other.
std::vector<Flow> permutation(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed)
{
    std::vector<std::uint32_t> order(hosts);
    for (std::uint32_t host = 0; host < hosts; ++host) {
        order[host] = host;
    }
    SimRandom random(seed);
    for (std::uint32_t host = hosts - 1; host > 0; --host) {
        std::swap(order[host], order[random.between(0, host)]);
    }
    std::vector<Flow> flows; // a cycle through all hosts in random order: nobody sends to itself
    for (std::uint32_t index = 0; index < hosts; ++index) {
        flows.push_back({order[index], order[(index + 1) % hosts], bytes});
    }
    return flows;
}

std::vector<Flow> incast(std::uint32_t hosts, std::uint32_t senders, std::uint64_t bytes, std::uint64_t seed)
{
    std::vector<Flow> ring = permutation(hosts, bytes, seed);
    const std::uint32_t receiver = ring.front().source;
    std::vector<Flow> flows;
    for (std::uint32_t index = 1; index <= senders; ++index) {
        flows.push_back({ring[index].source, receiver, bytes});
    }
    return flows;
}

struct Row {
    std::string name;
    double ideal_us = 0;
    double mean_us = 0;
    double worst_us = 0;
    double mean_share = 0; ///< of the ideal, mean over flows of ideal / fct
    double worst_share = 0;
    Outcome outcome;
};

class Report {
public:
    explicit Report(const FatTree::Config& config) : config_(config)
    {
        std::printf(
            "fat-tree k=%u, %u hosts, %.0f Gbit/s links, %.1f us per hop; switches: drop-tail, %u bytes per "
            "port, ECN mark above %u bytes, no trimming; packets of 4150 bytes; ideal: the same flow alone\n",
            config.k, config.k * config.k * config.k / 4, 8000.0 / config.ps_per_byte,
            static_cast<double>(config.hop_delay.count()) * 1e-3, config.queue_bytes, config.mark_bytes);
        std::printf("%-34s %9s %9s %9s %7s %7s %8s %8s %8s %6s\n", "experiment", "ideal us", "mean us",
                    "worst us", "mean %", "worst %", "dropped", "rexmit", "spurious", "marked");
    }

    void add(const std::string& name, double ideal_us, Outcome outcome)
    {
        Row row{name, ideal_us, 0, 0, 0, 0, std::move(outcome)};
        for (const double fct : row.outcome.fct_us) {
            row.mean_us += fct / static_cast<double>(row.outcome.fct_us.size());
            row.worst_us = std::max(row.worst_us, fct);
        }
        row.mean_share = 100 * ideal_us / row.mean_us;
        row.worst_share = 100 * ideal_us / row.worst_us;
        const auto& counters = row.outcome.counters;
        const std::uint64_t again = counters.at("retransmits_rack") + counters.at("retransmits_probe") +
                                    counters.at("retransmits_timeout");
        std::printf("%-34s %9.1f %9.1f %9.1f %7.1f %7.1f %8llu %8llu %8llu %5.1f%%%s\n", name.c_str(),
                    ideal_us, row.mean_us, row.worst_us, row.mean_share, row.worst_share,
                    static_cast<unsigned long long>(row.outcome.net.dropped + row.outcome.net.blackholed),
                    static_cast<unsigned long long>(again),
                    static_cast<unsigned long long>(counters.at("retransmits_spurious")),
                    100.0 * static_cast<double>(row.outcome.net.marked) /
                        static_cast<double>(row.outcome.net.sent),
                    row.outcome.complete ? "" : "  INCOMPLETE");
        std::fflush(stdout);
        failed_ = failed_ || !row.outcome.complete;
        rows_.push_back(std::move(row));
    }

    bool failed() const noexcept { return failed_; }

    bool write_json(const std::string& path) const
    {
        std::FILE* const file = std::fopen(path.c_str(), "w");
        if (file == nullptr) {
            std::perror(path.c_str());
            return false;
        }
        std::fprintf(
            file,
            "{\"switch\": \"drop-tail+ecn\", \"k\": %u, \"queue_bytes\": %u, \"mark_bytes\": %u, \"rows\": [",
            config_.k, config_.queue_bytes, config_.mark_bytes);
        const char* separator = "\n";
        for (const Row& row : rows_) {
            std::fprintf(
                file,
                "%s  {\"experiment\": \"%s\", \"ideal_us\": %.2f, \"mean_us\": %.2f, \"worst_us\": %.2f, "
                "\"mean_percent\": %.2f, \"worst_percent\": %.2f, \"dropped\": %llu, \"blackholed\": %llu, "
                "\"sent\": %llu}",
                separator, row.name.c_str(), row.ideal_us, row.mean_us, row.worst_us, row.mean_share,
                row.worst_share, static_cast<unsigned long long>(row.outcome.net.dropped),
                static_cast<unsigned long long>(row.outcome.net.blackholed),
                static_cast<unsigned long long>(row.outcome.net.sent));
            separator = ",\n";
        }
        std::fprintf(file, "\n]}\n");
        return std::fclose(file) == 0;
    }

private:
    FatTree::Config config_;
    std::vector<Row> rows_;
    bool failed_ = false;
};

struct Options {
    std::string only;
    std::string json;
    std::uint64_t bytes = 2'000'000;
    std::uint64_t seed = 1;
    bool verbose = false;
    FatTree::Config tree;
};

Options parse(int argc, char** argv)
{
    Options options;
    for (int index = 1; index < argc; ++index) {
        const std::string name = argv[index];
        const char* const value = index + 1 < argc ? argv[index + 1] : nullptr;
        if (name == "--only" && value != nullptr) {
            options.only = value;
        } else if (name == "--json" && value != nullptr) {
            options.json = value;
        } else if (name == "--seed" && value != nullptr) {
            options.seed = std::strtoull(value, nullptr, 0);
        } else if (name == "--bytes" && value != nullptr) {
            options.bytes = std::strtoull(value, nullptr, 0);
        } else if (name == "--mark" && value != nullptr) {
            options.tree.mark_bytes = static_cast<std::uint32_t>(std::strtoul(value, nullptr, 0)) * 4150;
        } else if (name == "--hosts" && value != nullptr) {
            const std::uint64_t hosts = std::strtoull(value, nullptr, 0);
            options.tree.k = 2; // the smallest tree with so many
            while (std::uint64_t{options.tree.k} * options.tree.k * options.tree.k / 4 < hosts) {
                options.tree.k += 2;
            }
        } else if (name == "--verbose") {
            options.verbose = true;
            continue;
        } else {
            std::fprintf(stderr, "usage: fabric_sim [--only TEXT] [--hosts N] [--seed N] [--bytes N] "
                                 "[--mark PACKETS] [--json FILE] [--verbose]\n"
                                 "  --only TEXT  the experiments whose name contains it\n");
            std::exit(2);
        }
        ++index;
    }
    return options;
}

} // namespace

int main(int argc, char** argv)
{
    const Options options = parse(argc, argv);
    const FatTree::Config& tree = options.tree;
    const std::uint32_t hosts = tree.k * tree.k * tree.k / 4;
    Report report(tree);
    const auto run = [&](const std::string& name, double ideal_us, const std::vector<Flow>& flows,
                         Setup setup) {
        if (name.find(options.only) == std::string::npos) {
            return;
        }
        setup.seed = options.seed;
        const Outcome outcome = play(flows, setup, tree);
        report.add(name, ideal_us, outcome);
        for (const auto& [counter, value] : outcome.counters) {
            if (options.verbose && value != 0) {
                std::printf("    %-24s %llu\n", counter.c_str(), static_cast<unsigned long long>(value));
            }
        }
    };
    const auto swarm = permutation(hosts, options.bytes, options.seed);
    const Outcome lone = play({{0, hosts - 1, options.bytes}}, {.seed = options.seed}, tree);
    const double ideal = lone.fct_us.front();
    report.add("lone flow", ideal, lone);
    for (const std::uint16_t paths : std::initializer_list<std::uint16_t>{1, 4, 16, 64}) {
        run("permutation, " + std::to_string(paths) + " paths", ideal, swarm, {.paths = paths});
    }
    run("permutation, 64 paths, round robin", ideal, swarm, {.policy = PathPolicy::round_robin});
    run("permutation, 64 paths, fixed window", ideal, swarm, {.congestion = CongestionPolicy::fixed});
    const double wire_us = static_cast<double>(options.bytes) * tree.ps_per_byte * 1e-6;
    for (const std::uint32_t senders : {8U, 48U, 127U}) {
        run("incast " + std::to_string(senders) + ":1", ideal + wire_us * (senders - 1),
            incast(hosts, senders, options.bytes, options.seed), {});
    }
    const auto cut = [](FatTree& fabric) { fabric.cut_edge_link(0, 0, 0); };
    run("link down at the start", ideal, swarm, {.at_start = cut});
    run("link down after 60 us", ideal, swarm, {.later = cut});
    run("slow links: 4 core links at 10 %", ideal, swarm, {.at_start = [](FatTree& fabric) {
            for (std::uint32_t up = 0; up < 4; ++up) {
                fabric.slow_core_link(up, up, up, 10);
            }
        }});
    std::printf("%.1f s of CPU\n", static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
    return (options.json.empty() || report.write_json(options.json)) && !report.failed() ? 0 : 1;
}
