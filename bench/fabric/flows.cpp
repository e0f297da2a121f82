// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "flows.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "support/sim/sim_host.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {
namespace {

constexpr Time flows_start{std::chrono::milliseconds(1)}; ///< connections are made before
constexpr Duration time_limit = std::chrono::seconds(2);  ///< simulated
constexpr std::uint64_t warm_up_cookie = ~std::uint64_t{0};

/// What goes when, and what of it is done.
struct Schedule {
    Schedule(std::vector<Flow> all, std::uint32_t hosts) : flows(std::move(all)), timed(hosts)
    {
        std::uint64_t longest = 0;
        for (std::uint32_t index = 0; index < flows.size(); ++index) {
            const Flow& flow = flows[index];
            if (flow.after == Flow::at_its_time) {
                timed[flow.source].push_back(index);
            } else {
                followers.emplace(flow.after, index);
            }
            left += !flow.background;
            longest = std::max(longest, flow.bytes);
        }
        for (auto& own : timed) {
            std::stable_sort(own.begin(), own.end(), [&](std::uint32_t a, std::uint32_t b) {
                return flows[a].start < flows[b].start;
            });
        }
        memory.resize(longest);
    }

    std::vector<Flow> flows;
    std::vector<std::vector<std::uint32_t>>
        timed; ///< by source: those with a time of their own, in its order
    std::unordered_multimap<std::uint32_t, std::uint32_t> followers; ///< by what they wait for
    std::vector<std::byte> memory; ///< all flows come from it and go to it: only times matter here
    std::size_t left = 0;          ///< not done, and waited for
};

/// Sends the flows of one host, and takes what comes.
class FlowApp final : public SimApp {
public:
    FlowApp(Schedule& schedule, std::uint32_t host, std::vector<std::uint32_t> receivers)
        : schedule_(schedule), host_(host), receivers_(std::move(receivers))
    {
    }

    void on_event(SimHost& host, const Event& event) override
    {
        if (event.kind == Event::Kind::message) {
            const iovec sink{schedule_.memory.data(), event.length};
            Accepted outcome{};
            if (host.accept(event.message, std::span(&sink, 1), event.tag, outcome) != Status::ok) {
                host.refuse(event.message);
            } else if (outcome == Accepted::complete) {
                finish(host, event.tag);
            }
        } else if (event.kind == Event::Kind::receive_done) {
            finish(host, event.cookie);
        } else if (event.kind == Event::Kind::send_done) {
            release_followers(event.cookie);
        }
        if (event.cause != Cause::none) {
            std::fprintf(stderr, "fabric_sim: host %u: %s\n", host_, to_string(event.cause));
            std::exit(1);
        }
    }

    Time on_pass(SimHost& host, Time now) override
    {
        const bool working = !receivers_.empty() || !released_.empty();
        for (const std::uint32_t receiver : receivers_) {
            submit(host, receiver, 0, warm_up_cookie);
        }
        receivers_.clear();
        for (const std::uint32_t index : released_) {
            submit_flow(host, index);
        }
        released_.clear();
        const std::vector<std::uint32_t>& timed = schedule_.timed[host_];
        if (next_ == timed.size()) {
            return working ? now : time_never;
        }
        const Time start = flows_start + schedule_.flows[timed[next_]].start;
        if (start > now) {
            return working ? now : start;
        }
        submit_flow(host, timed[next_++]);
        return now;
    }

private:
    void submit_flow(SimHost& host, std::uint32_t index)
    {
        const Flow& flow = schedule_.flows[index];
        submit(host, flow.destination, flow.bytes, index);
    }

    void submit(SimHost& host, std::uint32_t destination, std::uint64_t bytes, std::uint64_t tag)
    {
        const iovec source{schedule_.memory.data(), bytes};
        Operation operation;
        operation.peer = host.open_peer(destination);
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
        if (tag != warm_up_cookie) {
            schedule_.flows[tag].done = host.now();
            schedule_.left -= !schedule_.flows[tag].background;
            release_followers(tag);
        }
    }

    /// A flow has come here, or has gone from here: those of ours that waited for that may go, in the next
    /// pass. Others' have to hear of it there.
    void release_followers(std::uint64_t tag)
    {
        const auto [begin, end] = schedule_.followers.equal_range(static_cast<std::uint32_t>(tag));
        for (auto place = begin; place != end; ++place) {
            if (schedule_.flows[place->second].source == host_) {
                released_.push_back(place->second);
            }
        }
    }

    Schedule& schedule_;
    const std::uint32_t host_;
    std::vector<std::uint32_t> receivers_; ///< of its flows; connections to them are made before
    std::vector<std::uint32_t> released_;  ///< flows
    std::size_t next_ = 0;                 ///< of the timed flows
};

class Later final : public SimTarget {
public:
    Later(FatTree& tree, const Setup& setup) : tree_(tree), setup_(setup) {}
    void fire(std::uint32_t what, std::uint64_t) override
    {
        const auto& change = what == 0 ? setup_.at_start : setup_.later;
        if (change) {
            change(tree_);
        }
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

/// Tells how far a run is that takes long.
class Progress {
public:
    Progress(const Setup& setup, std::size_t flows) : setup_(setup), flows_(flows) {}

    void look(std::size_t left, Time now)
    {
        const auto wall = std::chrono::steady_clock::now();
        if (wall - told_ < setup_.progress_every) {
            return;
        }
        told_ = wall;
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wall - begun_).count();
        std::fprintf(stderr, "    %s: %zu of %zu flows done, %lld us simulated in %lld s\n",
                     setup_.name.c_str(), flows_ - left, flows_,
                     static_cast<long long>((now - flows_start).count() / 1000),
                     static_cast<long long>(seconds));
    }

private:
    const Setup& setup_;
    const std::size_t flows_;
    const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point told_ = begun_;
};

/// Who has to do with whom.
struct Peers {
    std::vector<std::vector<std::uint32_t>> receivers; ///< by source, in the order of its flows
    std::vector<std::uint32_t> counts;                 ///< by host: its receivers and its senders
    std::vector<bool> background;                      ///< the host sends by one path

