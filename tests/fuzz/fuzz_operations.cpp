// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Sequences of operations against the model (the ledger): the input decides
// what is sent, by whom, how it is received, and what the network and the
// hosts do meanwhile. The first two bytes choose the hosts and the trouble, then each record of
// six bytes is a message, an access to remote memory (if the first byte allows them) or, now and then,
// a fault.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <tuple>

#include "fuzz/input.hpp"
#include "sim/run.hpp"
#include "sim/scenarios.hpp"

namespace {

using namespace srd;
using namespace srd::sim;
using std::chrono::microseconds;

constexpr CauseSet any_cause = ~CauseSet{0};

void set_trouble(RunConfig& config, std::uint8_t trouble)
{
    config.net.loss = (trouble & 1) != 0 ? 0.05 : 0;
    config.net.duplicate = (trouble & 2) != 0 ? 0.05 : 0;
    config.net.reorder = (trouble & 4) != 0 ? 0.2 : 0;
    config.net.reorder_max = microseconds(300);
    config.host.io.partial_burst = (trouble & 8) != 0 ? 0.3 : 0;
    config.host.limits.unexpected_bytes = (trouble & 32) != 0 ? 64 << 10 : 4 << 20;
    config.host.limits.tx_messages = (trouble & 64) != 0 ? 16 : 1024;
    config.host.io.caps.max_packet = (trouble & 128) != 0 ? 8972 : 1472;
}

void add_fault(RunConfig& config, const std::uint8_t* record, Time at)
{
    const std::uint32_t host = record[1] % config.hosts;
    switch (record[2] % 4) {
    case 0:
        config.faults.push_back({at, Fault::Kind::spine_down, record[3] % config.net.spines});
        return;
    case 1:
        config.faults.push_back({at, Fault::Kind::host_stop, host, 0, record[3] * 100'000ULL});
        return;
    case 2: {
        const std::uint32_t other = (host + 1) % config.hosts;
        config.allowed[host] = config.allowed[other] = any_cause;
        config.faults.push_back({at, Fault::Kind::remove_peer, host, other});
        return;
    }
    default:
        config.allowed[host] = any_cause;
        config.faults.push_back({at, Fault::Kind::host_kill, host, 0, 1});
        config.faults.push_back({at + microseconds(record[3]), Fault::Kind::host_restart, host});
        return;
    }
}

void add_message(RunConfig& config, const std::uint8_t* record, Time at)
{
    const auto id = static_cast<std::uint32_t>(config.messages.size());
    MessagePlan plan;
    plan.source = record[0] % config.hosts;
    plan.destination = (plan.source + 1 + record[1] % (config.hosts - 1)) % config.hosts;
    plan.submit_at = at;
    plan.length = (record[1] & 128) != 0 ? record[2] * 700U : record[2] * 9U;
    plan.level = static_cast<CompletionLevel>(record[3] % 4);
    plan.copy_payload = plan.level == CompletionLevel::none || (record[3] & 4) != 0;
    if (plan.copy_payload) {
        plan.length %= max_inject_size + 1;
    }
    plan.flags.tagged = true;
    plan.flags.has_data = (record[3] & 8) != 0;
    plan.pieces = static_cast<std::uint8_t>(1 + record[3] / 16 % max_iov);
    plan.exact = (record[4] & 1) != 0;
    plan.discard = plan.exact && (record[4] & 6) == 6;
    plan.tag = plan.exact ? id : tag_any_class | id;
    plan.data = plan.flags.has_data ? id : 0;
    plan.capacity = (record[4] & 8) != 0 ? plan.length / 2 : plan.length;
    plan.receive_at = Time(microseconds(record[5] * 20));
    config.messages.push_back(plan);
}

/// Turns records into accesses to regions that are made as they are needed.
class Accesses {
public:
    explicit Accesses(RunConfig& config) : config_(config) {}

    void add(const std::uint8_t* record, Time at)
    {
        RmaPlan plan;
        plan.initiator = record[0] / 2 % config_.hosts;
        plan.target = (plan.initiator + 1 + record[1] % (config_.hosts - 1)) % config_.hosts;
        plan.submit_at = at;
        plan.length = (record[1] & 128) != 0 ? record[2] * 300U : record[2] * 7U;
        plan.level = static_cast<CompletionLevel>(record[3] % 4);
        plan.pieces = static_cast<std::uint8_t>(1 + record[3] / 4 % max_iov);
        plan.range_count = static_cast<std::uint8_t>(1 + record[3] / 16 % max_iov);
        plan.fence = record[3] >= 224;
        plan.has_data = (record[4] & 4) != 0;
        if (record[4] % 4 == 3) {
            make_atomic(plan, record);
        } else {
            make_data(plan, record);
        }
        config_.operations.push_back(plan);
    }

private:
    enum Kind : std::uint32_t { constant, cells, closing, scratch, lane };

    std::uint32_t region(std::uint32_t host, std::uint32_t kind, std::uint8_t access,
                         Time revoke_at = time_never)
    {
        const auto place = regions_.find({host, kind});
        if (place != regions_.end()) {
            return place->second;
        }
        config_.regions.push_back({host, 80'000, access, revoke_at});
        const auto number = static_cast<std::uint32_t>(config_.regions.size() - 1);
        regions_[{host, kind}] = number;
        return number;
    }

    /// Ranges one behind the other; the last one takes what is left.
    static void spread(RmaPlan& plan, std::uint32_t where, std::uint64_t unit)
    {
        std::uint64_t start = 0;
        std::uint64_t rest = plan.length;
        for (std::uint8_t index = 0; index < plan.range_count; ++index) {
            const std::uint64_t share = plan.length / plan.range_count / unit * unit;
            const std::uint64_t length = index + 1 == plan.range_count ? rest : share;
            plan.ranges[index] = {region_base(where) + start, length, where};
            start += length + unit;
            rest -= length;
        }
    }

    void make_atomic(RmaPlan& plan, const std::uint8_t* record)
    {
        plan.kind = OperationKind::atomic;
        plan.length = plan.length / 8 * 8 % (max_atomic_size + 8);
        plan.atomic = static_cast<AtomicKind>(record[5] % 4);
        plan.fetch = plan.atomic == AtomicKind::read || plan.atomic == AtomicKind::compare_swap ||
                     (record[4] & 8) != 0;
        plan.compare_zero = (record[4] & 16) != 0;
        plan.has_data = false;
        spread(plan, region(plan.target, cells, region_access::atomic), 8);
        if (record[4] >= 224) {
            make_mistake(plan, record);
        }
        if (plan.mistake != Cause::none || plan.fetch) {
            plan.level = std::max(plan.level, CompletionLevel::inject);
        }
        plan.copy_payload = plan.level == CompletionLevel::none;
    }

    void make_data(RmaPlan& plan, const std::uint8_t* record)
    {
        plan.kind = record[4] % 4 == 0 ? OperationKind::read : OperationKind::write;
        const bool is_read = plan.kind == OperationKind::read;
        if (record[4] >= 224) {
            spread(plan,
                   region(plan.target, is_read ? constant : scratch,
                          is_read ? region_access::read : region_access::write),
                   1);
            make_mistake(plan, record);
        } else if (record[4] >= 192 && is_read) {
            plan.revocable = true;
            spread(
                plan,
                region(plan.target, closing, region_access::read, plan.submit_at + microseconds(record[5])),
                1);
        } else {
            plan.lane = (plan.initiator * config_.hosts + plan.target) * 2 + record[4] / 8 % 2;
            spread(plan, region(plan.target, lane + plan.lane, region_access::read | region_access::write),
                   1);
        }
        plan.has_data = plan.has_data && !is_read;
        plan.level = is_read || plan.mistake != Cause::none ? std::max(plan.level, CompletionLevel::inject)
                                                            : plan.level;
        plan.copy_payload = !is_read && (plan.level == CompletionLevel::none || (record[4] & 32) != 0);
        if (plan.copy_payload && plan.length > max_inject_size) {
            plan.copy_payload = false;
            plan.level = std::max(plan.level, CompletionLevel::inject);
        }
        if (plan.lane != no_lane) {
            bool& silent = silent_[plan.lane];
            plan.fence = plan.fence || silent;
            silent = !is_read && plan.level < CompletionLevel::transmit;
        }
    }

    static void make_mistake(RmaPlan& plan, const std::uint8_t* record)
    {
        plan.range_count = 1;
        plan.ranges[0].length = plan.length;
        switch (record[5] / 4 % 3) {
        case 0:
            plan.mistake = Cause::bad_key;
            plan.ranges[0].key = unknown_region;
            return;
        case 1:
            plan.mistake = Cause::out_of_bounds;
            plan.ranges[0].address -= 1;
            return;
        default:
            plan.mistake = Cause::out_of_bounds;
            plan.ranges[0].address = ~std::uint64_t{0};
            return;
        }
    }

    RunConfig& config_;
    std::map<std::tuple<std::uint32_t, std::uint32_t>, std::uint32_t> regions_;
    std::map<std::uint32_t, bool> silent_; ///< lanes whose latest operation does not tell when it is done
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 7 || size > 4096) {
        return 0;
    }
    RunConfig config = make_run(*find_scenario("lossless"), 1);
    config.messages.clear();
    config.hosts = 2 + data[0] % 3;
    config.allowed.assign(config.hosts, 0);
    config.host.check_period = 2;
    config.host.io.answers_liveness = true;
    config.error_bound = std::chrono::minutes(2);
    config.patience = std::chrono::seconds(60);
    config.work.forget_completion = fuzz::canary();
    config.rma.forget_completion = fuzz::canary();
    config.trace = std::getenv("SRD_SIM_TRACE") != nullptr; // shows what a finding does
    set_trouble(config, data[1]);
    Accesses accesses(config);
    const bool has_accesses = data[0] >= 128;
    Time at{};
    for (std::size_t position = 2; position + 6 <= size; position += 6) {
        const std::uint8_t* const record = data + position;
        at += microseconds(record[5] / 4);
        if (record[0] >= 250) {
            add_fault(config, record, at);
        } else if (has_accesses && record[0] % 2 == 1) {
            accesses.add(record, at);
        } else {
            add_message(config, record, at);
        }
    }
    const RunResult result = run(config);
    if (!result.ok) {
        throw std::runtime_error(result.failure);
    }
    return 0;
}
