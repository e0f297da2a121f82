// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A little over 600 lines: one model, in which the laws of writes, reads and atomics meet.
#include "support/rma_checkers.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "support/sim_io.hpp"

namespace srd::sim {

namespace {

const char* name_of(OperationKind kind)
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

/// The completion says that the operation has taken effect.
bool proven(const RmaPlan& plan)
{
    return plan.level >= CompletionLevel::transmit || plan.kind == OperationKind::read || plan.fetch;
}

bool wants_completion(const RmaPlan& plan)
{
    return plan.level != CompletionLevel::none || plan.kind == OperationKind::read || plan.fetch;
}

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t offset)
{
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + offset, 8);
    return value;
}

/// The comparand of a compare-swap: zero, which it now and then meets, or one byte of its operand.
std::byte comparand_of(const RmaPlan& plan, std::span<const std::byte> operands)
{
    return plan.compare_zero || operands.empty() ? std::byte{0} : operands[0];
}

constexpr CauseSet closing_causes = cause_bit(Cause::region_closed) | cause_bit(Cause::bad_key);

} // namespace

std::uint64_t atomic_result(AtomicKind kind, std::uint64_t value, std::uint64_t operand,
                            std::uint64_t comparand) noexcept
{
    switch (kind) {
    case AtomicKind::sum:
        return value + operand;
    case AtomicKind::compare_swap:
        return value == comparand ? operand : value;
    case AtomicKind::swap:
        return operand;
    default:
        return value;
    }
}

RmaLedger::RmaLedger(Ledger& messages, std::vector<RmaPlan> plans, std::vector<RegionPlan> regions)
    : messages_(messages), regions_(std::move(regions))
{
    for (RmaPlan& plan : plans) {
        records_.emplace_back().plan = plan;
    }
}

