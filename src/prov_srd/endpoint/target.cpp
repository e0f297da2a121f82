// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "endpoint/target.hpp"

#include <algorithm>
#include <array>
#include <mutex>

#include <rdma/fi_atomic.h>

#include <srd/check.hpp>
#include <srd/iov.hpp>

#include "common/log.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "hmem/devices.hpp"
#include "memory/atomic_execute.hpp"
#include "memory/memory_region.hpp"

namespace srd {
namespace {

/// fi_atomic(3): a base atomic writes, a read reads, what does both must be allowed both.
constexpr Access access_of(AtomicForm form, std::uint32_t operation) noexcept
{
    if (form == AtomicForm::base) {
        return Access::remote_write;
    }
    return operation == FI_ATOMIC_READ ? Access::remote_read : Access::remote_read | Access::remote_write;
}

AtomicForm form_of(const Event& event) noexcept
{
    if (!event.compare.empty()) {
        return AtomicForm::compare;
    }
    return event.result.empty() ? AtomicForm::base : AtomicForm::fetch;
}

DeviceId device_of(const Resolved& found) noexcept
{
    const auto* const region = static_cast<const MemoryRegion*>(found.owner);
    return region != nullptr ? region->device : DeviceId::host;
}

/// Copies the pieces, of a device as a whole or in part, to `host`, or back.
bool copy_pieces(DeviceId device, std::span<const iovec> pieces, std::byte* host, bool back) noexcept
{
    Devices& devices = Devices::process();
    bool all = true;
    for (const iovec& piece : pieces) {
        all = all && devices.begin(device, back ? piece.iov_base : host, back ? host : piece.iov_base,
                                   piece.iov_len);
        host += piece.iov_len;
    }
    return devices.wait(device) && all;
}

} // namespace

/// Where nothing is accessed there is nothing to protect: applications write no bytes for the data that comes
/// with them, with whatever key.
Resolved Target::find_memory(const RemoteRange& range, Access access, PeerId peer) noexcept
{
    Resolved found = regions_.resolve(cache_, range.key, range.address, range.length, access);
    if (range.length == 0) {
        found.cause = Cause::none;
    }
    if (found.cause != Cause::none) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s was refused %s of %llu bytes at %#llx with key %#llx: %s",
                        peers_.text(unit_.engine().peer_route(peer)).c_str(),
                        access == Access::remote_read    ? "a read"
                        : access == Access::remote_write ? "a write"
                                                         : "an atomic",
                        static_cast<unsigned long long>(range.length),
                        static_cast<unsigned long long>(range.address),
                        static_cast<unsigned long long>(range.key), to_string(found.cause));
    }
    return found;
}

/// fi_endpoint(3): of an endpoint's counters, what fetches is a remote read only. fi_mr(3): a region's
/// counter of remote writes counts whatever modifies it. Each counts an operation once.
void Target::count_access(std::span<const void* const> regions, Access access) noexcept
{
    const bool is_read = includes(access, Access::remote_read);
    if (CompletionCounter* const counter =
            is_read ? bindings_.counters().remote_read : bindings_.counters().remote_write;
        counter != nullptr) {
        counter->add(1);
    }
    for (auto place = regions.begin(); place != regions.end(); ++place) {
        if (*place == nullptr || std::find(regions.begin(), place, *place) != place) {
            continue; // no bytes, and no key
        }
        const auto& region = *static_cast<const MemoryRegion*>(*place);
        CompletionCounter* const reads =
            is_read ? region.remote_reads.load(std::memory_order_acquire) : nullptr;
        CompletionCounter* const writes = includes(access, Access::remote_write)
                                              ? region.remote_writes.load(std::memory_order_acquire)
                                              : nullptr;
        if (reads != nullptr) {
            reads->add(1);
        }
        if (writes != nullptr && writes != reads) {
            writes->add(1);
        }
    }
}

void Target::on_write(const Event& event) noexcept
{
    const Resolved found = find_memory(event.ranges[0], Access::remote_write, event.peer);
    if (found.cause != Cause::none) [[unlikely]] {
        unit_.engine().reject(found.cause);
        return;
    }
    if (!unit_.engine().place(found.memory(), device_of(found))) {
        return;
    }
    unit_.engine().confirm();
    if (!event.last) {
        return;
    }
    count_access({&found.owner, 1}, Access::remote_write);
    if (event.flags.has_data) { // reported also where completions are selective: nobody posted it here
        Completion completion{.flags = FI_RMA | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA,
                              .length = event.length,
                              .data = event.data};
        reports_.arrival(completion, unit_.engine().peer_route(event.peer));
    }
}

