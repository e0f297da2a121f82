// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fabric_sim: the real engine on simulated hosts (128, or --hosts) of a tree of
// switches. Flow completion times as a share of the ideal, which is what the
// same flows would take if nobody were in anybody's way who need not be. The
// switches are drop-tail with ECN marks: no trimming, so the figures stand
// beside, not above, those of trimming fabrics.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include <sys/resource.h>

#include <CLI/CLI.hpp>

#include "experiments.hpp"

namespace {

using namespace srd::sim;

/// As they are on the command line.
struct TreeOptions {
    std::uint32_t hosts = 128;
    std::uint32_t tiers = 3;
    std::uint32_t oversubscription = 1;
    std::uint32_t planes = 1;
    std::uint32_t rate = 100;
    std::uint32_t queue = 35;
    std::uint32_t mark = 9;
};

void add_tree_options(CLI::App& app, TreeOptions& tree)
{
    app.add_option("--hosts", tree.hosts, "the smallest tree with so many")
        ->check(CLI::Range(2, 65536))
        ->capture_default_str();
    app.add_option("--tiers", tree.tiers, "of switches: 2 (leaf and spine) or 3 (edge, aggregation, core)")
        ->check(CLI::Range(2, 3))
        ->capture_default_str();
    app.add_option("--oversubscription", tree.oversubscription,
                   "hosts of an edge switch for each of its links up")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_option("--planes", tree.planes,
                   "networks of their own, in each of which every host has an interface")
        ->check(CLI::Range(1U, srd::max_rails))
        ->capture_default_str();
    app.add_option("--rate", tree.rate, "of all links, Gbit/s")
        ->check(CLI::Range(1, 8000))
        ->capture_default_str();
    app.add_option("--queue", tree.queue, "of a port, packets")
        ->check(CLI::Range(2, 100000))
        ->capture_default_str();
    app.add_option("--mark", tree.mark, "packets that find so many before them are marked")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
}

void add_traffic_options(CLI::App& app, Options& options)
{
    const auto add_links = [&](const char* name, LinkCount& links, const char* text) {
        app.add_option_function<std::string>(
               name,
               [&links, name](const std::string& value) {
                   if (!LinkCount::parse(value, links)) {
                       throw CLI::ValidationError(name,
                                                  "neither a number of links nor a share (5%): " + value);
                   }
               },
               text)
            ->type_name("N|N%");
    };
    app.add_option("--bytes", options.bytes, "of each flow")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--senders", options.senders, "of the incasts, such as 8,48,127")->delimiter(',');
    add_links("--dead-links", options.dead_links,
              "between switches, dead from the start: an experiment of its own");
    add_links("--slow-links", options.slow_links,
              "of the highest tier, at 10 % of their rate (4, if it has more)");
    app.add_option("--background", options.background_percent,
                   "hosts that send by one path beside a permutation, %")
        ->check(CLI::Range(0.0, 90.0))
        ->capture_default_str();
    app.add_option("--load", options.load_percent, "of the mix, % of what the links up carry")
        ->check(CLI::Range(1.0, 100.0))
        ->capture_default_str();
    app.add_option("--mix-time", options.mix_us, "flows of the mix begin for so long, us")
        ->check(CLI::Range(1, 1000000))
        ->capture_default_str();
    app.add_option("--noise", options.noise_us, "hosts look away for so many us at most, once in a ms");
}

/// Ends the program if there is nothing to do.
Options parse(int argc, char** argv)
{
    Options options;
    TreeOptions tree;
    CLI::App app("Flows between the hosts of a simulated tree of switches, as a share of the ideal.");
    app.add_option("--only", options.only, "the experiments whose name contains this");
    app.add_flag("--ablate", options.ablate,
                 "instead: permutation and incast with one part of the transport changed at a time");
    add_tree_options(app, tree);
    add_traffic_options(app, options);
    app.add_option("--seed", options.seed, "the first")->capture_default_str();
    app.add_option("--seeds", options.seeds, "how many")->check(CLI::Range(1, 10000))->capture_default_str();
    app.add_option("--json", options.json, "file for the results of every seed (a picture: bench/plots.py)");
    app.add_option("--progress", options.progress_s, "seconds from one word about a long run to the next")
        ->capture_default_str();
    app.add_flag("--verbose", options.verbose, "the engines' counters, too");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        std::exit(app.exit(error));
    }
    options.tree.shape = Shape::of(tree.hosts, tree.tiers, tree.oversubscription);
    options.tree.shape.planes = tree.planes;
    if (app.count("--slow-links") == 0) {
        options.slow_links.number = std::min(4U, options.tree.shape.top_links());
    }
    options.tree.ps_per_byte = 8000 / tree.rate;
    options.tree.queue_bytes = tree.queue * 4150;
    options.tree.mark_bytes = tree.mark * 4150;
    return options;
}

/// The tree has not so many links as are to be bad.
bool are_too_many(const Options& options)
{
    const Shape& shape = options.tree.shape;
    const std::uint32_t dead = options.dead_links.of(shape.switch_links());
    const auto most_dead = static_cast<std::uint32_t>(random_dead_links(shape, ~0U, 1).size());
    if (dead > most_dead) {
        std::fprintf(
            stderr,
            "fabric_sim: --dead-links: %u are too many: at most %u of the %u links of this tree can be "
            "dead if each switch shall keep more than half of its links up\n",
            dead, most_dead, shape.switch_links());
    }
    const bool too_slow = options.slow_links.of(shape.top_links()) > shape.top_links();
    if (too_slow) {
        std::fprintf(stderr, "fabric_sim: --slow-links: this tree has %u links in its highest tier\n",
                     shape.top_links());
    }
    return dead > most_dead || too_slow;
}

} // namespace

int main(int argc, char** argv)
{
    const Options options = parse(argc, argv);
    if (are_too_many(options)) {
        return 2;
    }
    Report report(options.tree);
    for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
        run_experiments(options, seed, report);
    }
    if (report.is_empty()) {
        std::fprintf(stderr, "fabric_sim: no experiment has \"%s\" in its name\n", options.only.c_str());
        return 2;
    }
    report.print();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    std::printf("%.1f s of CPU, %.2f GiB of memory at most\n",
                static_cast<double>(std::clock()) / CLOCKS_PER_SEC,
                static_cast<double>(usage.ru_maxrss) / (1 << 20));
    return (options.json.empty() || report.write_json(options.json)) && !report.failed() ? 0 : 1;
}