void RmaLedger::fail(std::uint32_t id, const std::string& what) const
{
    const RmaPlan& plan = records_.at(id).plan;
    throw SimFailure(std::string(name_of(plan.kind)) + " " + std::to_string(id) + " (" +
                     std::to_string(plan.initiator) + " -> " + std::to_string(plan.target) + ", " +
                     std::to_string(plan.length) + " bytes in " + std::to_string(plan.range_count) +
                     " ranges, level " + std::to_string(static_cast<int>(plan.level)) +
                     (plan.copy_payload ? ", copied" : "") + (plan.fence ? ", fenced" : "") +
                     (plan.fetch ? ", fetching" : "") + ", position " +
                     std::to_string(records_.at(id).position) + "): " + what);
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
        return record.completed || !proven(record.plan);
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
    if (!wants_completion(plan)) {
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
    if (!proven(plan)) {
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

// ---------------------------------------------------------------- the target

RmaLedger::Record& RmaLedger::meet(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation,
                                   OperationKind kind, const RemoteRange& range, Part& part)
{
    const std::uint64_t id = (range.key >> 36) - 1;
    const std::uint64_t index = range.key >> 32 & 15;
    if (id >= records_.size() || index >= records_[id].plan.range_count) {
        throw SimFailure("an access with a key that was never used: " + std::to_string(range.key));
    }
    part.id = static_cast<std::uint32_t>(id);
    Record& record = records_[id];
    const RmaPlan& plan = record.plan;
    if (!record.submitted || plan.initiator != source || plan.target != target || plan.kind != kind) {
        fail(part.id, std::string("announced as a ") + name_of(kind) + " at host " + std::to_string(target) +
                          " from host " + std::to_string(source));
    }
    const RemoteRange& planned = plan.ranges[index];
    const std::uint64_t inside = range.address - planned.address;
    if (inside > planned.length || range.length > planned.length - inside ||
        static_cast<std::uint32_t>(range.key) != static_cast<std::uint32_t>(planned.key)) {
        fail(part.id, "announced with bytes beyond its range " + std::to_string(index));
    }
    part.offset = inside;
    for (std::uint64_t before = 0; before < index; ++before) {
        part.offset += plan.ranges[before].length;
    }
    const bool peer_failed = record.completed && record.cause != Cause::none && may_fail(plan);
    const bool over = record.completed && proven(plan) &&
                      (record.cause == Cause::none || kind != OperationKind::read) && !peer_failed;
    if (over) {
        fail(part.id, "touched the target's memory after its completion");
    }
    if (record.target_incarnation != 0 && record.target_incarnation != incarnation) {
        fail(part.id, "met two incarnations of its target");
    }
    record.target_incarnation = incarnation;
    return record;
}

void RmaLedger::claim(const Part& part, std::uint64_t length)
{
    Record& record = records_.at(part.id);
    const auto after = record.handled.lower_bound(part.offset);
    const bool hits_after =
        after != record.handled.end() && (after->first < part.offset + length || after->first == part.offset);
    const bool hits_before =
        after != record.handled.begin() && std::prev(after)->first + std::prev(after)->second > part.offset;
    if (length == 0 && record.plan.length != 0) {
        return; // an empty range among others
    }
    if (hits_after || hits_before) {
        fail(part.id, "bytes at " + std::to_string(part.offset) + " were announced twice");
    }
    record.handled.emplace(part.offset, length);
    record.handled_bytes += length;
}

RmaLedger::Part RmaLedger::on_write(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation,
                                    const Event& event)
{
    if (event.ranges.size() != 1 || event.payload.size() != event.ranges[0].length) {
        throw SimFailure("a write was announced with other than one range as long as its bytes");
    }
    Part part;
    const Record& record = meet(source, target, incarnation, OperationKind::write, event.ranges[0], part);
    tell(part.id, "at " + std::to_string(part.offset) + ", " + std::to_string(event.payload.size()) +
                      " bytes announced" + (event.last ? ", last" : ""));
    if (!pattern_matches(event.payload, seed(), identity(part.id), part.offset)) {
        fail(part.id, "announced with wrong bytes at " + std::to_string(part.offset));
    }
    if (record.last) {
        fail(part.id, "announced again after its last piece");
    }
    check_effect(part);
    return part;
}

void RmaLedger::on_placed(const Part& part, const Event& event)
{
    Record& record = records_.at(part.id);
    const RmaPlan& plan = record.plan;
    claim(part, event.payload.size());
    if (!event.last) {
        return;
    }
    record.last = true;
    if (record.rejected != Cause::none) {
        fail(part.id, "announced complete, though a piece of it was rejected");
    }
    if (record.handled_bytes != plan.length || event.length != plan.length) {
        fail(part.id, "announced complete with " + std::to_string(record.handled_bytes) +
                          " bytes placed and length " + std::to_string(event.length));
    }
    if (event.flags.has_data != plan.has_data || (plan.has_data && event.data != identity(part.id))) {
        fail(part.id, "announced complete with other data: " + std::to_string(event.data));
    }
}

void RmaLedger::on_rejected(const Part& part, std::uint64_t length, Cause cause)
{
    tell(part.id, std::string("rejected: ") + to_string(cause));
    Record& record = records_.at(part.id);
    const bool closed = record.plan.revocable && cause == Cause::bad_key;
    if (cause != record.plan.mistake && !closed) {
        fail(part.id, std::string("its target rejects it: ") + to_string(cause));
    }
    if (record.plan.kind == OperationKind::atomic && (record.executed || record.rejected != Cause::none)) {
        fail(part.id, "announced again");
    }
    record.rejected = cause;
    if (record.plan.kind != OperationKind::atomic) {
        claim(part, length);
    }
}

RmaLedger::Part RmaLedger::on_read(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation,
                                   const Event& event)
{
    if (event.ranges.size() != 1) {
        throw SimFailure("a read was announced with other than one range");
    }
    Part part;
    meet(source, target, incarnation, OperationKind::read, event.ranges[0], part);
    tell(part.id, "at " + std::to_string(part.offset) + ", " + std::to_string(event.ranges[0].length) +
                      " bytes asked for" + (event.last ? ", last" : ""));
    check_effect(part);
    return part;
}

void RmaLedger::on_served(const Part& part, std::span<const std::byte> bytes)
{
    Record& record = records_.at(part.id);
    claim(part, bytes.size());
    record.expected.resize(record.plan.length, untouched_byte);
    std::copy(bytes.begin(), bytes.end(), record.expected.begin() + static_cast<std::ptrdiff_t>(part.offset));
}

std::uint32_t RmaLedger::on_atomic(std::uint32_t source, std::uint32_t target, std::uint32_t incarnation,
                                   const Event& event)
{
    if (event.ranges.empty() || event.ranges.size() > max_iov) {
        throw SimFailure("an atomic was announced with " + std::to_string(event.ranges.size()) + " ranges");
    }
    Part part;
    const Record& record = meet(source, target, incarnation, OperationKind::atomic, event.ranges[0], part);
    const RmaPlan& plan = record.plan;
    tell(part.id, "announced");
    if (record.executed || record.rejected != Cause::none) {
        fail(part.id, "announced again");
    }
    const auto ranges = wire_ranges(part.id);
    const bool same =
        std::equal(event.ranges.begin(), event.ranges.end(), ranges.begin(),
                   ranges.begin() + plan.range_count, [](const RemoteRange& a, const RemoteRange& b) {
                       return a.address == b.address && a.length == b.length && a.key == b.key;
                   });
    const std::uint64_t operands = plan.atomic == AtomicKind::read ? 0 : plan.length;
    const std::uint64_t compares = plan.atomic == AtomicKind::compare_swap ? plan.length : 0;
    if (!same || event.payload.size() != operands || event.compare.size() != compares ||
        event.result.size() != (plan.fetch ? plan.length : 0) || event.operation != operation_byte(plan) ||
        event.datatype != static_cast<std::uint8_t>(part.id)) {
        fail(part.id, "announced with other ranges, lengths or datatype");
    }
    const std::byte comparand = comparand_of(plan, event.payload);
    if (!pattern_matches(event.payload, seed(), identity(part.id)) ||
        std::any_of(event.compare.begin(), event.compare.end(),
                    [&](std::byte byte) { return byte != comparand; })) {
        fail(part.id, "announced with wrong operands");
    }
    take_turn(source, target, record.position);
    check_effect(part);
    return part.id;
}

void RmaLedger::on_executed(std::uint32_t id, std::span<const std::byte> old_values)
{
    tell(id, "executed");
    Record& record = records_.at(id);
    const RmaPlan& plan = record.plan;
    record.executed = true;
    std::vector<std::byte> operands(plan.length);
    pattern_fill(operands, seed(), identity(id));
    const std::vector<std::byte> comparands(8, comparand_of(plan, operands));
    const std::uint64_t comparand = word_at(comparands, 0);
    std::size_t done = 0;
    for (std::uint8_t index = 0; index < plan.range_count; ++index) {
        const auto region = static_cast<std::uint32_t>(plan.ranges[index].key);
        const std::uint64_t start = plan.ranges[index].address - region_base(region);
        (void)cells(region);
        for (std::uint64_t offset = 0; offset < plan.ranges[index].length; offset += 8, done += 8) {
            std::byte* const cell = cells_[region].data() + start + offset;
            record.expected.insert(record.expected.end(), cell, cell + 8);
            const std::uint64_t value = atomic_result(plan.atomic, word_at(cells_[region], start + offset),
                                                      word_at(operands, done), comparand);
            std::memcpy(cell, &value, 8);
        }
    }
    if (!plan.fetch) {
        record.expected.clear();
    }
    if (!std::equal(old_values.begin(), old_values.end(), record.expected.begin(), record.expected.end())) {
        fail(id, "found other values than its predecessors left");
    }
}

std::span<const std::byte> RmaLedger::cells(std::uint32_t region)
{
    cells_[region].resize(regions_.at(region).size);
    return cells_[region];
}

void RmaLedger::on_host_restarted(std::uint32_t host)
{
    std::erase_if(cells_, [&](const auto& entry) { return regions_.at(entry.first).host == host; });
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
    if (!record.completed && wants_completion(plan)) {
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
            try {
                fail(id, std::string(!record.submitted   ? "not submitted"
                                     : !record.completed ? "not completed"
                                                         : "completed") +
                             ", " + std::to_string(record.handled_bytes) + " bytes done" +
                             (record.last ? ", announced complete" : "") +
                             (record.executed ? ", executed" : "") +
                             (record.rejected != Cause::none ? ", rejected" : ""));
            } catch (const SimFailure& failure) {
                return failure.what();
            }
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
