// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "flows.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <utility>

#include "support/sim/sim_host.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {
namespace {

constexpr Time flows_start{std::chrono::milliseconds(1)}; ///< connections are made before
constexpr std::uint64_t warm_up_cookie = ~std::uint64_t{0};

/// Sends the flows of one host, and takes what comes.
class FlowApp final : public SimApp {
public:
    FlowApp(std::vector<Flow>& flows, std::uint32_t host, std::vector<std::byte>& memory)
        : flows_(flows), host_(host), memory_(memory)
    {
        for (std::uint32_t index = 0; index < flows.size(); ++index) {
            if (flows[index].source != host) {
                continue;
            }
            own_.push_back(index);
            if (flows[index].after != Flow::from_start) {
                followers_.emplace(flows[index].after, index);
            }
        }
    }

    void on_event(SimHost& host, const Event& event) override
    {
        if (event.kind == Event::Kind::message) {
            const iovec sink{memory_.data(), event.length};
            Accepted outcome{};
            if (host.accept(event.message, std::span(&sink, 1), event.tag, outcome) != Status::ok) {
                host.refuse(event.message);
            } else if (outcome == Accepted::complete) {
                finish(host, event.tag);
            }
        } else if (event.kind == Event::Kind::receive_done) {
            finish(host, event.cookie);
        }
        if (event.cause != Cause::none) {
            std::fprintf(stderr, "fabric_sim: host %u: %s\n", host_, to_string(event.cause));
            std::exit(1);
        }
    }

    Time on_pass(SimHost& host, Time now) override
    {
        for (const std::uint32_t index : waiting_) {
            submit(host, flows_[index], index, true);
        }
        waiting_.clear();
        const bool starting = now >= flows_start;
        if (stage_ == 2 || (stage_ == 1 && !starting)) {
            return stage_ == 2 ? time_never : flows_start;
        }
        for (const std::uint32_t index : own_) {
            if (!starting && is_first_to(flows_[index].destination)) {
                submit(host, flows_[index], warm_up_cookie, false);
            } else if (starting && flows_[index].after == Flow::from_start) {
                submit(host, flows_[index], index, true);
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

    void finish(SimHost& host, std::uint64_t tag)
    {
        if (tag == warm_up_cookie) {
            return;
        }
        flows_[tag].done = host.now();
        const auto [begin, end] = followers_.equal_range(static_cast<std::uint32_t>(tag));
        for (auto place = begin; place != end; ++place) {
            waiting_.push_back(place->second);
        }
    }

    bool is_first_to(std::uint32_t destination) { return greeted_.insert(destination).second; }

    std::vector<Flow>& flows_;
    const std::uint32_t host_;
    std::vector<std::byte>& memory_; ///< all flows come from it and go to it: only times matter here
    std::vector<std::uint32_t> own_; ///< flows that it sends
    std::multimap<std::uint32_t, std::uint32_t> followers_; ///< those that start when one is here
    std::vector<std::uint32_t> waiting_;                    ///< that one is
    std::set<std::uint32_t> greeted_;
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

/// Looks of every host that come late: another process has its processor.
class Noise final : public SimTarget {
public:
    Noise(SimClock& clock, std::vector<std::unique_ptr<SimHost>>& hosts, const Setup& setup)
        : clock_(clock), hosts_(hosts), most_(static_cast<std::uint64_t>(setup.noise.count())),
          random_(mix64(setup.seed))
    {
    }
    void fire(std::uint32_t host, std::uint64_t) override
    {
        SimHost& at = *hosts_[host];
        const Time until = at.now() + Duration(static_cast<std::int64_t>(random_.between(0, most_)));
        at.stop(until);
        clock_.at(until + pause(), *this, host);
    }
    Duration pause() { return Duration(static_cast<std::int64_t>(random_.between(0, 2'000'000))); }

private:
    SimClock& clock_;
    std::vector<std::unique_ptr<SimHost>>& hosts_;
    const std::uint64_t most_; ///< ns
    SimRandom random_;
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

} // namespace

Outcome play(std::vector<Flow> flows, const Setup& setup, const FatTree::Config& tree_config)
{
    FatTree::Config config = tree_config;
    config.hash_seed = setup.seed;
    config.perfect_spread = setup.perfect_spread;
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
    Noise noise(clock, hosts, setup);
    if (setup.noise > Duration::zero()) {
        for (std::uint32_t host = 0; host < tree.host_count(); ++host) {
            clock.at(flows_start + noise.pause(), noise, host);
        }
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

std::vector<Flow> all_to_all(std::uint32_t hosts, std::uint64_t bytes)
{
    std::vector<Flow> flows; // each begins with its next neighbour: nobody is everybody's first
    for (std::uint32_t step = 1; step < hosts; ++step) {
        for (std::uint32_t host = 0; host < hosts; ++host) {
            flows.push_back({host, (host + step) % hosts, bytes});
        }
    }
    return flows;
}

std::vector<Flow> ring_allreduce(std::uint32_t hosts, std::uint64_t bytes, std::uint64_t seed)
{
    std::vector<Flow> flows = permutation(hosts, bytes / hosts, seed);
    for (std::uint32_t step = 1; step < 2 * (hosts - 1); ++step) {
        for (std::uint32_t place = 0; place < hosts; ++place) {
            Flow flow = flows[place];
            flow.after = (step - 1) * hosts + (place + hosts - 1) % hosts;
            flows.push_back(flow);
        }
    }
    return flows;
}

} // namespace srd::sim