    Peers(const std::vector<Flow>& flows, std::uint32_t hosts)
        : receivers(hosts), counts(hosts), background(hosts)
    {
        std::unordered_set<std::uint64_t> pairs;
        for (const Flow& flow : flows) {
            if (pairs.insert(std::uint64_t{flow.source} << 32 | flow.destination).second) {
                receivers[flow.source].push_back(flow.destination);
                ++counts[flow.source];
                ++counts[flow.destination];
            }
            background[flow.source] = background[flow.source] || flow.background;
        }
    }
};

SimHostOptions host_options(const Setup& setup, std::uint32_t planes, std::uint32_t peers)
{
    SimHostOptions options;
    options.io.caps.max_packet = 4150;
    options.io.caps.path_count = setup.paths;
    options.io.caps.rx_buffer = 0;
    options.io.caps.burst_packets = setup.burst;
    options.io.rails = static_cast<std::uint8_t>(planes);
    options.limits = small_limits();
    options.limits.max_peers = std::max(options.limits.max_peers, peers);
    options.limits.max_routes = std::max(options.limits.max_routes, 2 * peers);
    options.tuning.paths = setup.policy;
    options.tuning.congestion = setup.congestion;
    options.tuning.grant_budget = setup.grant_budget;
    options.check_period = 0;
    options.pass_gap_min = std::chrono::nanoseconds(100);
    options.pass_gap_max = std::chrono::nanoseconds(300);
    return options;
}

/// The tree and those of its hosts that have anything to do.
class World {
public:
    World(std::vector<Flow>&& flows, const Setup& setup, const FatTree::Config& config)
        : setup_(setup), tree_(clock_, config), schedule_(std::move(flows), tree_.host_count()),
          hosts_(tree_.host_count()), noise_(clock_, hosts_, setup), later_(tree_, setup)
    {
        const Peers peers(schedule_.flows, tree_.host_count());
        const std::uint32_t most = *std::max_element(peers.counts.begin(), peers.counts.end());
        const SimHostOptions options = host_options(setup, config.shape.planes, most);
        for (std::uint32_t host = 0; host < tree_.host_count(); ++host) {
            if (peers.counts[host] != 0) {
                add(host, peers, options);
            }
        }
        clock_.at(flows_start, later_, 0);
        clock_.at(flows_start + setup.later_after, later_, 1);
    }

    void run()
    {
        Progress progress(setup_, schedule_.left);
        bool more = true;
        while (more && schedule_.left != 0) {
            progress.look(schedule_.left, clock_.now());
            for (int events = 0; more && events < 2000; ++events) {
                more = clock_.step(flows_start + time_limit);
            }
        }
    }

    Outcome outcome()
    {
        Outcome outcome;
        outcome.complete = schedule_.left == 0;
        outcome.net = tree_.totals();
        std::copy_if(schedule_.flows.begin(), schedule_.flows.end(), std::back_inserter(outcome.flows),
                     [](const Flow& flow) { return !flow.background; });
        for (const auto& host : hosts_) {
            if (host != nullptr) {
                for_each_counter(host->counters(), [&](const char* name, const char*, std::uint64_t value) {
                    outcome.counters[name] += value;
                });
            }
        }
        return outcome;
    }

private:
    void add(std::uint32_t host, const Peers& peers, SimHostOptions options)
    {
        apps_.push_back(std::make_unique<FlowApp>(schedule_, host, peers.receivers[host]));
        if (peers.background[host]) {
            options.io.caps.path_count = 1;
        }
        hosts_[host] =
            std::make_unique<SimHost>(tree_, host, options, *apps_.back(), mix64(setup_.seed + host));
        if (setup_.noise > Duration::zero()) {
            clock_.at(flows_start + noise_.pause(), noise_, host);
        }
    }

    const Setup& setup_;
    SimClock clock_;
    FatTree tree_;
    Schedule schedule_;
    std::vector<std::unique_ptr<FlowApp>> apps_;
    std::vector<std::unique_ptr<SimHost>> hosts_; ///< null: it has nothing to do
    Noise noise_;
    Later later_;
};

} // namespace

double Outcome::time_us(const Flow& flow)
{
    return static_cast<double>((flow.done - flows_start - flow.start).count()) * 1e-3;
}

double Outcome::completion_us() const
{
    Time last = flows_start;
    for (const Flow& flow : flows) {
        last = std::max(last, flow.done);
    }
    return static_cast<double>((last - flows_start).count()) * 1e-3;
}

Outcome play(std::vector<Flow> flows, const Setup& setup, const FatTree::Config& config)
{
    FatTree::Config seeded = config;
    seeded.hash_seed = setup.seed;
    World world(std::move(flows), setup, seeded);
    world.run();
    return world.outcome();
}

} // namespace srd::sim
