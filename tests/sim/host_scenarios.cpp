// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What hosts do: they poll seldom, stop, run out of memory, die, restart, close; and everything at once.
#include <array>

#include "sim/scenarios.hpp"

namespace srd::sim {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr CauseSet unheard_causes =
    cause_bit(Cause::stopped_answering) | cause_bit(Cause::never_answered) | cause_bit(Cause::not_heard);
constexpr CauseSet death_causes = unheard_causes | cause_bit(Cause::refused);
constexpr CauseSet restart_causes = death_causes | cause_bit(Cause::restarted) | cause_bit(Cause::closed);
constexpr CauseSet close_causes = death_causes | cause_bit(Cause::closed) | cause_bit(Cause::removed);

// ---------------------------------------------------------------- what a host does

void partial_bursts(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.io.partial_burst = random.chance(0.5) ? 0.2 : 0.9;
    config.net.up.queue_bytes = static_cast<std::uint32_t>(random.between(4'000, 60'000));
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.budget = 6 << 20});
}

void small_socket(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 3, 6);
    config.host.io.caps.rx_buffer = static_cast<std::uint32_t>(random.between(12'000, 212'992));
    config.host.pass_gap_max = pick(random, microseconds(1), microseconds(200));
    add_traffic(config, random, {.budget = 6 << 20});
}

void slow_poll(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.pass_gap_min = microseconds(1);
    config.host.pass_gap_max = pick(random, microseconds(10), milliseconds(3));
    config.host.io.exact_arrival = random.chance(0.5);
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.budget = 6 << 20});
}

void stopped_host(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.io.answers_liveness = true;
    config.host.tuning.peer_timeout = seconds(2);
    const std::uint32_t host = pick_host(config, random);
    config.faults.push_back({pick_time(random, microseconds(1), milliseconds(6)), Fault::Kind::host_stop,
                             host, 0,
                             static_cast<std::uint64_t>(pick(random, milliseconds(1), seconds(20)).count())});
    add_traffic(config, random, {});
}

void little_memory(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 6);
    config.host.limits.unexpected_bytes = random.between(64 << 10, 512 << 10);
    config.host.limits.rx_messages = static_cast<std::uint32_t>(random.between(64, 512));
    config.host.limits.tx_messages = static_cast<std::uint32_t>(random.between(16, 256));
    config.host.limits.tx_slots = static_cast<std::uint32_t>(random.between(64, 1024));
    config.host.limits.tx_descs = static_cast<std::uint32_t>(random.between(32, 256));
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.messages = 600, .budget = 5 << 20, .late_receives = 0.8});
}

void unexpected_flood(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 6);
    config.host.limits.unexpected_bytes = 256 << 10;
    config.host.limits.rx_messages = 1024;
    add_traffic(
        config, random,
        {.messages = 1500, .longest = 16'000, .budget = 4 << 20, .late_receives = 1.0, .small_only = true});
    for (MessagePlan& plan : config.messages) {
        plan.receive_at += milliseconds(20);
    }
}

void many_small(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 8, 24);
    config.net.loss = random.chance(0.5) ? 0.005 : 0;
    add_traffic(config, random, {.messages = 3000, .longest = 2000, .small_only = true});
    config.host.io.caps.burst_packets = random.chance(0.5) ? std::uint16_t{64} : std::uint16_t{1};
}

void tunings(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    Tuning& tuning = config.host.tuning;
    tuning.congestion = random.chance(0.5) ? CongestionPolicy::fixed : CongestionPolicy::swift;
    tuning.paths = static_cast<PathPolicy>(random.between(0, 2));
    tuning.eager_size = random.between(0, 65'536);
    tuning.copy_size = random.between(0, max_inject_size);
    tuning.grant_budget = static_cast<std::uint32_t>(random.between(64 << 10, 4 << 20));
    tuning.window_max = static_cast<std::uint32_t>(random.between(256 << 10, 8 << 20));
    tuning.ack_delay = pick(random, microseconds(0), microseconds(200));
    config.host.io.caps.max_packet = static_cast<std::uint32_t>(random.between(1232, 9000));
    config.host.io.caps.path_count = static_cast<std::uint16_t>(random.between(1, 64));
    config.host.io.caps.burst_packets = static_cast<std::uint16_t>(random.between(1, 44));
    config.net.loss = random.chance(0.6) ? 0.01 : 0;
    add_traffic(config, random, {});
}

// ---------------------------------------------------------------- what fails

void death(RunConfig& config, SimRandom& random, bool announced)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.connect_timeout = seconds(8);
    config.error_bound = seconds(12);
    config.allowed.assign(config.hosts, 0);
    const std::uint32_t host = pick_host(config, random);
    config.allowed[host] = announced ? death_causes : unheard_causes;
    config.faults.push_back({pick_time(random, microseconds(1), milliseconds(6)), Fault::Kind::host_kill,
                             host, 0, announced ? 1U : 0U});
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    config.host.io.answers_liveness = random.chance(0.5);
    add_traffic(config, random, {.identified = true});
}

