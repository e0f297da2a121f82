// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Sequences of operations against the model (the ledger): the input decides
// what is sent, by whom, how it is received, and what the network and the
// hosts do meanwhile. The first byte chooses the trouble, then each record of
// six bytes is a message or, now and then, a fault.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

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
    config.host.io.caps.keeps_tx_memory = (trouble & 16) != 0;
    config.host.io.tx_hold = microseconds(200);
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
#ifdef SRD_FUZZ_CANARY
    config.work.forget_completion = true;
#endif
    config.trace = std::getenv("SRD_SIM_TRACE") != nullptr; // shows what a finding does
    set_trouble(config, data[1]);
    Time at{};
    for (std::size_t position = 2; position + 6 <= size; position += 6) {
        const std::uint8_t* const record = data + position;
        at += microseconds(record[5] / 4);
        if (record[0] >= 250) {
            add_fault(config, record, at);
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
