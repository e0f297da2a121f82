// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
// The target's side of remote memory access: it looks regions up, places, serves, executes, and closes
// memory.
#include "sim/rma_app.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

namespace srd::sim {

namespace {

constexpr std::byte closed_byte{0xee}; ///< over the memory of a region that has been closed

} // namespace

bool RmaApp::on_event(SimHost& host, const Event& event)
{
    switch (event.kind) {
    case Event::Kind::write:
        on_write(host, event);
        return true;
    case Event::Kind::read:
        on_read(host, event);
        return true;
    case Event::Kind::atomic:
        on_atomic(host, event);
        return true;
    case Event::Kind::read_served:
        on_read_served(event);
        return true;
    case Event::Kind::send_done:
        if ((event.cookie & rma_cookie) != 0) {
            on_send_done(host, event);
            return true;
        }
        return false;
    default:
        return false;
    }
}

Cause RmaApp::find(const RemoteRange& range, std::uint8_t access, std::span<std::byte>& memory)
{
    const auto place = regions_.find(static_cast<std::uint32_t>(range.key));
    if (place == regions_.end() || !place->second.open) {
        return Cause::bad_key;
    }
    const RegionPlan& plan = ledger_.regions()[place->first];
    if ((plan.access & access) == 0) {
        return Cause::access_denied;
    }
    const std::uint64_t base = region_base(place->first);
    if (range.address < base || range.length > plan.size || range.address - base > plan.size - range.length) {
        return Cause::out_of_bounds;
    }
    memory = std::span(place->second.memory).subspan(guard_size + range.address - base, range.length);
    return Cause::none;
}

void RmaApp::on_write(SimHost& host, const Event& announced)
{
    // Bytes that are elsewhere are fetched first, so that the ledger sees them.
    Event event = announced;
    std::vector<std::byte> fetched;
    if (event.payload.size() != event.ranges[0].length) {
        fetched.resize(event.ranges[0].length);
        const iovec whole{fetched.data(), fetched.size()};
        if (!host.place({&whole, 1})) {
            return;
        }
        event.payload = fetched;
    }
    const RmaLedger::Part part =
        ledger_.on_write(host.peer_host(event.peer), host_, host.incarnation(), event);
    std::span<std::byte> memory;
    const Cause cause = find(event.ranges[0], region_access::write, memory);
    if (cause != Cause::none) {
        ledger_.on_rejected(part, event.payload.size(), cause);
        host.reject(cause);
        return;
    }
    if (options_.forget_placement && part.id % 7 == 3) {
        host.confirm();
        return;
    }
    std::copy(event.payload.begin(), event.payload.end(), memory.begin());
    ledger_.on_placed(part, event);
    host.confirm();
}

void RmaApp::on_read(SimHost& host, const Event& event)
{
    const RmaLedger::Part part =
        ledger_.on_read(host.peer_host(event.peer), host_, host.incarnation(), event);
    std::span<std::byte> memory;
    const Cause cause = find(event.ranges[0], region_access::read, memory);
    if (cause != Cause::none) {
        ledger_.on_rejected(part, event.ranges[0].length, cause);
        host.reject(cause);
        return;
    }
    ledger_.on_served(part, memory);
    std::array<iovec, max_iov> iov{};
    const std::uint64_t pieces = random_.between(1, max_iov);
    std::uint64_t start = 0;
    for (std::uint64_t piece = 0; piece < pieces; ++piece) {
        const std::uint64_t rest = memory.size() - start;
        const std::uint64_t size = piece + 1 == pieces ? rest : random_.between(0, rest);
        iov[piece] = {memory.data() + start, size};
        start += size;
    }
    const bool tell = random_.chance(0.5);
    const std::uint64_t cookie = next_told_++;
    if (tell) {
        told_[cookie] = {part.id, part.offset, memory.size()};
    }
    host.serve(std::span(iov).first(pieces), static_cast<std::uint32_t>(event.ranges[0].key), tell, cookie);
}

void RmaApp::on_read_served(const Event& event)
{
    const auto place = told_.find(event.cookie);
    if (place == told_.end()) {
        throw SimFailure("read_served with a cookie that serve() was not given, or twice");
    }
    const Told told = place->second;
    told_.erase(place);
    if (peers_->at(ledger_.plan(told.id).initiator)->lacks(told.id, told.offset, told.length)) {
        ledger_.fail(told.id, "reported served before its bytes had got there");
    }
}

/// True if a read of ours is under way and does not have these of its bytes.
bool RmaApp::lacks(std::uint32_t id, std::uint64_t offset, std::uint64_t length) const
{
    const auto place = flights_.find(id);
    if (place == flights_.end()) {
        return false;
    }
    const std::vector<std::byte> memory = place->second.local.gather();
    const auto begin = static_cast<std::ptrdiff_t>(offset);
    return !std::equal(memory.begin() + begin, memory.begin() + begin + static_cast<std::ptrdiff_t>(length),
                       ledger_.record(id).expected.begin() + begin);
}

void RmaApp::on_atomic(SimHost& host, const Event& event)
{
    const std::uint32_t id = ledger_.on_atomic(host.peer_host(event.peer), host_, host.incarnation(), event);
    std::vector<std::span<std::byte>> places;
    Cause cause =
        event.operation < static_cast<std::uint8_t>(AtomicKind::count_) ? Cause::none : Cause::bad_operation;
    for (const RemoteRange& range : event.ranges) {
        if (cause == Cause::none) {
            cause = find(range, region_access::atomic, places.emplace_back());
        }
    }
    if (cause != Cause::none) {
        ledger_.on_rejected({id, 0}, 0, cause);
        host.reject(cause);
        return;
    }
    carry_out(event, places);
    if (options_.repeat_atomic && id % 7 == 3) {
        carry_out(event, places);
    }
    ledger_.on_executed(id, event.result);
    host.confirm();
}

void RmaApp::carry_out(const Event& event, const std::vector<std::span<std::byte>>& places)
{
    std::size_t done = 0;
    for (const std::span<std::byte> place : places) {
        for (std::size_t offset = 0; offset < place.size(); offset += 8, done += 8) {
            std::uint64_t value = 0;
            std::uint64_t operand = 0;
            std::uint64_t comparand = 0;
            std::memcpy(&value, place.data() + offset, 8);
            if (!event.result.empty()) {
                std::memcpy(event.result.data() + done, &value, 8);
            }
            if (!event.payload.empty()) {
                std::memcpy(&operand, event.payload.data() + done, 8);
            }
            if (!event.compare.empty()) {
                std::memcpy(&comparand, event.compare.data() + done, 8);
            }
            value = atomic_result(static_cast<AtomicKind>(event.operation), value, operand, comparand);
            std::memcpy(place.data() + offset, &value, 8);
        }
    }
}

void RmaApp::revoke_due(SimHost& host, Time now)
{
    for (auto& [number, region] : regions_) {
        if (!region.open || ledger_.regions()[number].revoke_at > now) {
            continue;
        }
        region.open = false;
        if (!options_.ignore_revoke) {
            host.revoke(number);
        }
        const auto memory = std::span(region.memory);
        std::fill(memory.begin() + guard_size, memory.end() - guard_size, closed_byte);
    }
}

} // namespace srd::sim