void silent_death(RunConfig& config, SimRandom& random)
{
    death(config, random, false);
}

void announced_death(RunConfig& config, SimRandom& random)
{
    death(config, random, true);
}

void restart(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.connect_timeout = seconds(8);
    config.allowed.assign(config.hosts, 0);
    const std::uint32_t host = pick_host(config, random);
    config.allowed[host] = restart_causes;
    const Time killed = pick_time(random, microseconds(1), milliseconds(5));
    config.faults.push_back({killed, Fault::Kind::host_kill, host, 0, random.chance(0.5) ? 1U : 0U});
    config.faults.push_back(
        {killed + pick(random, microseconds(0), milliseconds(20)), Fault::Kind::host_restart, host});
    config.net.reorder = random.chance(0.5) ? 0.2 : 0;
    config.net.reorder_max = milliseconds(1);
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.horizon = milliseconds(20), .identified = true});
}

void closing(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.connect_timeout = seconds(8);
    config.error_bound = seconds(12);
    config.allowed.assign(config.hosts, 0);
    const std::uint32_t host = pick_host(config, random);
    config.allowed[host] = close_causes;
    config.faults.push_back(
        {pick_time(random, microseconds(1), milliseconds(6)), Fault::Kind::host_close, host});
    config.net.loss = random.chance(0.5) ? 0.05 : 0;
    add_traffic(config, random, {.identified = true});
}

void removal(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    config.host.tuning.connect_timeout = seconds(8);
    config.allowed.assign(config.hosts, restart_causes | close_causes);
    for (int index = 0; index < 3; ++index) {
        const std::uint32_t from = pick_host(config, random);
        config.faults.push_back({pick_time(random, microseconds(1), milliseconds(6)),
                                 Fault::Kind::remove_peer, from, (from + 1) % config.hosts});
    }
    config.net.loss = random.chance(0.5) ? 0.01 : 0;
    add_traffic(config, random, {.identified = true});
}

