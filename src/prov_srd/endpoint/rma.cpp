// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Reads and writes of registered memory: the initiator's calls, and what a target does when its
// memory is accessed.
#include <algorithm>
#include <cstring>
#include <span>

#include "common/log.hpp"
#include "common/measure.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "endpoint/endpoint.hpp"
#include "objects/fabric_domain.hpp"
#include "objects/memory_region.hpp"
#include "progress/progress_group.hpp"

namespace srd {

// -- The initiator ------------------------------------------------------------

ssize_t Endpoint::access(const RmaArguments& arguments) noexcept
{
    const char* const call = arguments.is_read ? "read" : "write";
    Request request = arguments.request;
    std::size_t length = 0;
    std::array<RemoteRange, max_iov> ranges;
    if (!measure(call, arguments.iov, arguments.count, length) ||
        !measure_remote(call, arguments.remote, arguments.remote_count, length, ranges)) [[unlikely]] {
        return -FI_EINVAL;
    }
    if (arguments.is_read) {
        request.flags &= ~(FI_INJECT | FI_REMOTE_CQ_DATA); // of default flags; they say nothing about a read
    }
    if (const ssize_t error = check_transmit(call, SizeKind::rma, request.flags, length); error != 0)
        [[unlikely]] {
        return error;
    }
    if ((request.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return domain.deferred_work.queue(*this, arguments);
    }
    Operation operation;
    operation.kind = arguments.is_read ? OperationKind::read : OperationKind::write;
    operation.copy_payload = (request.flags & FI_INJECT) != 0;
    operation.iov = {arguments.iov, arguments.count};
    operation.remote = {ranges.data(), arguments.remote_count};
    return start(operation, request, FI_RMA | (arguments.is_read ? FI_READ : FI_WRITE),
                 arguments.is_read ? read_counter_ : write_counter_);
}

// -- The target ---------------------------------------------------------------

Resolved Endpoint::find_memory(const RemoteRange& range, Access access, PeerId peer) noexcept
{
    const Resolved found =
        domain.memory_regions.resolve(region_cache_, range.key, range.address, range.length, access);
    if (found.cause != Cause::none) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s was refused %s of %llu bytes at %#llx with key %#llx: %s",
                        peer_text(engine_->peer_route(peer)).c_str(),
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
void Endpoint::count_access(std::span<const void* const> regions, Access access) noexcept
{
    const bool is_read = includes(access, Access::remote_read);
    if (CompletionCounter* const counter = is_read ? remote_read_counter_ : remote_write_counter_;
        counter != nullptr) {
        counter->add(1);
    }
    for (auto place = regions.begin(); place != regions.end(); ++place) {
        if (std::find(regions.begin(), place, *place) != place) {
            continue;
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

void Endpoint::on_write(const Event& event, Time now) noexcept
{
    const Resolved found = find_memory(event.ranges[0], Access::remote_write, event.peer);
    if (found.cause != Cause::none) [[unlikely]] {
        engine_->reject(found.cause, now);
        return;
    }
    if (!engine_->place(found.memory())) {
        return;
    }
    engine_->confirm(now);
    if (!event.last) {
        return;
    }
    count_access({&found.owner, 1}, Access::remote_write);
    if (event.flags.has_data) { // reported also where completions are selective: nobody posted it here
        Completion completion{.flags = FI_RMA | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA,
                              .length = event.length,
                              .data = event.data};
        report_arrival(completion, engine_->peer_route(event.peer));
    }
}

void Endpoint::on_read(const Event& event, Time now) noexcept
{
    const RemoteRange& range = event.ranges[0];
    const Resolved found = find_memory(range, Access::remote_read, event.peer);
    if (found.cause != Cause::none) [[unlikely]] {
        engine_->reject(found.cause, now);
        return;
    }
    const auto& region = *static_cast<const MemoryRegion*>(found.owner);
    const bool counted = remote_read_counter_ != nullptr || region.remote_reads.load() != nullptr;
    engine_->serve(found.memory(), range.key, event.last && counted, range.key, now);
}

/// The key is the cookie: the region may have been closed meanwhile.
void Endpoint::on_read_served(const Event& event) noexcept
{
    const Resolved found = domain.memory_regions.resolve(region_cache_, event.cookie, 0, 0, Access::none);
    count_access({&found.owner, found.owner != nullptr ? 1U : 0U}, Access::remote_read);
}

void Endpoint::revoke(std::uint64_t key) noexcept
{
    ProgressGuard guard(lock);
    if (enabled_.load(std::memory_order_relaxed)) {
        const Time now = clock_now();
        engine_->revoke(key, now);
        if (engine_->take_withdrawal()) {
            io_->revoke();
        }
        flush();
    }
}

} // namespace srd
