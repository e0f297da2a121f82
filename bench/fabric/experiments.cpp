// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "experiments.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

namespace srd::sim {
namespace {

std::string number(double value)
{
    char text[32];
    std::snprintf(text, sizeof(text), "%g", value);
    return text;
}

class Run {
public:
    Run(const Options& options, std::uint64_t seed, Report& report)
        : options_(options), seed_(seed), report_(report), hosts_(options.tree.shape.host_count())
    {
    }

    void experiments()
    {
        permutations();
        for (const std::uint32_t senders : options_.senders) {
            if (senders < hosts_) {
                play_one("incast " + std::to_string(senders) + ":1", incast_of(senders), {});
            }
        }
        faults();
        // Both with the bytes of one flow per host, a share of them to each other one.
        play_one("all-to-all", [&] { return all_to_all(hosts_, options_.bytes / hosts_); }, {});
        play_one("ring allreduce", [&] { return ring_allreduce(hosts_, options_.bytes, seed_); }, {});
        play_one("tree broadcast", [&] { return tree_broadcast(hosts_, options_.bytes, seed_); }, {});
        mix();
    }

    /// The same traffic with one part of the transport changed at a time.
    void ablations()
    {
        const std::uint32_t senders = std::min(48U, hosts_ - 1);
        const std::pair<std::string, Flows> traffics[] = {
            {"permutation", permutation_},
            {"incast " + std::to_string(senders) + ":1", incast_of(senders)},
        };
        FatTree::Config unmarked = options_.tree;
        unmarked.mark_bytes = unmarked.queue_bytes;
        for (const auto& [name, flows] : traffics) {
            play_one(name + ": as it is", flows, {});
            play_one(name + ": no marks", flows, {}, unmarked);
            play_one(name + ": paths in turn", flows, {.policy = PathPolicy::round_robin});
            play_one(name + ": one path", flows, {.paths = 1});
            play_one(name + ": fixed window", flows, {.congestion = CongestionPolicy::fixed});
            play_one(name + ": trains of 8 packets", flows, {.burst = 8});
            play_one(name + ": credits of 512 KiB", flows, {.grant_budget = 512U << 10});
            play_one(name + ": credits of 128 KiB", flows, {.grant_budget = 128U << 10});
        }
    }

private:
    using Flows = std::function<std::vector<Flow>()>;

    Flows incast_of(std::uint32_t senders) const
    {
        return [this, senders] { return incast(hosts_, senders, options_.bytes, seed_); };
    }

    void permutations()
    {
        for (const int paths : {1, 4, 16, 64}) {
            play_one("permutation, " + std::to_string(paths) + " paths", permutation_,
                     {.paths = static_cast<std::uint16_t>(paths)});
        }
        play_one("permutation, 64 paths, round robin", permutation_, {.policy = PathPolicy::round_robin});
        play_one("permutation, 64 paths, fixed window", permutation_,
                 {.congestion = CongestionPolicy::fixed});
        FatTree::Config perfect = options_.tree;
        perfect.perfect_spread = true;
        play_one("permutation, perfect spread", permutation_, {}, perfect);
        if (options_.background_percent > 0) {
            play_one("permutation, " + number(options_.background_percent) + " % background",
                     [&] {
                         return permutation_with_background(hosts_, options_.bytes,
                                                            options_.background_percent, seed_);
                     },
                     {});
        }
    }

    void faults()
    {
        const Shape& shape = options_.tree.shape;
        const auto cut = [](FatTree& tree) { tree.cut({}); };
        if (shape.ups > 1) {
            play_one("link down at the start", permutation_, {.at_start = cut});
            play_one("link down after 60 us", permutation_, {.later = cut});
        }
        const std::uint32_t links = shape.switch_links();
        if (const std::uint32_t dead = options_.dead_links.of(links); dead != 0) {
            play_one(std::to_string(dead) + " of " + std::to_string(links) + " links dead", permutation_,
                     {.at_start = [&, dead](FatTree& tree) {
                         for (const Link& link : random_dead_links(shape, dead, seed_)) {
                             tree.cut(link);
                         }
                     }});
        }
        if (const std::uint32_t slow = options_.slow_links.of(shape.top_links()); slow != 0) {
            play_one("slow links: " + std::to_string(slow) + " core links at 10 %", permutation_,
                     {.at_start = [&, slow](FatTree& tree) {
                         for (const Link& link : random_core_links(shape, slow, seed_)) {
                             tree.slow(link, 10);
                         }
                     }});
        }
    }

