// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Atomics: the initiator's calls, and what a target does when its memory is accessed.
#include <algorithm>
#include <array>

#include "common/log.hpp"
#include "endpoint/atomic_execute.hpp"
#include "endpoint/endpoint.hpp"
#include "objects/fabric_domain.hpp"

namespace srd {
namespace {

/// An array of fi_ioc in bytes.
struct Elements {
    std::array<iovec, max_iov> iov;
    std::size_t count = 0;
    std::size_t bytes = 0; ///< more than max_atomic_size if there are more
    std::span<const iovec> span() const noexcept { return {iov.data(), count}; }
};

/// The bytes of `count` elements of `size`, added to `sum`; no more than one element above the limit,
/// so that it cannot wrap.
std::size_t add_elements(std::size_t sum, std::size_t count, std::size_t size) noexcept
{
    return sum + std::min(count, max_atomic_size / size + 1) * size;
}

/// False: it cannot be served (and a line says why).
bool measure_elements(const char* what, const fi_ioc* ioc, std::size_t count, std::size_t size,
                      Elements& elements) noexcept
{
    if (count == 0 || count > max_iov || ioc == nullptr) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "atomic: %zu fi_iocs of %s at %p; 1 to %zu are served", count, what,
                        static_cast<const void*>(ioc), max_iov);
        return false;
    }
    elements.count = count;
    for (std::size_t i = 0; i < count; ++i) {
        if (ioc[i].addr == nullptr && ioc[i].count != 0) [[unlikely]] {
            SRD_WARN_SPARSE(FI_LOG_EP_DATA, "atomic: the buffer of %s is NULL for %zu elements", what,
                            ioc[i].count);
            return false;
        }
        elements.iov[i] = {ioc[i].addr, ioc[i].count * size};
        elements.bytes = add_elements(elements.bytes, ioc[i].count, size);
    }
    return true;
}

bool measure_target(const fi_rma_ioc* ioc, std::size_t count, std::size_t size,
                    std::array<RemoteRange, max_iov>& ranges, std::size_t& bytes) noexcept
{
    if (count == 0 || count > max_iov || ioc == nullptr) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "atomic: %zu fi_rma_iocs at %p; 1 to %zu are served", count,
                        static_cast<const void*>(ioc), max_iov);
        return false;
    }
    bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
        ranges[i] = {.address = ioc[i].addr, .length = ioc[i].count * size, .key = ioc[i].key};
        bytes = add_elements(bytes, ioc[i].count, size);
    }
    return true;
}

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

} // namespace

ssize_t Endpoint::atomic(const AtomicArguments& arguments) noexcept
{
    if (!atomic_valid(arguments.kind, arguments.operation, arguments.datatype)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "atomic: operation %u is not served on datatype %u in this form; fi_atomicvalid and "
                        "its kin tell what is",
                        arguments.operation, arguments.datatype);
        return -FI_EOPNOTSUPP;
    }
    if ((arguments.request.flags & (FI_TAGGED | FI_REMOTE_CQ_DATA)) != 0) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "atomic: neither a tagged buffer as the target nor remote CQ data is served");
        return -FI_EOPNOTSUPP;
    }
    const std::size_t size = datatype_size(arguments.datatype);
    const bool has_operand = arguments.operation != FI_ATOMIC_READ;
    const bool has_compare = arguments.kind == AtomicForm::compare;
    const bool fetches = arguments.kind != AtomicForm::base;
    std::array<RemoteRange, max_iov> ranges;
    std::size_t bytes = 0;
    Elements operands;
    Elements compare;
    Elements result;
    if (!measure_target(arguments.remote, arguments.remote_count, size, ranges, bytes) ||
        (has_operand &&
         !measure_elements("operands", arguments.operands, arguments.operand_count, size, operands)) ||
        (has_compare &&
         !measure_elements("comparands", arguments.compare, arguments.compare_count, size, compare)) ||
        (fetches && !measure_elements("results", arguments.result, arguments.result_count, size, result)))
        [[unlikely]] {
        return -FI_EINVAL;
    }
    if (std::max({bytes, operands.bytes, compare.bytes, result.bytes}) > max_atomic_size) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "atomic: more than %zu elements of datatype %u (fi_atomicvalid)",
                        max_atomic_size / size, arguments.datatype);
        return -FI_EMSGSIZE;
    }
    if (bytes == 0 || (has_operand && operands.bytes != bytes) || (has_compare && compare.bytes != bytes) ||
        (fetches && result.bytes != bytes)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "atomic: %zu elements at the peer, %zu operands, %zu comparands, %zu results; give "
                        "the same number of each, and at least one",
                        bytes / size, operands.bytes / size, compare.bytes / size, result.bytes / size);
        return -FI_EINVAL;
    }
    if (const ssize_t error = check_transmit("atomic", SizeKind::atomic, arguments.request.flags, bytes);
        error != 0) [[unlikely]] {
        return error;
    }
    if ((arguments.request.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return domain.deferred_work.queue(*this, arguments);
    }
    Operation operation;
    operation.kind = OperationKind::atomic;
    operation.copy_payload = (arguments.request.flags & FI_INJECT) != 0;
    operation.iov = operands.span();
    operation.remote = {ranges.data(), arguments.remote_count};
    operation.atomic = {.operation = static_cast<std::uint8_t>(arguments.operation),
                        .datatype = static_cast<std::uint8_t>(arguments.datatype),
                        .fetch = fetches,
                        .has_operand = has_operand,
                        .has_compare = has_compare,
                        .compare = compare.span(),
                        .result = result.span()};
    return start(operation, arguments.request, FI_ATOMIC | (fetches ? FI_READ : FI_WRITE),
                 fetches ? read_counter_ : write_counter_);
}

void Endpoint::on_atomic(const Event& event, Time now) noexcept
{
    const AtomicForm form = form_of(event);
    const Access access = access_of(form, event.operation);
    if (!atomic_valid(form, event.operation, event.datatype)) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s asked for atomic operation %u on datatype %u; refused",
                        peer_text(engine_->peer_route(event.peer)).c_str(), event.operation, event.datatype);
        engine_->reject(Cause::bad_operation);
        return;
    }
    std::array<iovec, max_iov * max_iov> pieces;
    std::size_t count = 0;
    std::array<const void*, max_iov> regions{};
    std::size_t region_count = 0;
    for (const RemoteRange& range : event.ranges) {
        const Resolved found = find_memory(range, access, event.peer);
        if (found.cause != Cause::none) {
            engine_->reject(found.cause);
            return;
        }
        std::copy_n(found.pieces.begin(), found.count, pieces.begin() + static_cast<std::ptrdiff_t>(count));
        count += found.count;
        regions[region_count++] = found.owner;
    }
    if (!execute_atomic({.operation = event.operation,
                         .datatype = event.datatype,
                         .target = {pieces.data(), count},
                         .operand = event.payload,
                         .compare = event.compare,
                         .result = event.result})) {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "%s asked for an atomic whose lengths differ; refused",
                        peer_text(engine_->peer_route(event.peer)).c_str());
        engine_->reject(Cause::bad_operation);
        return;
    }
    engine_->confirm();
    count_access({regions.data(), region_count}, access);
}

} // namespace srd
