// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the target of remote memory access sees and does.
#include "support/rma_checkers.hpp"

#include <algorithm>
#include <cstring>

#include "support/sim/sim_io.hpp"

namespace srd::sim {

namespace {

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
    const bool over = record.completed && plan.proven() &&
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

} // namespace srd::sim