    void mix()
    {
        const Shape& shape = options_.tree.shape;
        // What a host may send for ever if all others do: links up are shared by so many hosts.
        const double most = 1e6 * shape.planes / options_.tree.ps_per_byte / shape.oversubscription();
        const auto flows = [&] {
            return websearch_mix(hosts_, most * options_.load_percent / 100,
                                 std::chrono::microseconds(options_.mix_us), seed_);
        };
        play_one("mix: websearch at " + number(options_.load_percent) + " %", flows, {}, options_.tree, true);
    }

    void play_one(const std::string& name, const Flows& make_flows, const Setup& setup)
    {
        play_one(name, make_flows, setup, options_.tree);
    }

    /// `by_size`: the ideal of each flow is its own, which is its time alone.
    void play_one(const std::string& name, const Flows& make_flows, Setup setup, const FatTree::Config& tree,
                  bool by_size = false)
    {
        if (name.find(options_.only) == std::string::npos) {
            return;
        }
        std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed_), name.c_str());
        std::vector<Flow> flows = make_flows();
        if (flows.empty()) {
            return;
        }
        setup.seed = seed_;
        setup.noise = std::chrono::microseconds(options_.noise_us);
        setup.name = name;
        setup.progress_every = std::chrono::seconds(options_.progress_s);
        const auto [ideal, fair] = by_size ? std::pair{0.0, 0.0} : ideal_and_fair_us(flows, setup);
        for (Flow& flow : flows) {
            flow.ideal_us = by_size ? lone_us(flow.bytes) : ideal;
        }
        const Outcome outcome = play(std::move(flows), setup, tree);
        Result result = summarize(seed_, outcome, by_size);
        result.fair_percent = by_size ? 100 : 100 * ideal / fair;
        report_.add(name, result);
        std::fprintf(stderr, "    %s: mean %.1f %%, slowest %.1f %%, all done after %.0f us%s\n",
                     name.c_str(), result.mean_percent, result.worst_percent, result.completion_us,
                     result.complete ? "" : " (INCOMPLETE)");
        for (const auto& [counter, value] : outcome.counters) {
            if (options_.verbose && value != 0) {
                std::printf("    %-24s %llu\n", counter.c_str(), static_cast<unsigned long long>(value));
            }
        }
    }

    /// Of the slowest flow: on the tree without a fault, and on the tree as it is. Of a fault that comes
    /// later, what is left then takes longer.
    std::pair<double, double> ideal_and_fair_us(const std::vector<Flow>& flows, const Setup& setup)
    {
        const auto lone = [&](std::uint64_t bytes) { return lone_us(bytes); };
        SimClock clock;
        FatTree tree(clock, options_.tree);
        const double ideal = least_us(tree, flows, lone);
        if (setup.at_start) {
            setup.at_start(tree);
            return {ideal, least_us(tree, flows, lone)};
        }
        if (setup.later) {
            setup.later(tree);
            const double before = std::chrono::duration<double, std::micro>(setup.later_after).count();
            const double left = std::max(0.0, 1 - before / ideal);
            return {ideal, before + left * least_us(tree, flows, lone)};
        }
        return {ideal, ideal};
    }

    /// One flow, alone.
    double lone_us(std::uint64_t bytes)
    {
        double& known = lone_us_[bytes];
        if (known == 0) {
            const Outcome outcome = play({{0, hosts_ - 1, bytes}}, {.seed = seed_}, options_.tree);
            known = Outcome::time_us(outcome.flows.front());
        }
        return known;
    }

    const Options& options_;
    const std::uint64_t seed_;
    Report& report_;
    const std::uint32_t hosts_;
    const Flows permutation_ = [this] { return permutation(hosts_, options_.bytes, seed_); };
    std::map<std::uint64_t, double> lone_us_; ///< by bytes
};

} // namespace

void run_experiments(const Options& options, std::uint64_t seed, Report& report)
{
    Run run(options, seed, report);
    if (options.ablate) {
        run.ablations();
    } else {
        run.experiments();
    }
}

} // namespace srd::sim