void Target::on_read(const Event& event) noexcept
{
    const RemoteRange& range = event.ranges[0];
    const Resolved found = find_memory(range, Access::remote_read, event.peer);
    if (found.cause != Cause::none) [[unlikely]] {
        unit_.engine().reject(found.cause);
        return;
    }
    const auto* const region = static_cast<const MemoryRegion*>(found.owner);
    const bool counted = bindings_.counters().remote_read != nullptr ||
                         (region != nullptr && region->remote_reads.load() != nullptr);
    unit_.engine().serve(found.memory(), range.key, event.last && counted, range.key, device_of(found));
}

/// The key is the cookie: the region may have been closed meanwhile.
void Target::on_read_served(const Event& event) noexcept
{
    const Resolved found = regions_.resolve(cache_, event.cookie, 0, 0, Access::none);
    count_access({&found.owner, found.owner != nullptr ? 1U : 0U}, Access::remote_read);
}

/// Carries out an atomic. False: it could not be, and is rejected. What is on a device is copied to the host
/// for it and back, and no other atomic on a device comes in between; what the device itself does meanwhile
/// may.
bool Target::execute(const Event& event, std::span<const iovec> target, DeviceId device) noexcept
{
    AtomicTask task{.operation = event.operation,
                    .datatype = event.datatype,
                    .target = target,
                    .operand = event.payload,
                    .compare = event.compare,
                    .result = event.result};
    bool executed = false;
    if (device == DeviceId::host) [[likely]] {
        executed = execute_atomic(task);
    } else {
        std::array<std::byte, max_atomic_size> bytes;
        const iovec host{bytes.data(), total_length(target)};
        SRD_CHECK(host.iov_len <= bytes.size()); // the ranges were found to be as long as the operands
        task.target = {&host, 1};
        static std::mutex one_at_a_time;
        const std::lock_guard lock(one_at_a_time);
        if (!copy_pieces(device, target, bytes.data(), false)) {
            unit_.engine().reject(Cause::region_closed);
            return false;
        }
        executed = execute_atomic(task);
        if (executed && event.operation != FI_ATOMIC_READ &&
            !copy_pieces(device, target, bytes.data(), true)) {
            unit_.engine().reject(Cause::region_closed);
            return false;
        }
    }
    if (!executed) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s asked for an atomic whose lengths differ; refused",
                        peers_.text(unit_.engine().peer_route(event.peer)).c_str());
        unit_.engine().reject(Cause::bad_operation);
    }
    return executed;
}

void Target::on_atomic(const Event& event) noexcept
{
    const AtomicForm form = form_of(event);
    const Access access = access_of(form, event.operation);
    if (!atomic_valid(form, event.operation, event.datatype)) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s asked for atomic operation %u on datatype %u; refused",
                        peers_.text(unit_.engine().peer_route(event.peer)).c_str(), event.operation,
                        event.datatype);
        unit_.engine().reject(Cause::bad_operation);
        return;
    }
    std::array<iovec, max_iov * max_iov> pieces;
    std::size_t count = 0;
    std::array<const void*, max_iov> regions{};
    std::size_t region_count = 0;
    DeviceId device = DeviceId::host;
    SRD_CHECK(event.ranges.size() <= max_iov); // the engine lets no more through
    for (const RemoteRange& range : event.ranges) {
        const Resolved found = find_memory(range, access, event.peer);
        if (found.cause != Cause::none) {
            unit_.engine().reject(found.cause);
            return;
        }
        std::copy_n(found.pieces.begin(), found.count, pieces.begin() + static_cast<std::ptrdiff_t>(count));
        count += found.count;
        device = device == DeviceId::host ? device_of(found) : device;
        regions[region_count++] = found.owner;
    }
    if (!execute(event, {pieces.data(), count}, device)) {
        return;
    }
    unit_.engine().confirm();
    count_access({regions.data(), region_count}, access);
}

} // namespace srd
