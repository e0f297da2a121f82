// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "sim/rma_app.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "support/gather.hpp"

namespace srd::sim {

namespace {

constexpr std::byte scribble{0xdd};
constexpr std::byte settled_byte{0x3c}; ///< over memory that a read has filled, once it is checked
constexpr std::byte guard_byte{0x5c};
constexpr Duration retry_last = std::chrono::milliseconds(2);

bool brings(const RmaPlan& plan)
{
    return plan.kind == OperationKind::read || plan.fetch;
}

bool all_are(std::span<const std::byte> bytes, std::byte value)
{
    return std::all_of(bytes.begin(), bytes.end(), [&](std::byte byte) { return byte == value; });
}

} // namespace

// ---------------------------------------------------------------- local memory

void RmaApp::Pieces::make(std::uint64_t length, std::uint32_t pieces, std::uint64_t salt)
{
    SimRandom random(salt);
    std::uint64_t rest = length;
    memory.clear();
    iov.clear();
    for (std::uint32_t piece = 0; piece < pieces; ++piece) {
        const std::uint64_t size = piece + 1 == pieces ? rest : random.between(0, rest);
        memory.emplace_back(size + 2 * guard_size, guard_byte);
        iov.push_back({memory.back().data() + guard_size, size});
        rest -= size;
    }
}

void RmaApp::Pieces::fill(std::byte value)
{
    for (const iovec& piece : iov) {
        std::memset(piece.iov_base, static_cast<int>(value), piece.iov_len);
    }
}

void RmaApp::Pieces::scatter(std::span<const std::byte> bytes)
{
    for (const iovec& piece : iov) {
        std::copy_n(bytes.begin(), piece.iov_len, static_cast<std::byte*>(piece.iov_base));
        bytes = bytes.subspan(piece.iov_len);
    }
}

std::vector<std::byte> RmaApp::Pieces::gather() const
{
    std::vector<std::byte> bytes;
    test::gather(iov, bytes);
    return bytes;
}

bool RmaApp::Pieces::guards_intact() const
{
    return std::all_of(memory.begin(), memory.end(), [](const std::vector<std::byte>& piece) {
        const std::span<const std::byte> bytes(piece);
        return all_are(bytes.first(guard_size), guard_byte) && all_are(bytes.last(guard_size), guard_byte);
    });
}

// ---------------------------------------------------------------- life

RmaApp::RmaApp(RmaLedger& ledger, std::uint32_t host, const Options& options)
    : ledger_(ledger), host_(host), options_(options), random_(ledger.seed() ^ host)
{
    for (std::uint32_t id = 0; id < ledger.size(); ++id) {
        if (ledger.plan(id).initiator == host) {
            plans_.push_back(id);
        }
    }
    std::stable_sort(plans_.begin(), plans_.end(), [&](std::uint32_t a, std::uint32_t b) {
        return ledger_.plan(a).submit_at < ledger_.plan(b).submit_at;
    });
    make_regions(Time{});
}

void RmaApp::make_regions(Time now)
{
    regions_.clear();
    for (std::uint32_t number = 0; number < ledger_.regions().size(); ++number) {
        const RegionPlan& plan = ledger_.regions()[number];
        if (plan.host != host_) {
            continue;
        }
        Region& region = regions_[number];
        region.number = number;
        region.open = plan.revoke_at > now;
        region.memory.assign(plan.size + 2 * guard_size, guard_byte);
        const auto memory = std::span(region.memory).subspan(guard_size, plan.size);
        if ((plan.access & region_access::atomic) != 0) {
            std::fill(memory.begin(), memory.end(), std::byte{0});
        } else {
            pattern_fill(memory, ledger_.seed(), RmaLedger::region_identity(number));
        }
    }
}

void RmaApp::on_killed()
{
    ledger_.on_host_killed(host_);
    flights_.clear();
    lane_busy_.clear();
    settled_.clear();
    told_.clear();
    regions_.clear();
    outstanding_ = 0;
}

void RmaApp::on_restarted(Time now)
{
    ledger_.on_host_restarted(host_);
    make_regions(now);
}

void RmaApp::stop_submitting()
{
    next_plan_ = plans_.size();
    waiting_.clear();
}

void RmaApp::check_end() const
{
    for (const auto& [number, region] : regions_) {
        const std::span<const std::byte> memory(region.memory);
        if (!all_are(memory.first(guard_size), guard_byte) || !all_are(memory.last(guard_size), guard_byte)) {
            throw SimFailure("region " + std::to_string(number) + " was written beyond its bounds");
        }
        const RegionPlan& plan = ledger_.regions()[number];
        const auto cells = memory.subspan(guard_size, plan.size);
        if ((plan.access & region_access::atomic) != 0 && region.open &&
            !std::ranges::equal(cells, ledger_.cells(number))) {
            throw SimFailure("region " + std::to_string(number) +
                             " holds other values than its atomics left");
        }
    }
    for (const auto& [cookie, told] : told_) {
        if (!ledger_.may_fail(ledger_.plan(told.id)) && !ledger_.plan(told.id).revocable &&
            ledger_.record(told.id).cause == Cause::none) {
            ledger_.fail(told.id, "its target was never told that it was served");
        }
    }
    for (const Flight& flight : settled_) {
        for (const Pieces* pieces : {&flight.local, &flight.result}) {
            if (!pieces->guards_intact() || !all_are(pieces->gather(), settled_byte)) {
                throw SimFailure("the memory of a completed read or result was changed afterwards");
            }
        }
    }
}

// ---------------------------------------------------------------- the initiator

void RmaApp::fill_operands(std::uint32_t id, Flight& flight) const
{
    const RmaPlan& plan = ledger_.plan(id);
    std::vector<std::byte> bytes(plan.length);
    pattern_fill(bytes, ledger_.seed(), RmaLedger::identity(id));
    if (plan.kind == OperationKind::read) {
        flight.local.make(plan.length, plan.pieces, id);
        flight.local.fill(untouched_byte);
        return;
    }
    if (plan.kind == OperationKind::write || plan.atomic != AtomicKind::read) {
        flight.local.make(plan.length, plan.pieces, id);
        flight.local.scatter(bytes);
    }
    if (plan.kind == OperationKind::atomic && plan.atomic == AtomicKind::compare_swap) {
        std::fill(bytes.begin(), bytes.end(), plan.compare_zero || bytes.empty() ? std::byte{0} : bytes[0]);
        flight.compare.make(plan.length, 1 + plan.pieces % max_iov, id);
        flight.compare.scatter(bytes);
    }
    if (plan.fetch) {
        flight.result.make(plan.length, 1 + (plan.pieces + 1) % max_iov, id);
        flight.result.fill(untouched_byte);
    }
}

Status RmaApp::submit(SimHost& host, std::uint32_t id, Flight& flight) const
{
    const RmaPlan& plan = ledger_.plan(id);
    const auto ranges = ledger_.wire_ranges(id);
    Operation operation;
    operation.kind = plan.kind;
    operation.peer = host.open_peer(plan.target);
    if (operation.peer == no_id<PeerId>) {
        throw SimFailure("open_peer: no room for host " + std::to_string(plan.target));
    }
    operation.level = plan.level;
    operation.copy_payload = plan.copy_payload;
    operation.fence = plan.fence && !options_.ignore_fence;
    operation.flags.has_data = plan.has_data;
    operation.data = plan.has_data ? RmaLedger::identity(id) : 0;
    operation.iov = flight.local.iov;
    operation.cookie = rma_cookie | id;
    operation.remote = std::span(ranges).first(plan.range_count);
    operation.atomic.operation = RmaLedger::operation_byte(plan);
    operation.atomic.datatype = static_cast<std::uint8_t>(id);
    operation.atomic.fetch = plan.fetch;
    operation.atomic.has_operand = plan.atomic != AtomicKind::read;
    operation.atomic.has_compare = plan.atomic == AtomicKind::compare_swap;
    operation.atomic.compare = flight.compare.iov;
    operation.atomic.result = flight.result.iov;
    return host.submit(operation);
}

bool RmaApp::submit_next(SimHost& host, std::uint32_t id, Time now)
{
    const RmaPlan& plan = ledger_.plan(id);
    Flight flight;
    fill_operands(id, flight);
    const Status status = submit(host, id, flight);
    if (status == Status::again) {
        return false;
    }
    if (status != Status::ok) {
        ledger_.fail(id, "submit: status " + std::to_string(static_cast<int>(status)));
    }
    ledger_.on_submitted(id, now);
    if (plan.copy_payload || plan.kind == OperationKind::atomic) {
        flight.local.fill(scribble);
        flight.compare.fill(scribble);
        flight.local = {};
        flight.compare = {};
    }
    if (plan.level != CompletionLevel::none || brings(plan)) {
        outstanding_ += plan.length;
        flights_.emplace(id, std::move(flight));
        if (plan.lane != no_lane) {
            lane_busy_[plan.lane] = id;
        }
    }
    return true;
}

/// An operation on a lane waits for the one before it, unless a fence puts them in order.
bool RmaApp::blocked(const RmaPlan& plan) const
{
    return plan.lane != no_lane && !plan.fence && lane_busy_.contains(plan.lane);
}

Time RmaApp::on_pass(SimHost& host, Time now)
{
    revoke_due(host, now);
    Time next = time_never;
    for (const auto& [number, region] : regions_) {
        if (region.open) {
            next = std::min(next, ledger_.regions()[number].revoke_at);
        }
    }
    while (next_plan_ < plans_.size() && ledger_.plan(plans_[next_plan_]).submit_at <= now) {
        waiting_.push_back(plans_[next_plan_++]);
    }
    bool submitted = false;
    std::map<std::uint32_t, bool> held; // lanes with something that comes first
    for (auto place = waiting_.begin(); place != waiting_.end();) {
        const RmaPlan& plan = ledger_.plan(*place);
        if (broken_lanes_.contains(plan.lane)) {
            ledger_.on_abandoned(*place);
            place = waiting_.erase(place);
            continue;
        }
        if (plan.lane != no_lane && (held.contains(plan.lane) || blocked(plan))) {
            held[plan.lane] = true;
            ++place;
            continue;
        }
        const bool has_room = outstanding_ == 0 || outstanding_ < options_.outstanding_bytes;
        if (!has_room || !submit_next(host, *place, now)) {
            next = std::min(next, now + retry_after_);
            retry_after_ = std::min(2 * retry_after_, retry_last);
            break;
        }
        retry_after_ = retry_first;
        submitted = true;
        place = waiting_.erase(place);
    }
    if (submitted) {
        return now;
    }
    return next_plan_ < plans_.size() ? std::min(next, ledger_.plan(plans_[next_plan_]).submit_at) : next;
}

void RmaApp::on_send_done(SimHost& host, const Event& event)
{
    const auto id = static_cast<std::uint32_t>(event.cookie & ~rma_cookie);
    if (id >= ledger_.size()) {
        throw SimFailure("send_done with a cookie that was never given");
    }
    if (options_.forget_completion && id % 7 == 3) {
        return;
    }
    const RmaPlan& plan = ledger_.plan(id);
    const auto place = flights_.find(id);
    std::vector<std::byte> memory;
    if (place != flights_.end() && brings(plan)) {
        memory = (plan.fetch ? place->second.result : place->second.local).gather();
    }
    const bool lie = options_.ignore_mistakes && event.cause == plan.mistake;
    ledger_.on_completed(id, lie ? Cause::none : event.cause, memory, host.now());
    if (place == flights_.end()) {
        return;
    }
    outstanding_ -= plan.length;
    if (plan.lane != no_lane) {
        if (lane_busy_[plan.lane] == id) {
            lane_busy_.erase(plan.lane);
        }
        if (event.cause != Cause::none) {
            broken_lanes_.insert(plan.lane);
        }
    }
    settle(place->second, plan);
    flights_.erase(place);
}

/// The memory is the application's again: what is written is overwritten, what was read must now stay as it
/// is.
void RmaApp::settle(Flight& flight, const RmaPlan& plan)
{
    if (!brings(plan)) {
        flight.local.fill(scribble);
        return;
    }
    if (plan.kind != OperationKind::read) {
        flight.local = {};
    }
    flight.local.fill(settled_byte);
    flight.result.fill(settled_byte);
    settled_.push_back(std::move(flight));
    if (options_.scribble_reads && settled_.size() == 5 && plan.length != 0) {
        settled_.back().local.fill(scribble);
        settled_.back().result.fill(scribble);
    }
}

} // namespace srd::sim
