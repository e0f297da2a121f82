// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "support/checkers.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "support/sim/sim_io.hpp"
#include "support/sim/sim_random.hpp"

namespace srd::sim {

namespace {

std::uint64_t pattern_word(std::uint64_t key, std::uint64_t index) noexcept
{
    const std::uint64_t value = (index + 1) * 0x9e3779b97f4a7c15U + key;
    return value ^ (value >> 29);
}

std::uint64_t pattern_key(std::uint64_t seed, std::uint64_t identity) noexcept
{
    return mix64(seed ^ mix64(identity));
}

std::uint64_t pair_key(std::uint32_t source, std::uint32_t destination) noexcept
{
    return std::uint64_t{source} << 32 | destination;
}

/// Calls piece(position, length, word bytes) for every stretch that lies in one word of the pattern.
template <typename Piece>
void walk_pattern(std::size_t size, std::uint64_t key, std::uint64_t offset, Piece&& piece)
{
    std::size_t position = 0;
    while (position < size) {
        const std::size_t skip = (offset + position) % 8;
        const std::size_t length = std::min<std::size_t>(8 - skip, size - position);
        const std::uint64_t word = pattern_word(key, (offset + position) / 8);
        std::byte bytes[8];
        std::memcpy(bytes, &word, 8);
        if (!piece(position, length, bytes + skip)) {
            return;
        }
        position += length;
    }
}

} // namespace

void pattern_fill(std::span<std::byte> bytes, std::uint64_t seed, std::uint64_t identity,
                  std::uint64_t offset)
{
    walk_pattern(bytes.size(), pattern_key(seed, identity), offset,
                 [&](std::size_t position, std::size_t length, const std::byte* word) {
                     std::memcpy(bytes.data() + position, word, length);
                     return true;
                 });
}

bool pattern_matches(std::span<const std::byte> bytes, std::uint64_t seed, std::uint64_t identity,
                     std::uint64_t offset)
{
    bool equal = true;
    walk_pattern(bytes.size(), pattern_key(seed, identity), offset,
                 [&](std::size_t position, std::size_t length, const std::byte* word) {
                     equal = std::memcmp(bytes.data() + position, word, length) == 0;
                     return equal;
                 });
    return equal;
}

Ledger::Ledger(std::uint64_t seed, std::vector<MessagePlan> plans, std::uint32_t hosts)
    : seed_(seed), allowed_(hosts)
{
    for (MessagePlan& plan : plans) {
        records_.emplace_back().plan = plan;
    }
}

void Ledger::fail(std::uint32_t id, const std::string& what) const
{
    const Record& record = records_.at(id);
    throw SimFailure("message " + std::to_string(id) + " (" + std::to_string(record.plan.source) + " -> " +
                     std::to_string(record.plan.destination) + ", " + std::to_string(record.plan.length) +
                     " bytes, level " + std::to_string(static_cast<int>(record.plan.level)) +
                     (record.plan.copy_payload ? ", copied" : "") + ", position " +
                     std::to_string(record.position) + "): " + what);
}

void Ledger::tell(std::uint32_t id, const char* what) const
{
    if (trace_) {
        const MessagePlan& plan = records_.at(id).plan;
        std::printf("             message %u (%u -> %u, %llu bytes, level %d) %s\n", id, plan.source,
                    plan.destination, static_cast<unsigned long long>(plan.length),
                    static_cast<int>(plan.level), what);
    }
}

bool Ledger::may_fail(const MessagePlan& plan) const
{
    return (allowed_.at(plan.source) | allowed_.at(plan.destination)) != 0;
}

void Ledger::on_submitted(std::uint32_t id, std::uint8_t incarnation, std::uint64_t bytes_before, Time now)
{
    Record& record = records_.at(id);
    Pair& pair = pairs_[pair_key(record.plan.source, record.plan.destination)];
    record.submitted = true;
    record.submitted_at = now;
    record.source_incarnation = incarnation;
    record.bytes_before = bytes_before;
    record.position = pair.submitted.size();
    pair.submitted.push_back(id);
    tell(id, "submitted");
}

std::uint32_t Ledger::on_announced(std::uint32_t source, std::uint32_t destination, const Event& event)
{
    const Pair& pair = pairs_[pair_key(source, destination)];
    std::uint32_t id = 0;
    if (event.flags.tagged) {
        id = static_cast<std::uint32_t>(event.tag);
    } else if (event.flags.has_data) {
        id = static_cast<std::uint32_t>(event.data);
    } else if (pair.next < pair.submitted.size()) {
        id = pair.submitted[pair.next];
    } else {
        throw SimFailure("host " + std::to_string(destination) + " got a message from host " +
                         std::to_string(source) + " beyond all that were submitted");
    }
    if (id >= records_.size()) {
        throw SimFailure("a message was announced whose tag or data was never sent: " + std::to_string(id));
    }
    const Record& record = records_[id];
    const MessagePlan& plan = record.plan;
    if (!record.submitted || plan.source != source || plan.destination != destination) {
        fail(id, "announced at host " + std::to_string(destination) + " as coming from host " +
                     std::to_string(source));
    }
    if (record.taken) {
        fail(id, "announced again after it had been taken");
    }
    if (event.flags.tagged != plan.flags.tagged || event.flags.has_data != plan.flags.has_data ||
        event.length != plan.length || (plan.flags.tagged && event.tag != plan.tag) ||
        (plan.flags.has_data && event.data != plan.data)) {
        fail(id, "announced with length " + std::to_string(event.length) + ", tag " +
                     std::to_string(event.tag) + ", data " + std::to_string(event.data) + " or other flags");
    }
    require_order(id);
    tell(id, "announced");
    return id;
}

void Ledger::require_order(std::uint32_t id)
{
    const Record& record = records_[id];
    const Pair& pair = pairs_[pair_key(record.plan.source, record.plan.destination)];
    if (record.position < pair.next) {
        fail(id, "announced after message " + std::to_string(pair.submitted[pair.next - 1]) +
                     ", which was submitted later");
    }
    if (record.position > pair.next && !may_fail(record.plan)) {
        fail(id, "announced before message " + std::to_string(pair.submitted[pair.next]) +
                     ", which was submitted earlier");
    }
}

void Ledger::on_taken(std::uint32_t id, std::uint8_t incarnation)
{
    tell(id, "taken");
    Record& record = records_.at(id);
    record.taken = true;
    record.destination_incarnation = incarnation;
    pairs_[pair_key(record.plan.source, record.plan.destination)].next = record.position + 1;
}

void Ledger::on_received(std::uint32_t id, std::uint64_t length, std::span<const std::byte> placed)
{
    tell(id, "received");
    Record& record = records_.at(id);
    if (record.received || record.lost || !record.taken) {
        fail(id, "received, though it was received before, lost or never taken");
    }
    if (length != record.plan.length) {
        fail(id, "received with length " + std::to_string(length));
    }
    if (!pattern_matches(placed, seed_, id)) {
        fail(id, "received with wrong bytes");
    }
    record.received = true;
}

void Ledger::on_discarded(std::uint32_t id)
{
    tell(id, "discarded");
    Record& record = records_.at(id);
    if (record.received || record.lost || !record.taken) {
        fail(id, "discarded, though it was received before, lost or never taken");
    }
    record.received = true;
}

void Ledger::on_lost(std::uint32_t id, Cause cause)
{
    tell(id, "lost");
    Record& record = records_.at(id);
    const CauseSet causes = allowed_.at(record.plan.source) | allowed_.at(record.plan.destination);
    if (record.received || record.lost || !record.taken) {
        fail(id, "reported lost, though it was received before, lost or never taken");
    }
    if ((causes & cause_bit(cause)) == 0) {
        fail(id, std::string("its reception failed: ") + to_string(cause));
    }
    record.lost = true;
}

void Ledger::on_completed(std::uint32_t id, Cause cause, std::uint64_t bytes_now, Time now)
{
    tell(id, "completed");
    Record& record = records_.at(id);
    const MessagePlan& plan = record.plan;
    if (!record.submitted || record.completed) {
        fail(id, record.completed ? "completed twice" : "completed before its submission");
    }
    if (plan.level == CompletionLevel::none) {
        fail(id, "completed, though no completion was asked for");
    }
    const CauseSet causes = allowed_.at(plan.source) | allowed_.at(plan.destination);
    if (cause != Cause::none && ((causes & cause_bit(cause)) == 0 || is_certain(record))) {
        fail(id, std::string("its sending failed: ") + to_string(cause));
    }
    if (cause == Cause::none && plan.level == CompletionLevel::delivery && !record.received) {
        fail(id, "reported delivered before it was");
    }
    if (cause == Cause::none && plan.level == CompletionLevel::transmit &&
        bytes_now - record.bytes_before < plan.length && !may_fail(plan)) {
        fail(id, "reported transmitted before its bytes had arrived");
    }
    record.completed = true;
    record.completed_at = now;
    record.cause = cause;
}

void Ledger::on_host_killed(std::uint32_t host)
{
    for (Record& record : records_) {
        if (record.plan.source == host && record.submitted && !record.completed) {
            record.orphaned = true;
        }
        if (record.plan.destination == host && record.taken && !record.received) {
            record.lost = true;
        }
    }
}

bool Ledger::unsettled(const Record& record, const std::vector<bool>& dead) const
{
    const MessagePlan& plan = record.plan;
    if (!record.submitted) {
        return !dead.at(plan.source);
    }
    if (!record.completed && !record.orphaned && plan.level != CompletionLevel::none) {
        return true;
    }
    const bool owed = !record.received && !record.lost && record.cause == Cause::none && !record.orphaned;
    return owed && (record.taken || !may_fail(plan) || is_certain(record)) && !dead.at(plan.destination);
}

bool Ledger::settled(const std::vector<bool>& dead) const
{
    return std::none_of(records_.begin(), records_.end(),
                        [&](const Record& record) { return unsettled(record, dead); });
}

std::string Ledger::first_unsettled(const std::vector<bool>& dead) const
{
    for (std::uint32_t id = 0; id < size(); ++id) {
        const Record& record = records_[id];
        if (unsettled(record, dead)) {
            return "message " + std::to_string(id) + " (" + std::to_string(record.plan.source) + " -> " +
                   std::to_string(record.plan.destination) + ", " + std::to_string(record.plan.length) +
                   " bytes, level " + std::to_string(static_cast<int>(record.plan.level)) + ") is " +
                   (!record.submitted   ? "not submitted"
                    : !record.completed ? "not completed"
                                        : "completed") +
                   (!record.taken     ? ", not announced"
                    : record.received ? ", received"
                                      : ", not received");
        }
    }
    return "nothing";
}

void Ledger::check_end(const std::vector<bool>& dead) const
{
    for (std::uint32_t id = 0; id < size(); ++id) {
        const Record& record = records_[id];
        const MessagePlan& plan = record.plan;
        if (unsettled(record, dead)) {
            fail(id, "the run ended, and it is still under way");
        }
        // A transmitted message is the receiver's responsibility: it is lost only with the receiver.
        const bool promised = record.completed && record.cause == Cause::none &&
                              plan.level >= CompletionLevel::transmit && (allowed_.at(plan.source) == 0);
        if (promised && !record.received && !record.lost && allowed_.at(plan.destination) == 0) {
            fail(id, "completed, but never received");
        }
    }
}

} // namespace srd::sim
