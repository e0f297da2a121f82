// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Remote memory access between random pairs of a run's hosts.
//
// Each host has memory of several kinds: `constant` (readable, a pattern),
// `scratch` (writable: for operations whose mistake leaves it undefined), cells
// (atomics of everybody), memory that it closes under way (one readable, one
// writable), and the memory of lanes. A lane belongs to one initiator, and what
// happens on it happens in order: each operation waits for the one before, or is
// fenced where its predecessor does not tell when it is done.
#include <algorithm>
#include <array>

#include "sim/scenarios.hpp"

namespace srd::sim {

namespace {

constexpr std::uint64_t cell_count = 96;

struct Lane {
    std::uint32_t initiator = 0;
    std::uint32_t target = 0;
    std::uint32_t region = 0;
    std::uint32_t number = 0;
};

class Generator {
public:
    Generator(RunConfig& config, SimRandom& random, const RmaTraffic& traffic)
        : config_(config), random_(random), traffic_(traffic)
    {
    }

    void make();

private:
    std::uint32_t add_region(std::uint32_t host, std::uint64_t size, std::uint8_t access,
                             Time revoke_at = time_never)
    {
        config_.regions.push_back({host, size, access, revoke_at});
        return static_cast<std::uint32_t>(config_.regions.size() - 1);
    }
    Time pick_time()
    {
        return Time(Duration(static_cast<std::int64_t>(
            random_.between(0, static_cast<std::uint64_t>(traffic_.horizon.count())))));
    }
    std::uint64_t region_size(std::uint32_t region) const { return config_.regions.at(region).size; }

    void make_regions();
    void make_lanes();
    std::uint64_t pick_length();
    void pick_level(RmaPlan& plan);
    void pick_ranges(RmaPlan& plan, std::uint32_t region, std::uint64_t unit);
    void pick_data_operation(RmaPlan& plan);
    void pick_lane(RmaPlan& plan);
    void pick_atomic(RmaPlan& plan);
    void add_mistake(RmaPlan& plan);
    void break_bounds(RmaPlan& plan, RemoteRange& range);
    void order_lanes(std::size_t first);

