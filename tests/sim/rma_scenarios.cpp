// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Scenarios made for remote memory access: one for each of its laws, in the
// weather that would break it, and providers that break it.
#include <array>

#include "sim/scenarios.hpp"

namespace srd::sim {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Some loss, duplication and reordering, or none of it.
void weather(RunConfig& config, SimRandom& random)
{
    config.net.loss = random.chance(0.6) ? 0.02 : 0;
    config.net.loss_burst = static_cast<std::uint32_t>(random.between(1, 4));
    config.net.duplicate = random.chance(0.5) ? 0.1 : 0;
    config.net.reorder = random.chance(0.6) ? 0.3 : 0;
    config.net.reorder_max = microseconds(static_cast<std::int64_t>(random.between(20, 800)));
    config.host.io.partial_burst = random.chance(0.3) ? 0.3 : 0;
}

void generations(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    weather(config, random);
    add_rma_traffic(config, random,
                    {.operations = 500,
                     .horizon = milliseconds(3),
                     .longest = 40'000,
                     .lanes = 4,
                     .atomics = 0,
                     .mistakes = 0,
                     .closing = 0,
                     .reads = 0.05});
}

void large_reads(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    weather(config, random);
    add_rma_traffic(config, random,
                    {.operations = 24,
                     .longest = 12 << 20,
                     .budget = 40 << 20,
                     .atomics = 0.1,
                     .mistakes = 0.1,
                     .reads = 0.9});
    for (RmaPlan& plan : config.operations) {
        plan.submit_at = Time(plan.submit_at.time_since_epoch() / 4);
    }
}

void atomics(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 6);
    weather(config, random);
    add_traffic(config, random, {.messages = 150, .longest = 60'000, .budget = 2 << 20, .identified = true});
    add_rma_traffic(config, random, {.operations = 800, .atomics = 1, .mistakes = 0.05, .fences = 0.01});
}

void mistakes(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    weather(config, random);
    config.net.loss = random.chance(0.5) ? 0.1 : 0.01;
    config.net.reorder = 0.4;
    add_rma_traffic(config, random, {.operations = 400, .longest = 60'000, .mistakes = 0.5});
}

void fences(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    weather(config, random);
    config.net.spine_spread = microseconds(static_cast<std::int64_t>(random.between(0, 300)));
    add_traffic(config, random, {.messages = 100, .longest = 100'000, .budget = 2 << 20});
    add_rma_traffic(config, random, {.operations = 300, .longest = 60'000, .fences = 0.25});
}

void closing_regions(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    weather(config, random);
    add_rma_traffic(config, random,
                    {.operations = 200, .longest = 400'000, .budget = 16 << 20, .closing = 0.8});
}

void small_pools(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 5);
    weather(config, random);
    config.host.limits.unexpected_bytes = random.between(64 << 10, 256 << 10);
    config.host.limits.rx_messages = static_cast<std::uint32_t>(random.between(256, 300));
    config.host.limits.tx_messages = static_cast<std::uint32_t>(random.between(128, 160));
    config.host.limits.tx_slots = static_cast<std::uint32_t>(random.between(48, 256));
    config.host.limits.tx_descs = static_cast<std::uint32_t>(random.between(16, 128));
    add_traffic(config, random,
                {.messages = 200, .longest = 40'000, .budget = 2 << 20, .late_receives = 0.8});
    add_rma_traffic(config, random, {.operations = 400});
}

/// Processes of one host read what others name, as long as they may, while some of it is closed.
void named(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 4);
    weather(config, random);
    config.host.io.near = 1;
    config.host.io.forbidden = random.chance(0.5) ? 0.03 : 0;
    config.host.io.caps.max_packet = static_cast<std::uint32_t>(random.between(1'472, 65'507));
    config.host.io.caps.path_count = 1;
    add_rma_traffic(config, random,
                    {.operations = 150,
                     .longest = 4 << 20,
                     .budget = 40 << 20,
                     .atomics = 0.1,
                     .mistakes = 0.1,
                     .closing = 0.3,
                     .fences = 0.15});
}

// ---------------------------------------------------------------- broken on purpose

template <bool RmaApp::Options::*fault>
void canary(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.rma.*fault = true;
    config.patience = seconds(2);
    config.net.reorder = 0.3;
    config.net.reorder_max = microseconds(400);
    add_rma_traffic(config, random,
                    {.operations = 500, .budget = 16 << 20, .mistakes = 0.1, .closing = 0.4, .fences = 0.1});
}

/// Long reads on slow links, of memory that closes: much is under way when it does.
void canary_revoke(RunConfig& config, SimRandom& random)
{
    hosts_between(config, random, 2, 3);
    config.rma.ignore_revoke = true;
    config.net.down.ps_per_byte = 4000;
    add_rma_traffic(config, random,
                    {.operations = 100, .longest = 1 << 20, .budget = 16 << 20, .atomics = 0, .closing = 1});
    for (RmaPlan& plan : config.operations) {
        plan.submit_at = Time(plan.submit_at.time_since_epoch() / 8);
    }
}

constexpr std::array rma_table{
    Scenario{"generations", "the same bytes are written again and again", generations},
    Scenario{"large_reads", "reads of up to 12 MiB", large_reads},
    Scenario{"atomics", "many atomics on the same cells, between messages", atomics},
    Scenario{"mistakes", "half of the accesses are wrong, and the answers are lost and overtaken", mistakes},
    Scenario{"fences", "a quarter of the accesses are fenced", fences},
    Scenario{"closing_regions", "memory is closed while it is accessed", closing_regions},
    Scenario{"named", "large accesses between processes of one host, which read each other's memory", named},
    Scenario{"small_pools", "remote memory access with pools of a few records", small_pools},
    Scenario{"canary_placement", "a provider that confirms writes it has not placed",
             canary<&RmaApp::Options::forget_placement>, true},
    Scenario{"canary_rma_completion", "a provider that loses completions of remote memory access",
             canary<&RmaApp::Options::forget_completion>, true},
    Scenario{"canary_atomic", "a provider that carries atomics out twice",
             canary<&RmaApp::Options::repeat_atomic>, true},
    Scenario{"canary_mistake", "a provider that takes rejected operations for good ones",
             canary<&RmaApp::Options::ignore_mistakes>, true},
    Scenario{"canary_fence", "a provider that forgets fences", canary<&RmaApp::Options::ignore_fence>, true},
    Scenario{"canary_revoke", "a provider that closes memory without a word to the engine", canary_revoke,
             true},
    Scenario{"canary_late", "memory that changes after a read has completed",
             canary<&RmaApp::Options::scribble_reads>, true},
};

} // namespace

std::span<const Scenario> rma_scenarios()
{
    return rma_table;
}

} // namespace srd::sim
