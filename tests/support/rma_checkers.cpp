// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The model's records, order and end, and what the initiator sees. The target: rma_checkers_target.cpp.
#include "support/rma_checkers.hpp"

#include <algorithm>
#include <cstdio>

#include "support/sim/sim_io.hpp"

namespace srd::sim {

namespace {

constexpr CauseSet closing_causes = cause_bit(Cause::region_closed) | cause_bit(Cause::bad_key);

} // namespace

const char* name_of(OperationKind kind) noexcept
{
    switch (kind) {
    case OperationKind::message:
        return "message";
    case OperationKind::write:
        return "write";
    case OperationKind::read:
        return "read";
    case OperationKind::atomic:
        return "atomic";
    }
    return "?";
}

RmaLedger::RmaLedger(Ledger& messages, std::vector<RmaPlan> plans, std::vector<RegionPlan> regions)
    : messages_(messages), regions_(std::move(regions))
{
    for (RmaPlan& plan : plans) {
        records_.emplace_back().plan = plan;
    }
}

std::string RmaLedger::describe(std::uint32_t id) const
{
    const RmaPlan& plan = records_.at(id).plan;
    return std::string(name_of(plan.kind)) + " " + std::to_string(id) + " (" +
           std::to_string(plan.initiator) + " -> " + std::to_string(plan.target) + ", " +
           std::to_string(plan.length) + " bytes in " + std::to_string(plan.range_count) + " ranges, level " +
           std::to_string(static_cast<int>(plan.level)) + (plan.copy_payload ? ", copied" : "") +
           (plan.fence ? ", fenced" : "") + (plan.fetch ? ", fetching" : "") + ", position " +
           std::to_string(records_.at(id).position) + ")";
}

void RmaLedger::fail(std::uint32_t id, const std::string& what) const
{
    throw SimFailure(describe(id) + ": " + what);
}

void RmaLedger::tell(std::uint32_t id, const std::string& what) const
{
    if (trace_) {
        const RmaPlan& plan = records_.at(id).plan;
        std::printf("             %s %u (%u -> %u, %llu bytes, level %d%s) %s\n", name_of(plan.kind), id,
                    plan.initiator, plan.target, static_cast<unsigned long long>(plan.length),
                    static_cast<int>(plan.level), plan.fence ? ", fenced" : "", what.c_str());
    }
}

RmaLedger::Pair& RmaLedger::pair_of(std::uint32_t source, std::uint32_t target)
{
    return pairs_[std::uint64_t{source} << 32 | target];
}

bool RmaLedger::may_fail(const RmaPlan& plan) const
{
    return (messages_.allowed(plan.initiator) | messages_.allowed(plan.target)) != 0;
}

std::array<RemoteRange, max_iov> RmaLedger::wire_ranges(std::uint32_t id) const
{
    std::array<RemoteRange, max_iov> ranges = plan(id).ranges;
    std::uint64_t index = 0;
    for (RemoteRange& range : ranges) {
        range.key |= (std::uint64_t{id} + 1) << 36 | index++ << 32;
    }
    return ranges;
}

// ---------------------------------------------------------------- order

void RmaLedger::add_step(Pair& pair, std::uint32_t id, bool message, bool fence, bool sequenced)
{
    Step step{id, message, pair.steps.empty() ? 0 : pair.steps.back().fence, 0};
    if (fence) {
        step.fence = pair.steps.size();
    }
    if (sequenced) {
        step.sequence = pair.sequence_count++;
    }
    pair.steps.push_back(step);
}

bool RmaLedger::has_effect(const Record& record) const
{
    if (record.rejected != Cause::none) {
        return record.completed || !record.plan.proven();
    }
    switch (record.plan.kind) {
    case OperationKind::write:
        return record.last && record.handled_bytes == record.plan.length;
    case OperationKind::read:
        return !record.handled.empty() && record.handled_bytes == record.plan.length;
    default:
        return record.executed;
    }
}

bool RmaLedger::complete(const Step& step) const
{
    if (step.message) {
        return messages_.record(step.id).taken;
    }
    const Record& record = records_[step.id];
    if (record.completed && record.cause == Cause::region_closed) {
        return true; // in the middle: no piece of it was rejected, and not all were served
    }
    const bool brings = record.plan.kind == OperationKind::read || record.plan.fetch;
    return has_effect(record) && (!brings || record.completed);
}

void RmaLedger::check_fence(std::uint32_t source, std::uint32_t target, std::size_t position)
{
    if ((messages_.allowed(source) | messages_.allowed(target)) != 0) {
        return;
    }
    Pair& pair = pair_of(source, target);
    const Step& step = pair.steps.at(position);
    while (pair.complete < step.fence && complete(pair.steps[pair.complete])) {
        ++pair.complete;
    }
    if (pair.complete < step.fence) {
        const Step& missing = pair.steps[pair.complete];
        const std::string what = "took effect behind the fence at position " + std::to_string(step.fence) +
                                 " though position " + std::to_string(pair.complete) + " (" +
                                 (missing.message ? "message " : "operation ") + std::to_string(missing.id) +
                                 ") is not complete";
        if (!step.message) {
            fail(step.id, what);
        }
        throw SimFailure("message " + std::to_string(step.id) + " " + what);
    }
}

void RmaLedger::take_turn(std::uint32_t source, std::uint32_t target, std::size_t position)
{
    Pair& pair = pair_of(source, target);
    const Step& step = pair.steps.at(position);
    const bool failing = (messages_.allowed(source) | messages_.allowed(target)) != 0;
    if (step.sequence < pair.sequence_next || (step.sequence > pair.sequence_next && !failing)) {
        throw SimFailure(std::string(step.message ? "message " : "atomic ") + std::to_string(step.id) + " (" +
                         std::to_string(source) + " -> " + std::to_string(target) +
                         ") took effect out of its turn: it is number " + std::to_string(step.sequence) +
                         " of its initiator's messages and atomics, number " +
                         std::to_string(pair.sequence_next) + " was next");
    }
    pair.sequence_next = step.sequence + 1;
}

void RmaLedger::check_lane(const Part& part)
{
    const Record& record = records_[part.id];
    if (record.plan.lane == no_lane) {
        return;
    }
    Lane& lane = lanes_[record.plan.lane];
    while (lane.submitted[lane.current] != part.id) {
        const Record& current = records_[lane.submitted[lane.current]];
        if (!has_effect(current) && !may_fail(record.plan)) {
            fail(part.id, "took effect on its lane before operation " +
                              std::to_string(lane.submitted[lane.current]) + " had");
        }
        if (++lane.current == lane.submitted.size()) {
            if (may_fail(record.plan)) {
                lane.current = 0; // something late of an operation that has failed
                return;
            }
            fail(part.id, "took effect on its lane after a later operation");
        }
    }
}

void RmaLedger::check_effect(const Part& part)
{
    const Record& record = records_[part.id];
    check_fence(record.plan.initiator, record.plan.target, record.position);
    check_lane(part);
}

// ---------------------------------------------------------------- the initiator

void RmaLedger::on_submitted(std::uint32_t id, Time now)
{
    Record& record = records_.at(id);
    const RmaPlan& plan = record.plan;
    Pair& pair = pair_of(plan.initiator, plan.target);
    record.submitted = true;
    record.submitted_at = now;
    record.position = pair.steps.size();
    add_step(pair, id, false, plan.fence, plan.kind == OperationKind::atomic);
    if (plan.lane != no_lane) {
        lanes_[plan.lane].submitted.push_back(id);
    }
    tell(id, "submitted");
}

void RmaLedger::on_message_submitted(std::uint32_t message, bool fence)
{
    const MessagePlan& plan = messages_.plan(message);
    Pair& pair = pair_of(plan.source, plan.destination);
    message_positions_[message] = pair.steps.size();
    add_step(pair, message, true, fence, true);
}

void RmaLedger::on_message_taken(std::uint32_t message)
{
    const MessagePlan& plan = messages_.plan(message);
    const std::size_t position = message_positions_.at(message);
    take_turn(plan.source, plan.destination, position);
    check_fence(plan.source, plan.destination, position);
}

void RmaLedger::on_completed(std::uint32_t id, Cause cause, std::span<const std::byte> memory, Time now)
{
    tell(id, std::string("completed: ") + (cause == Cause::none ? "good" : to_string(cause)));
    Record& record = records_.at(id);
    const RmaPlan& plan = record.plan;
    if (!record.submitted || record.completed) {
        fail(id, record.completed ? "completed twice" : "completed before its submission");
    }
    if (!plan.wants_completion()) {
        fail(id, "completed, though no completion was asked for");
    }
    record.cause = cause;
    if (cause == Cause::none) {
        check_success(id, memory);
    } else {
        check_failure(id, memory, now);
    }
    record.completed = true;
    record.completed_at = now;
}

void RmaLedger::check_success(std::uint32_t id, std::span<const std::byte> memory) const
{
    const Record& record = records_.at(id);
    const RmaPlan& plan = record.plan;
    if (!plan.proven()) {
        return;
    }
    if (plan.mistake != Cause::none || record.rejected != Cause::none) {
        fail(id, std::string("completed well in spite of: ") +
                     to_string(plan.mistake != Cause::none ? plan.mistake : record.rejected));
    }
    if (!has_effect(record)) {
        fail(id, "completed with " + std::to_string(record.handled_bytes) +
                     " bytes done and without its whole effect");
    }
    const bool brings = plan.kind == OperationKind::read || plan.fetch;
    if (brings && !std::equal(memory.begin(), memory.end(), record.expected.begin(), record.expected.end())) {
        fail(id, "completed with other bytes than the target's memory held");
    }
}

void RmaLedger::check_failure(std::uint32_t id, std::span<const std::byte> memory, Time now) const
{
    const Record& record = records_.at(id);
    const RmaPlan& plan = record.plan;
    const CauseSet peers = messages_.allowed(plan.initiator) | messages_.allowed(plan.target);
    const CauseSet bit = cause_bit(record.cause);
    bool lawful = (peers & bit) != 0 || (record.cause == plan.mistake && record.rejected == plan.mistake);
    if (plan.revocable && (closing_causes & bit) != 0) {
        const auto region = static_cast<std::uint32_t>(plan.ranges[0].key);
        lawful = lawful || now >= regions_.at(region).revoke_at;
    }
    if (!lawful) {
        fail(id, std::string("failed: ") + to_string(record.cause) +
                     " (its target's answer: " + to_string(record.rejected) + ")");
    }
    for (std::size_t index = 0; index < memory.size(); ++index) {
        const bool known = index < record.expected.size() && memory[index] == record.expected[index];
        if (memory[index] != untouched_byte && !known) {
            fail(id, "failed, and left a byte at " + std::to_string(index) + " that it was never sent");
        }
    }
}

void RmaLedger::on_host_killed(std::uint32_t host)
{
    for (Record& record : records_) {
        if (record.plan.initiator == host && record.submitted && !record.completed) {
            record.orphaned = true;
        }
    }
}

// ---------------------------------------------------------------- the end

bool RmaLedger::unsettled(const Record& record, const std::vector<bool>& dead) const
{
    const RmaPlan& plan = record.plan;
    if (!record.submitted) {
        return !record.abandoned && !dead.at(plan.initiator);
    }
    if (record.orphaned) {
        return false;
    }
    if (!record.completed && plan.wants_completion()) {
        return true;
    }
    // What completed early, or never tells, takes effect all the same.
    return !may_fail(plan) && record.cause == Cause::none && record.rejected == Cause::none &&
           !has_effect(record);
}

bool RmaLedger::settled(const std::vector<bool>& dead) const
{
    return std::none_of(records_.begin(), records_.end(),
                        [&](const Record& record) { return unsettled(record, dead); });
}

std::string RmaLedger::first_unsettled(const std::vector<bool>& dead) const
{
    for (std::uint32_t id = 0; id < size(); ++id) {
        const Record& record = records_[id];
        if (unsettled(record, dead)) {
            return describe(id) + ": " +
                   (!record.submitted   ? "not submitted"
                    : !record.completed ? "not completed"
                                        : "completed") +
                   ", " + std::to_string(record.handled_bytes) + " bytes done" +
                   (record.last ? ", announced complete" : "") + (record.executed ? ", executed" : "") +
                   (record.rejected != Cause::none ? ", rejected" : "");
        }
    }
    return "nothing";
}

void RmaLedger::check_end(const std::vector<bool>& dead) const
{
    if (!settled(dead)) {
        throw SimFailure("the run ended, and this is still under way: " + first_unsettled(dead));
    }
}

} // namespace srd::sim