    RunConfig& config_;
    SimRandom& random_;
    const RmaTraffic& traffic_;
    std::vector<std::uint32_t> constant_;
    std::vector<std::uint32_t> scratch_;
    std::vector<std::uint32_t> cells_;
    std::vector<std::uint32_t> closing_read_;
    std::vector<std::uint32_t> closing_write_;
    std::vector<Lane> lanes_;
};

void Generator::make_regions()
{
    for (std::uint32_t host = 0; host < config_.hosts; ++host) {
        constant_.push_back(add_region(host, traffic_.longest + 4096, region_access::read));
        scratch_.push_back(add_region(host, traffic_.longest + 4096, region_access::write));
        cells_.push_back(add_region(host, cell_count * 8, region_access::atomic));
        closing_read_.push_back(add_region(host, traffic_.longest + 64, region_access::read, pick_time()));
        closing_write_.push_back(add_region(host, traffic_.longest + 64, region_access::write, pick_time()));
    }
}

void Generator::make_lanes()
{
    for (std::uint32_t number = 0; number < traffic_.lanes; ++number) {
        Lane lane;
        lane.number = number;
        lane.initiator = static_cast<std::uint32_t>(random_.between(0, config_.hosts - 1));
        lane.target = static_cast<std::uint32_t>(random_.between(0, config_.hosts - 2));
        lane.target += lane.target >= lane.initiator;
        lane.region = add_region(lane.target, random_.chance(0.5) ? 6000 : traffic_.longest + 64,
                                 region_access::read | region_access::write);
        lanes_.push_back(lane);
    }
}

/// A length that likes the edges: of the copy limit, of one packet, of two, of an inject.
std::uint64_t Generator::pick_length()
{
    const std::uint64_t packet = config_.host.io.caps.max_packet;
    const std::array<std::uint64_t, 8> edges{0,
                                             8,
                                             config_.host.tuning.copy_size,
                                             packet - 60,
                                             packet - 100,
                                             2 * packet - 130,
                                             max_inject_size,
                                             3 * packet};
    const auto kind = random_.between(0, 99);
    std::uint64_t length = 0;
    if (kind < 6) {
        return 0;
    }
    if (kind < 45) {
        const std::uint64_t edge = edges[random_.between(0, edges.size() - 1)];
        const std::uint64_t jitter = random_.between(0, 60);
        length = edge + jitter > 30 ? edge + jitter - 30 : 0;
    } else if (kind < 70) {
        length = random_.between(0, 3000);
    } else if (kind < 93) {
        length = random_.between(0, 60'000);
    } else {
        length = random_.between(0, traffic_.longest);
    }
    return std::min(length, traffic_.longest);
}

void Generator::pick_level(RmaPlan& plan)
{
    plan.copy_payload =
        plan.length <= max_inject_size && plan.kind == OperationKind::write && random_.chance(0.4);
    switch (random_.between(0, 9)) {
    case 0:
        // Nobody would ever hear of a mistake.
        plan.level = plan.mistake == Cause::none && !plan.fetch && plan.kind != OperationKind::read &&
                             (plan.copy_payload || plan.kind == OperationKind::atomic)
                         ? CompletionLevel::none
                         : CompletionLevel::transmit;
        plan.copy_payload = plan.copy_payload || plan.level == CompletionLevel::none;
        return;
    case 1:
    case 2:
        plan.level = CompletionLevel::inject;
        return;
    case 3:
    case 4:
    case 5:
        plan.level = CompletionLevel::delivery;
        return;
    default:
        plan.level = CompletionLevel::transmit;
    }
}

/// Cuts the operation into ranges of multiples of `unit`, in order and apart from each other.
void Generator::pick_ranges(RmaPlan& plan, std::uint32_t region, std::uint64_t unit)
{
    plan.range_count = static_cast<std::uint8_t>(random_.chance(0.5) ? 1 : random_.between(1, max_iov));
    std::uint64_t rest = plan.length / unit;
    std::uint64_t room = (region_size(region) - plan.length) / unit;
    std::uint64_t position = 0;
    for (std::uint8_t index = 0; index < plan.range_count; ++index) {
        const std::uint64_t gap = random_.between(0, room);
        const std::uint64_t length = index + 1 == plan.range_count ? rest : random_.between(0, rest);
        position += gap;
        plan.ranges[index] = {region_base(region) + position * unit, length * unit, region};
        position += length;
        room -= gap;
        rest -= length;
    }
}

void Generator::pick_lane(RmaPlan& plan)
{
    const Lane& lane = lanes_[random_.between(0, lanes_.size() - 1)];
    plan.lane = lane.number;
    plan.initiator = lane.initiator;
    plan.target = lane.target;
    plan.length = std::min(plan.length, region_size(lane.region));
    plan.kind = random_.chance(0.7) ? OperationKind::write : OperationKind::read;
    pick_ranges(plan, lane.region, 1);
}

void Generator::pick_data_operation(RmaPlan& plan)
{
    plan.length = pick_length();
    plan.pieces = static_cast<std::uint8_t>(random_.between(1, max_iov));
    if (random_.chance(traffic_.mistakes)) {
        plan.kind = random_.chance(0.6) ? OperationKind::write : OperationKind::read;
        pick_ranges(plan, (plan.kind == OperationKind::write ? scratch_ : constant_)[plan.target], 1);
        add_mistake(plan);
    } else if (random_.chance(traffic_.closing)) {
        plan.revocable = true;
        plan.kind = random_.chance(0.7) ? OperationKind::read : OperationKind::write;
        pick_ranges(plan, (plan.kind == OperationKind::write ? closing_write_ : closing_read_)[plan.target],
                    1);
    } else if (random_.chance(traffic_.reads)) {
        plan.kind = OperationKind::read;
        pick_ranges(plan, constant_[plan.target], 1);
    } else {
        pick_lane(plan);
    }
    plan.has_data = plan.kind == OperationKind::write && random_.chance(0.4);
    pick_level(plan);
}

void Generator::pick_atomic(RmaPlan& plan)
{
    plan.kind = OperationKind::atomic;
    plan.atomic = static_cast<AtomicKind>(random_.between(0, 3));
    const bool must_fetch = plan.atomic == AtomicKind::read || plan.atomic == AtomicKind::compare_swap;
    plan.fetch = must_fetch || random_.chance(0.4);
    plan.compare_zero = random_.chance(0.5);
    plan.length = 8 * (random_.chance(0.6) ? random_.between(0, 4) : random_.between(0, max_atomic_size / 8));
    plan.pieces = static_cast<std::uint8_t>(random_.between(1, max_iov));
    pick_ranges(plan, cells_[plan.target], 8);
    if (random_.chance(traffic_.mistakes)) {
        add_mistake(plan);
    }
    pick_level(plan);
}

void Generator::break_bounds(RmaPlan& plan, RemoteRange& range)
{
    plan.mistake = Cause::out_of_bounds;
    const auto region = static_cast<std::uint32_t>(range.key);
    switch (random_.between(0, 3)) {
    case 0:
        range.address = region_base(region) - 1;
        return;
    case 1:
        range.address = region_base(region) + region_size(region) - range.length + 1;
        return;
    case 2:
        range.address = 0 - range.length; // up to the end of all addresses
        return;
    default:
        range.address = 0 - range.length / 2; // and beyond it
        return;
    }
}

/// One range gets a wrong key, bound or right; or the operation is one that nobody serves.
void Generator::add_mistake(RmaPlan& plan)
{
    if (plan.length == 0) {
        plan.range_count = 1; // of several empty ranges not every one is looked at
    }
    std::uint8_t which = 0;
    for (std::uint8_t index = 0; index < plan.range_count; ++index) {
        which = plan.ranges[index].length > plan.ranges[which].length ? index : which;
    }
    RemoteRange& range = plan.ranges[which];
    const auto kind = random_.between(0, 3);
    if (kind == 3 && plan.kind == OperationKind::atomic) {
        plan.mistake = Cause::bad_operation;
    } else if (kind == 2) {
        plan.mistake = Cause::access_denied;
        const auto& regions = plan.kind == OperationKind::read ? scratch_ : constant_;
        range.key = regions[plan.target];
        range.address = region_base(regions[plan.target]);
    } else if (kind == 1 && range.length != 0) {
        break_bounds(plan, range);
    } else {
        plan.mistake = Cause::bad_key;
        range.key = unknown_region;
    }
}

/// What cannot wait for its predecessor's completion is fenced.
void Generator::order_lanes(std::size_t first)
{
    const auto begin = config_.operations.begin() + static_cast<std::ptrdiff_t>(first);
    std::stable_sort(begin, config_.operations.end(),
                     [](const RmaPlan& a, const RmaPlan& b) { return a.submit_at < b.submit_at; });
    std::vector<const RmaPlan*> previous(lanes_.size());
    for (auto plan = begin; plan != config_.operations.end(); ++plan) {
        if (plan->lane == no_lane) {
            continue;
        }
        const RmaPlan*& before = previous[plan->lane];
        const bool silent = before != nullptr && before->level < CompletionLevel::transmit &&
                            before->kind == OperationKind::write;
        plan->fence = plan->fence || silent;
        before = &*plan;
    }
}

void Generator::make()
{
    const std::size_t first = config_.operations.size();
    std::uint64_t spent = 0;
    make_regions();
    make_lanes();
    for (std::uint32_t index = 0; index < traffic_.operations && spent < traffic_.budget; ++index) {
        RmaPlan plan;
        plan.initiator = static_cast<std::uint32_t>(random_.between(0, config_.hosts - 1));
        plan.target = static_cast<std::uint32_t>(random_.between(0, config_.hosts - 2));
        plan.target += plan.target >= plan.initiator;
        plan.submit_at = pick_time();
        if (random_.chance(traffic_.atomics)) {
            pick_atomic(plan);
        } else {
            pick_data_operation(plan);
        }
        plan.fence = random_.chance(traffic_.fences);
        spent += plan.length;
        config_.operations.push_back(plan);
    }
    order_lanes(first);
    for (MessagePlan& plan : config_.messages) {
        plan.fence = random_.chance(traffic_.fences / 2);
    }
}

} // namespace

void add_rma_traffic(RunConfig& config, SimRandom& random, const RmaTraffic& traffic)
{
    Generator(config, random, traffic).make();
}

} // namespace srd::sim