/// Host 0 has room for four peers. One client after the other sends it messages and dies; each of them gets
/// service within its patience, though none of its predecessors has closed anything.
void crowded(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 6, 9);
    config.host.limits.max_peers = 4;
    config.host.limits.idle_routes = 2;
    config.host.io.answers_liveness = random.chance(0.5);
    config.host.tuning.peer_timeout = seconds(1);
    config.host.tuning.connect_timeout = seconds(20);
    config.patience = seconds(40);
    config.allowed.assign(config.hosts, 0);
    Time at{};
    for (std::uint32_t client = 1; client < config.hosts; ++client) {
        RunConfig one = config;
        one.hosts = 2;
        one.messages.clear();
        add_traffic(one, random,
                    {.messages = 20, .horizon = milliseconds(2), .longest = 60'000, .identified = true});
        for (MessagePlan plan : one.messages) {
            const auto id = static_cast<std::uint32_t>(config.messages.size());
            plan.source = client;
            plan.destination = 0;
            plan.tag = plan.flags.tagged ? (plan.tag & ~tag_identity_mask) | id : 0;
            plan.data = plan.flags.has_data ? (plan.data & ~tag_identity_mask) | id : 0;
            plan.submit_at += at.time_since_epoch();
            plan.receive_at += at.time_since_epoch();
            config.messages.push_back(plan);
        }
        at += pick(random, milliseconds(50), seconds(2));
        const bool last = client + 1 == config.hosts;
        if (!last) {
            config.faults.push_back({at, Fault::Kind::host_kill, client, 0, random.chance(0.5) ? 1U : 0U});
        }
        config.allowed[client] = last ? 0 : death_causes; // the last one lives, and gets service
        at += pick(random, milliseconds(0), milliseconds(500));
    }
}

void chaos(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 8);
    tunings(config, random);
    config.messages.clear();
    config.net.loss = random.chance(0.7) ? 0.02 : 0;
    config.net.duplicate = random.chance(0.5) ? 0.02 : 0;
    config.net.corrupt = random.chance(0.5) ? 0.01 : 0;
    config.net.reorder = random.chance(0.5) ? 0.1 : 0;
    config.net.reorder_max = microseconds(500);
    config.net.spine_spread = pick(random, microseconds(0), microseconds(300));
    config.net.down.queue_bytes = static_cast<std::uint32_t>(random.between(60'000, 1 << 20));
    config.net.down.mark_bytes = config.net.down.queue_bytes / 2;
    config.host.io.partial_burst = random.chance(0.5) ? 0.2 : 0;
    config.host.io.answers_liveness = true;
    config.host.io.caps.rx_buffer = static_cast<std::uint32_t>(random.between(64 << 10, 4 << 20));
    config.host.limits.unexpected_bytes = random.between(256 << 10, 8 << 20);
    if (random.chance(0.4)) {
        config.faults.push_back(
            {pick_time(random, microseconds(1), milliseconds(6)), Fault::Kind::host_stop,
             pick_host(config, random), 0,
             static_cast<std::uint64_t>(pick(random, milliseconds(1), seconds(8)).count())});
    }
    for (auto count = random.between(0, 20); count > 0; --count) {
        const auto spine = static_cast<std::uint32_t>(random.between(0, config.net.spines - 1));
        const Time down = pick_time(random, milliseconds(0), milliseconds(4));
        config.faults.push_back({down, Fault::Kind::spine_down, spine});
        config.faults.push_back(
            {down + pick(random, microseconds(100), milliseconds(50)), Fault::Kind::spine_up, spine});
    }
    add_traffic(config, random, {.messages = 300, .budget = 8 << 20});
}

/// Peers on one host, which read each other's memory.
void near(RunConfig& config, SimRandom& random)
{
    constexpr std::array kinds{chaos, chaos, restart, closing, removal};
    kinds[random.between(0, kinds.size() - 1)](config, random);
    config.host.io.near = random.chance(0.5) ? 1.0 : 0.5;
    config.host.tuning.eager_size = random.between(0, 20'000);
    config.host.io.caps.max_packet = static_cast<std::uint32_t>(random.between(4'096, 65'507));
    config.host.io.caps.path_count = 1;
    config.host.io.forbidden = random.chance(0.3) ? 0.1 : 0;
}

// ---------------------------------------------------------------- broken on purpose

void canary_checksum(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.host.io.deliver_corrupted = true;
    config.net.corrupt = 0.02;
    add_traffic(config, random, {});
}

void canary_completion(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.work.forget_completion = true;
    config.patience = seconds(2);
    add_traffic(config, random, {});
}

constexpr std::array host_table{
    Scenario{"partial_bursts", "the backend takes only part of a burst", partial_bursts},
    Scenario{"small_socket", "the receive buffer is small and polled seldom", small_socket},
    Scenario{"slow_poll", "processes poll seldom", slow_poll},
    Scenario{"stopped_host", "a process is stopped for up to 20 s, and loses nothing", stopped_host},
    Scenario{"little_memory", "every pool is small", little_memory},
    Scenario{"unexpected_flood", "many messages come long before their receives", unexpected_flood},
    Scenario{"many_small", "many hosts, many small messages", many_small},
    Scenario{"tunings", "policies, sizes and path counts at random", tunings},
    Scenario{"silent_death", "a host dies, and nothing answers any more", silent_death},
    Scenario{"announced_death", "a process dies, and its host says so", announced_death},
    Scenario{"restart", "a process is replaced by another one at the same address", restart},
    Scenario{"closing", "an endpoint is closed with operations under way", closing},
    Scenario{"removal", "peers are removed and used again", removal},
    Scenario{.name = "crowded",
             .what = "clients die without a word, and a server with room for four serves the next ones",
             .shape = crowded,
             .alone = true},
    Scenario{"chaos", "much of the above at once", chaos},
    Scenario{"near", "processes read each other's memory, in chaos, and when some end or are removed", near},
    Scenario{"canary_checksum", "a backend that delivers corrupted datagrams", canary_checksum, true},
    Scenario{"canary_completion", "a provider that loses completions", canary_completion, true},
};

} // namespace

std::span<const Scenario> host_scenarios()
{
    return host_table;
}

} // namespace srd::sim
