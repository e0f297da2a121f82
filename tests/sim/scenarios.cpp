// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "sim/scenarios.hpp"

#include <deque>
#include <string>
#include <vector>

namespace srd::sim {

Duration pick(SimRandom& random, Duration low, Duration high)
{
    return Duration(static_cast<std::int64_t>(
        random.between(static_cast<std::uint64_t>(low.count()), static_cast<std::uint64_t>(high.count()))));
}

Time pick_time(SimRandom& random, Duration low, Duration high)
{
    return Time(pick(random, low, high));
}

std::uint32_t pick_host(const RunConfig& config, SimRandom& random)
{
    return static_cast<std::uint32_t>(random.between(0, config.hosts - 1));
}

void hosts_between(RunConfig& config, SimRandom& random, std::uint32_t low, std::uint32_t high)
{
    config.hosts = static_cast<std::uint32_t>(random.between(low, high));
}

namespace {

/// Every scenario once with messages alone, and once with remote memory access beside fewer of them.
std::vector<Scenario> all_scenarios()
{
    static std::deque<std::string> names;
    std::vector<Scenario> all;
    for (const std::span<const Scenario> table : {network_scenarios(), host_scenarios(), long_scenarios()}) {
        all.insert(all.end(), table.begin(), table.end());
    }
    for (const Scenario& scenario : std::vector<Scenario>(all)) {
        if (!scenario.canary && !scenario.alone) {
            Scenario mixed = scenario;
            mixed.name = names.emplace_back(std::string("rma_") + scenario.name).c_str();
            mixed.mixed = true;
            all.push_back(mixed);
        }
    }
    all.insert(all.end(), rma_scenarios().begin(), rma_scenarios().end());
    return all;
}

} // namespace

std::span<const Scenario> scenarios()
{
    static const std::vector<Scenario> all = all_scenarios();
    return all;
}

const Scenario* find_scenario(const std::string& name)
{
    for (const Scenario& scenario : scenarios()) {
        if (name == scenario.name) {
            return &scenario;
        }
    }
    return nullptr;
}

namespace {

/// Every counter that a peer sees or that is compared by differences, and the ticks of path selection (16
/// bits of 65,536 ns), begin so little before where they wrap that the run gets there.
void force_numbers(RunConfig& config, Numbers numbers)
{
    if (numbers == Numbers::usual) {
        return;
    }
    SimRandom random(mix64(config.seed) ^ 0x36a9);
    const std::uint32_t half = numbers == Numbers::end ? 0 : 1U << 31;
    const auto before = [&](std::uint64_t most) {
        return static_cast<std::uint32_t>(random.between(0, most));
    };
    FirstNumbers& first = config.host.tuning.first;
    first.chosen = true;
    first.psn = half - before(600);
    first.message = half - before(40);
    first.duplicates = static_cast<std::uint16_t>((half >> 16) - before(4));
    first.faults = static_cast<std::uint16_t>((half >> 16) - before(4));
    constexpr std::int64_t tick = 1 << 16;
    config.host.clock_start = Duration(tick * ((numbers == Numbers::end ? 0x10000 : 0x8000) - before(200)));
}

} // namespace

RunConfig make_run(const Scenario& scenario, std::uint64_t seed, Numbers numbers)
{
    RunConfig config;
    config.scenario = scenario.name;
    config.seed = seed;
    config.host.limits = small_limits();
    config.host.io.caps.max_packet = 1472;
    config.host.check_period = 16;
    config.net.up.queue_bytes = 64 * 1024;
    config.net.spine = {.ps_per_byte = 800,
                        .queue_bytes = 1 << 20,
                        .mark_bytes = 1 << 20,
                        .delay = std::chrono::microseconds(4)};
    config.net.down.queue_bytes = 1 << 20;
    config.net.down.mark_bytes = 256 << 10;
    SimRandom random(mix64(seed) ^ 0x5ce7a210);
    if (random.chance(0.3)) {
        config.host.io.caps.max_packet = 8972;
    }
    scenario.shape(config, random);
    force_numbers(config, numbers);
    if (scenario.mixed) {
        config.messages.resize(config.messages.size() / 2);
        add_rma_traffic(config, random, {});
        config.patience = std::max<Duration>(config.patience,
                                             std::chrono::seconds(300)); // one fence after the other may fail
    }
    return config;
}

std::string replay_command(const std::string& scenario, std::uint64_t seed, Numbers numbers)
{
    const char* const option = numbers == Numbers::end      ? " --numbers end"
                               : numbers == Numbers::middle ? " --numbers middle"
                                                            : "";
    return "build/bin/srd_sim --scenario " + scenario + " --seed " + std::to_string(seed) + option;
}

} // namespace srd::sim
