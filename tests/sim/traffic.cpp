// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <array>
#include <span>

#include "sim/scenarios.hpp"

namespace srd::sim {

namespace {

/// A length that likes the edges: of the copy limit, of packets, of the eager limit.
std::uint64_t pick_length(const RunConfig& config, SimRandom& random, const Traffic& traffic)
{
    const std::uint64_t packet = config.host.io.caps.max_packet;
    const std::array<std::uint64_t, 8> edges{0,
                                             8,
                                             config.host.tuning.copy_size,
                                             packet - 136,
                                             2 * packet - 272,
                                             max_inject_size,
                                             config.host.tuning.eager_size,
                                             64 * 1024};
    const auto kind = random.between(0, 99);
    std::uint64_t length = 0;
    if (kind < 40) {
        const std::uint64_t edge = edges[random.between(0, edges.size() - 1)];
        const std::uint64_t jitter = random.between(0, 40);
        length = edge + jitter > 20 ? edge + jitter - 20 : 0;
    } else if (kind < 75 || traffic.small_only) {
        length = random.between(0, 2000);
    } else if (kind < 93) {
        length = random.between(0, std::min<std::uint64_t>(traffic.longest, 80'000));
    } else {
        length = random.between(0, traffic.longest);
    }
    return std::min(length, traffic.longest);
}

CompletionLevel pick_level(MessagePlan& plan, SimRandom& random)
{
    plan.copy_payload = plan.length <= max_inject_size && random.chance(0.4);
    switch (random.between(0, 9)) {
    case 0:
        return plan.copy_payload ? CompletionLevel::none : CompletionLevel::inject;
    case 1:
    case 2:
        return CompletionLevel::inject;
    case 3:
    case 4:
    case 5:
        return CompletionLevel::delivery;
    default:
        return CompletionLevel::transmit;
    }
}

void pick_matching(MessagePlan& plan, std::uint32_t id, SimRandom& random, const Traffic& traffic)
{
    plan.flags.tagged = random.chance(0.8);
    plan.flags.has_data = random.chance(0.3) || (traffic.identified && !plan.flags.tagged);
    plan.exact = plan.flags.tagged && random.chance(0.5);
    plan.tag = plan.flags.tagged ? random.between(0, 0xffff) << 32 | id : 0;
    if (plan.flags.tagged && !plan.exact) {
        plan.tag = tag_any_class | id;
    }
    plan.data = plan.flags.has_data ? random.between(0, 0xffff'ffff) << 32 | id : 0;
    plan.discard = plan.exact && random.chance(0.04);
    plan.capacity = plan.length;
    if (random.chance(traffic.short_buffers)) {
        plan.capacity = random.between(0, plan.length);
    } else if (random.chance(0.2)) {
        plan.capacity = plan.length + random.between(0, 300);
    }
}

} // namespace

void add_traffic(RunConfig& config, SimRandom& random, const Traffic& traffic)
{
    std::uint64_t spent = 0;
    const auto horizon = static_cast<std::uint64_t>(traffic.horizon.count());
    for (std::uint32_t index = 0; index < traffic.messages && spent < traffic.budget; ++index) {
        const auto id = static_cast<std::uint32_t>(config.messages.size());
        MessagePlan plan;
        plan.source = static_cast<std::uint32_t>(random.between(0, config.hosts - 1));
        plan.destination = static_cast<std::uint32_t>(random.between(0, config.hosts - 2));
        plan.destination += plan.destination >= plan.source;
        plan.submit_at = Time(Duration(static_cast<std::int64_t>(random.between(0, horizon))));
        plan.length = pick_length(config, random, traffic);
        plan.pieces = static_cast<std::uint8_t>(random.between(1, max_iov));
        plan.level = pick_level(plan, random);
        pick_matching(plan, id, random, traffic);
        plan.receive_at =
            random.chance(traffic.late_receives)
                ? plan.submit_at + Duration(static_cast<std::int64_t>(random.between(0, horizon)))
                : Time(Duration(static_cast<std::int64_t>(random.between(
                      0, static_cast<std::uint64_t>(plan.submit_at.time_since_epoch().count())))));
        spent += plan.length;
        config.messages.push_back(plan);
    }
}

void add_traffic_at(Time start, RunConfig& config, SimRandom& random, const Traffic& traffic)
{
    const std::size_t before = config.messages.size();
    add_traffic(config, random, traffic);
    for (MessagePlan& plan : std::span(config.messages).subspan(before)) {
        plan.submit_at += start.time_since_epoch();
        plan.receive_at += start.time_since_epoch();
    }
}

void add_greetings(Time when, RunConfig& config)
{
    for (std::uint32_t pair = 0; pair < config.hosts * config.hosts; ++pair) {
        MessagePlan plan;
        plan.source = pair / config.hosts;
        plan.destination = pair % config.hosts;
        if (plan.source != plan.destination) {
            plan.length = plan.capacity = 8;
            plan.flags.tagged = true;
            plan.tag = config.messages.size();
            plan.submit_at = plan.receive_at = when;
            config.messages.push_back(plan);
        }
    }
}

} // namespace srd::sim
