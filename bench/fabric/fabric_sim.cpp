// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fabric_sim: the real engine on simulated hosts (128, or --hosts) of a fat-tree. Flow
// completion times as a share of the ideal, which is the same flow alone in
// the same fabric. The switches are drop-tail with ECN marks: no trimming, so
// the figures stand beside, not above, those of trimming fabrics.
#include <cstdio>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "flows.hpp"
#include "report.hpp"

namespace {

using namespace srd;
using namespace srd::sim;

struct Options {
    std::string only;
    std::string json;
    std::uint64_t bytes = 2'000'000;
    std::uint64_t seed = 1;
    std::uint32_t seeds = 1;
    std::uint32_t noise_us = 0;
    bool verbose = false;
    FatTree::Config tree;
};

/// Ends the program if there is nothing to do.
Options parse(int argc, char** argv)
{
    Options options;
    std::uint32_t hosts = 128;
    std::uint32_t rate = 100;
    std::uint32_t queue = 35;
    std::uint32_t mark = 9;
    CLI::App app("Flows between the hosts of a simulated fat-tree, as a share of the ideal.");
    app.add_option("--only", options.only, "the experiments whose name contains this");
    app.add_option("--hosts", hosts, "the smallest tree with so many")
        ->check(CLI::Range(2, 65536))
        ->capture_default_str();
    app.add_option("--rate", rate, "of all links, Gbit/s")->check(CLI::Range(1, 8000))->capture_default_str();
    app.add_option("--queue", queue, "of a port, packets")
        ->check(CLI::Range(2, 100000))
        ->capture_default_str();
    app.add_option("--mark", mark, "packets that find so many before them are marked")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    app.add_option("--bytes", options.bytes, "of each flow")->capture_default_str();
    app.add_option("--seed", options.seed, "the first")->capture_default_str();
    app.add_option("--seeds", options.seeds, "how many")->check(CLI::Range(1, 10000))->capture_default_str();
    app.add_option("--noise", options.noise_us, "hosts look away for so many us at most, once in a ms");
    app.add_option("--json", options.json, "file for the results of every seed");
    app.add_flag("--verbose", options.verbose, "the engines' counters, too");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        std::exit(app.exit(error));
    }
    options.tree.k = 2;
    while (std::uint64_t{options.tree.k} * options.tree.k * options.tree.k / 4 < hosts) {
        options.tree.k += 2;
    }
    options.tree.ps_per_byte = 8000 / rate;
    options.tree.queue_bytes = queue * 4150;
    options.tree.mark_bytes = mark * 4150;
    return options;
}

/// The experiments with one seed.
class Run {
public:
    Run(const Options& options, std::uint64_t seed, Report& report)
        : options_(options), seed_(seed), report_(report),
          hosts_(options.tree.k * options.tree.k * options.tree.k / 4),
          wire_us_(static_cast<double>(options.bytes) * options.tree.ps_per_byte * 1e-6)
    {
    }

    void all()
    {
        permutations();
        for (const std::uint32_t senders : {8U, 48U, 127U}) {
            if (senders < hosts_) {
                play_one("incast " + std::to_string(senders) + ":1",
                         lone_us(options_.bytes) + wire_us_ * (senders - 1),
                         [&] { return incast(hosts_, senders, options_.bytes, seed_); }, {});
            }
        }
        faults();
        // Both with the bytes of one flow per host, a share of them to each other one.
        const std::uint64_t share = options_.bytes / hosts_;
        const double rest_us = wire_us_ * (hosts_ - 2) / hosts_;
        play_one("all-to-all", lone_us(share) + rest_us, [&] { return all_to_all(hosts_, share); }, {});
        play_one("ring allreduce", lone_us(share) * 2 * (hosts_ - 1),
                 [&] { return ring_allreduce(hosts_, options_.bytes, seed_); }, {});
    }

private:
    void permutations()
    {
        const auto swarm = [&] { return permutation(hosts_, options_.bytes, seed_); };
        for (const int paths : {1, 4, 16, 64}) {
            play_one("permutation, " + std::to_string(paths) + " paths", lone_us(options_.bytes), swarm,
                     {.paths = static_cast<std::uint16_t>(paths)});
        }
        play_one("permutation, 64 paths, round robin", lone_us(options_.bytes), swarm,
                 {.policy = PathPolicy::round_robin});
        play_one("permutation, 64 paths, fixed window", lone_us(options_.bytes), swarm,
                 {.congestion = CongestionPolicy::fixed});
        play_one("permutation, perfect spread", lone_us(options_.bytes), swarm, {.perfect_spread = true});
    }

    void faults()
    {
        const auto swarm = [&] { return permutation(hosts_, options_.bytes, seed_); };
        const auto cut = [](FatTree& fabric) { fabric.cut_edge_link(0, 0, 0); };
        play_one("link down at the start", lone_us(options_.bytes), swarm, {.at_start = cut});
        play_one("link down after 60 us", lone_us(options_.bytes), swarm, {.later = cut});
        play_one("slow links: 4 core links at 10 %", lone_us(options_.bytes), swarm,
                 {.at_start = [](FatTree& fabric) {
                     for (std::uint32_t up = 0; up < 4; ++up) {
                         fabric.slow_core_link(up, up, up, 10);
                     }
                 }});
    }

    template <typename Flows>
    void play_one(const std::string& name, double ideal_us, Flows&& flows, Setup setup)
    {
        if (name.find(options_.only) == std::string::npos) {
            return;
        }
        std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed_), name.c_str());
        setup.seed = seed_;
        setup.noise = std::chrono::microseconds(options_.noise_us);
        const Outcome outcome = play(flows(), setup, options_.tree);
        report_.add(name, summarize(seed_, ideal_us, outcome));
        for (const auto& [counter, value] : outcome.counters) {
            if (options_.verbose && value != 0) {
                std::printf("    %-24s %llu\n", counter.c_str(), static_cast<unsigned long long>(value));
            }
        }
    }

    /// One flow, alone.
    double lone_us(std::uint64_t bytes)
    {
        double& known = lone_us_[bytes];
        if (known == 0) {
            known = play({{0, hosts_ - 1, bytes}}, {.seed = seed_}, options_.tree).fct_us.front();
        }
        return known;
    }

    const Options& options_;
    const std::uint64_t seed_;
    Report& report_;
    const std::uint32_t hosts_;
    const double wire_us_;                    ///< a flow's bytes on a link
    std::map<std::uint64_t, double> lone_us_; ///< by bytes
};

} // namespace

int main(int argc, char** argv)
{
    const Options options = parse(argc, argv);
    Report report(options.tree);
    for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
        Run(options, seed, report).all();
    }
    report.print();
    std::printf("%.1f s of CPU\n", static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
    return (options.json.empty() || report.write_json(options.json)) && !report.failed() ? 0 : 1;
}
