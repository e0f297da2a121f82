// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Atomics, at the initiator.
#include <algorithm>
#include <array>

#include "common/log.hpp"
#include "endpoint/transmit.hpp"
#include "hmem/devices.hpp"
#include "memory/atomic_execute.hpp"

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
bool element_bytes(const char* what, const fi_ioc* ioc, std::size_t count, std::size_t size,
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

bool target_bytes(const fi_rma_ioc* ioc, std::size_t count, std::size_t size,
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

/// The arrays of one call, in bytes.
struct Arrays {
    std::array<RemoteRange, max_iov> ranges;
    std::size_t bytes = 0; ///< of the ranges
    Elements operands;
    Elements compare;
    Elements result;
};

/// What a call's form and operation need; the arrays of the rest are ignored.
struct Needs {
    explicit Needs(const AtomicArguments& arguments) noexcept
        : operand(arguments.operation != FI_ATOMIC_READ), compare(arguments.form == AtomicForm::compare),
          result(arguments.form != AtomicForm::base)
    {
    }
    bool operand;
    bool compare;
    bool result;
};

/// 0 or a negative fi_errno, with a line.
ssize_t read_arrays(const AtomicArguments& arguments, const Needs& needs, Arrays& arrays) noexcept
{
    const std::size_t size = datatype_size(arguments.datatype);
    auto& [ranges, bytes, operands, compare, result] = arrays;
    if (!target_bytes(arguments.remote, arguments.remote_count, size, ranges, bytes) ||
        (needs.operand &&
         !element_bytes("operands", arguments.operands, arguments.operand_count, size, operands)) ||
        (needs.compare &&
         !element_bytes("comparands", arguments.compare, arguments.compare_count, size, compare)) ||
        (needs.result && !element_bytes("results", arguments.result, arguments.result_count, size, result)))
        [[unlikely]] {
        return -FI_EINVAL;
    }
    if (std::max({bytes, operands.bytes, compare.bytes, result.bytes}) > max_atomic_size) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA, "atomic: more than %zu elements of datatype %u (fi_atomicvalid)",
                        max_atomic_size / size, arguments.datatype);
        return -FI_EMSGSIZE;
    }
    if (bytes == 0 || (needs.operand && operands.bytes != bytes) ||
        (needs.compare && compare.bytes != bytes) || (needs.result && result.bytes != bytes)) [[unlikely]] {
        SRD_WARN_SPARSE(FI_LOG_EP_DATA,
                        "atomic: %zu elements at the peer, %zu operands, %zu comparands, %zu results; give "
                        "the same number of each, and at least one",
                        bytes / size, operands.bytes / size, compare.bytes / size, result.bytes / size);
        return -FI_EINVAL;
    }
    return 0;
}

/// Operands or comparands of a device, in host memory.
class HostElements {
public:
    /// False: they could not be copied, and a line says so.
    bool take(DeviceId device, Elements& elements) noexcept
    {
        if (device == DeviceId::host) [[likely]] {
            return true;
        }
        Devices& devices = Devices::process();
        std::byte* to = bytes_.data();
        bool copied = true;
        for (const iovec& piece : elements.span()) {
            copied = copied && devices.begin(device, to, piece.iov_base, piece.iov_len);
            to += piece.iov_len;
        }
        if (!devices.wait(device) || !copied) {
            SRD_WARN_SPARSE(FI_LOG_EP_DATA, "atomic: %zu bytes could not be copied from their device",
                            elements.bytes);
            return false;
        }
        elements.iov[0] = {bytes_.data(), elements.bytes};
        elements.count = 1;
        return true;
    }

private:
    std::array<std::byte, max_atomic_size> bytes_; ///< the first ones are set
};

} // namespace

ssize_t Transmit::atomic(const AtomicArguments& arguments) noexcept
{
    if (!atomic_valid(arguments.form, arguments.operation, arguments.datatype)) [[unlikely]] {
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
    const Needs needs(arguments);
    Arrays arrays;
    if (const ssize_t error = read_arrays(arguments, needs, arrays); error != 0) [[unlikely]] {
        return error;
    }
    if (const ssize_t error = check("atomic", SizeKind::atomic, arguments.request.flags, arrays.bytes);
        error != 0) [[unlikely]] {
        return error;
    }
    if ((arguments.request.flags & FI_TRIGGER) != 0) [[unlikely]] {
        return queue_.queue(self_, arguments);
    }
    HostElements operands;
    HostElements compare;
    if ((needs.operand && !operands.take(arguments.operand_device, arrays.operands)) ||
        (needs.compare && !compare.take(arguments.compare_device, arrays.compare))) [[unlikely]] {
        return -FI_EIO;
    }
    Operation operation;
    operation.kind = OperationKind::atomic;
    operation.device = needs.result ? arguments.result_device : DeviceId::host;
    operation.copy_payload = (arguments.request.flags & FI_INJECT) != 0;
    operation.iov = arrays.operands.span();
    operation.remote = {arrays.ranges.data(), arguments.remote_count};
    operation.atomic = {.operation = static_cast<std::uint8_t>(arguments.operation),
                        .datatype = static_cast<std::uint8_t>(arguments.datatype),
                        .fetch = needs.result,
                        .has_operand = needs.operand,
                        .has_compare = needs.compare,
                        .compare = arrays.compare.span(),
                        .result = arrays.result.span()};
    return begin(operation, arguments.request,
                 needs.result ? Completes{FI_ATOMIC | FI_READ, &OperationCounters::read}
                              : Completes{FI_ATOMIC | FI_WRITE, &OperationCounters::write});
}

} // namespace srd
