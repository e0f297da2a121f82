// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The calls of fi_atomic(3). All that those which transfer do is to name their arguments.
#include "calls/ops_atomic.hpp"

#include "common/c_api.hpp"
#include "common/log.hpp"
#include "endpoint/endpoint.hpp"
#include "memory/atomic_execute.hpp"
#include "memory/descriptor.hpp"

namespace srd {
namespace {

/// Arrays of fi_ioc as the calls take them.
struct Vector {
    const fi_ioc* entries = nullptr;
    void* const* desc = nullptr;
    size_t count = 0;

    DeviceId device() const noexcept { return device_of(desc, count); }
};

size_t elements_of(const Vector& vector) noexcept
{
    size_t elements = 0;
    for (size_t i = 0; i < vector.count && vector.entries != nullptr; ++i) {
        elements += vector.entries[i].count;
    }
    return elements;
}

fi_ioc ioc_of(const void* buffer, size_t count) noexcept
{
    return {const_cast<void*>(buffer), count};
}

/// Where at the peer, and what to do there.
struct Target {
    fi_addr_t to;
    uint64_t address;
    uint64_t key;
    unsigned datatype;  ///< enum fi_datatype as the caller wrote it: any number
    unsigned operation; ///< enum fi_op, likewise
};

/// The calls without a flags argument: one range at the peer, as long as what is here.
ssize_t transfer(fid_ep* ep, AtomicForm form, const Vector& operands, const Vector& compare,
                 const Vector& result, const Target& target, void* context)
{
    const fi_rma_ioc remote{target.address,
                            elements_of(target.operation == FI_ATOMIC_READ ? result : operands), target.key};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.atomic({{target.to, 0, context, face_from(ep).tx_flags & ~FI_REMOTE_CQ_DATA, false},
                            form,
                            operands.entries,
                            operands.count,
                            compare.entries,
                            compare.count,
                            result.entries,
                            result.count,
                            &remote,
                            1,
                            target.datatype,
                            target.operation,
                            operands.device(),
                            compare.device(),
                            result.device()});
}

ssize_t transfer_message(fid_ep* ep, const char* call, AtomicForm form, const fi_msg_atomic* msg,
                         const Vector& compare, const Vector& result, uint64_t flags)
{
    if (msg == nullptr) {
        SRD_WARN(FI_LOG_EP_DATA, "%s: the message is NULL", call);
        return -FI_EINVAL;
    }
    return endpoint_from(ep).atomic({{msg->addr, msg->data, msg->context, flags, false},
                                     form,
                                     msg->msg_iov,
                                     msg->iov_count,
                                     compare.entries,
                                     compare.count,
                                     result.entries,
                                     result.count,
                                     msg->rma_iov,
                                     msg->rma_iov_count,
                                     raw(msg->datatype),
                                     raw(msg->op),
                                     device_of(msg->desc, msg->iov_count),
                                     compare.device(),
                                     result.device()});
}

// -- Base -------------------------------------------------------------------------

ssize_t writev(fid_ep* ep, const fi_ioc* iov, void** desc, size_t count, fi_addr_t dest_addr, uint64_t addr,
               uint64_t key, fi_datatype datatype, fi_op op, void* context)
{
    return transfer(ep, AtomicForm::base, {iov, desc, count}, {}, {},
                    {dest_addr, addr, key, raw(datatype), raw(op)}, context);
}

ssize_t write(fid_ep* ep, const void* buf, size_t count, void* desc, fi_addr_t dest_addr, uint64_t addr,
              uint64_t key, fi_datatype datatype, fi_op op, void* context)
{
    const fi_ioc iov = ioc_of(buf, count);
    return transfer(ep, AtomicForm::base, {&iov, &desc, 1}, {}, {},
                    {dest_addr, addr, key, raw(datatype), raw(op)}, context);
}

ssize_t writemsg(fid_ep* ep, const fi_msg_atomic* msg, uint64_t flags)
{
    return transfer_message(ep, "fi_atomicmsg", AtomicForm::base, msg, {}, {}, flags);
}

ssize_t inject(fid_ep* ep, const void* buf, size_t count, fi_addr_t dest_addr, uint64_t addr, uint64_t key,
               fi_datatype datatype, fi_op op)
{
    const fi_ioc iov = ioc_of(buf, count);
    const fi_rma_ioc remote{addr, count, key};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.atomic(
        {{dest_addr, 0, nullptr, (face_from(ep).tx_flags & ~FI_REMOTE_CQ_DATA) | FI_INJECT, true},
         AtomicForm::base,
         &iov,
         1,
         nullptr,
         0,
         nullptr,
         0,
         &remote,
         1,
         raw(datatype),
         raw(op)});
}

// -- Fetch ------------------------------------------------------------------------

ssize_t readwritev(fid_ep* ep, const fi_ioc* iov, void** desc, size_t count, fi_ioc* resultv,
                   void** result_desc, size_t result_count, fi_addr_t dest_addr, uint64_t addr, uint64_t key,
                   fi_datatype datatype, fi_op op, void* context)
{
    return transfer(ep, AtomicForm::fetch, {iov, desc, count}, {}, {resultv, result_desc, result_count},
                    {dest_addr, addr, key, raw(datatype), raw(op)}, context);
}

ssize_t readwrite(fid_ep* ep, const void* buf, size_t count, void* desc, void* result, void* result_desc,
                  fi_addr_t dest_addr, uint64_t addr, uint64_t key, fi_datatype datatype, fi_op op,
                  void* context)
{
    const fi_ioc iov = ioc_of(buf, count);
    fi_ioc resultv{result, count};
    return transfer(ep, AtomicForm::fetch, {&iov, &desc, 1}, {}, {&resultv, &result_desc, 1},
                    {dest_addr, addr, key, raw(datatype), raw(op)}, context);
}

ssize_t readwritemsg(fid_ep* ep, const fi_msg_atomic* msg, fi_ioc* resultv, void** result_desc,
                     size_t result_count, uint64_t flags)
{
    return transfer_message(ep, "fi_fetch_atomicmsg", AtomicForm::fetch, msg, {},
                            {resultv, result_desc, result_count}, flags);
}

// -- Compare ----------------------------------------------------------------------

ssize_t compwritev(fid_ep* ep, const fi_ioc* iov, void** desc, size_t count, const fi_ioc* comparev,
                   void** compare_desc, size_t compare_count, fi_ioc* resultv, void** result_desc,
                   size_t result_count, fi_addr_t dest_addr, uint64_t addr, uint64_t key,
                   fi_datatype datatype, fi_op op, void* context)
{
    return transfer(ep, AtomicForm::compare, {iov, desc, count}, {comparev, compare_desc, compare_count},
                    {resultv, result_desc, result_count}, {dest_addr, addr, key, raw(datatype), raw(op)},
                    context);
}

ssize_t compwrite(fid_ep* ep, const void* buf, size_t count, void* desc, const void* compare,
                  void* compare_desc, void* result, void* result_desc, fi_addr_t dest_addr, uint64_t addr,
                  uint64_t key, fi_datatype datatype, fi_op op, void* context)
{
    const fi_ioc iov = ioc_of(buf, count);
    const fi_ioc comparev = ioc_of(compare, count);
    fi_ioc resultv{result, count};
    return transfer(ep, AtomicForm::compare, {&iov, &desc, 1}, {&comparev, &compare_desc, 1},
                    {&resultv, &result_desc, 1}, {dest_addr, addr, key, raw(datatype), raw(op)}, context);
}

ssize_t compwritemsg(fid_ep* ep, const fi_msg_atomic* msg, const fi_ioc* comparev, void** compare_desc,
                     size_t compare_count, fi_ioc* resultv, void** result_desc, size_t result_count,
                     uint64_t flags)
{
    return transfer_message(ep, "fi_compare_atomicmsg", AtomicForm::compare, msg,
                            {comparev, compare_desc, compare_count}, {resultv, result_desc, result_count},
                            flags);
}

// -- What is served ---------------------------------------------------------------

/// Asking is how a caller finds out, so a no is not worth a warning.
int limit_of(AtomicForm form, unsigned datatype, unsigned operation, size_t* count)
{
    if (!atomic_valid(form, operation, datatype)) {
        SRD_INFO(FI_LOG_EP_DATA, "operation %u is not served on datatype %u in this form of atomic",
                 operation, datatype);
        return -FI_EOPNOTSUPP;
    }
    if (count == nullptr) {
        SRD_WARN(FI_LOG_EP_DATA, "fi_atomicvalid and its kin need a place for the count");
        return -FI_EINVAL;
    }
    *count = max_atomic_size / datatype_size(datatype);
    return 0;
}

int writevalid(fid_ep*, fi_datatype datatype, fi_op op, size_t* count)
{
    return limit_of(AtomicForm::base, raw(datatype), raw(op), count);
}

int readwritevalid(fid_ep*, fi_datatype datatype, fi_op op, size_t* count)
{
    return limit_of(AtomicForm::fetch, raw(datatype), raw(op), count);
}

int compwritevalid(fid_ep*, fi_datatype datatype, fi_op op, size_t* count)
{
    return limit_of(AtomicForm::compare, raw(datatype), raw(op), count);
}

} // namespace

int query_atomic(fid_domain*, fi_datatype datatype, fi_op op, fi_atomic_attr* attr, uint64_t flags) noexcept
{
    if ((flags & FI_TAGGED) != 0) {
        SRD_INFO(FI_LOG_DOMAIN, "fi_query_atomic: there are no atomics on tagged receive buffers");
        return -FI_EOPNOTSUPP;
    }
    constexpr std::uint64_t both = FI_FETCH_ATOMIC | FI_COMPARE_ATOMIC;
    if ((flags & ~both) != 0 || (flags & both) == both) {
        SRD_WARN(FI_LOG_DOMAIN,
                 "fi_query_atomic: flags %#llx; either FI_FETCH_ATOMIC or FI_COMPARE_ATOMIC is served, or 0",
                 static_cast<unsigned long long>(flags));
        return -FI_EBADFLAGS;
    }
    if (attr == nullptr) {
        SRD_WARN(FI_LOG_DOMAIN, "fi_query_atomic: the attributes are NULL");
        return -FI_EINVAL;
    }
    const AtomicForm form = (flags & FI_FETCH_ATOMIC) != 0     ? AtomicForm::fetch
                            : (flags & FI_COMPARE_ATOMIC) != 0 ? AtomicForm::compare
                                                               : AtomicForm::base;
    const int code = limit_of(form, raw(datatype), raw(op), &attr->count);
    if (code == 0) {
        attr->size = datatype_size(raw(datatype));
    }
    return code;
}

fi_ops_atomic atomic_ops = {
    sizeof(fi_ops_atomic), write,     writev,     writemsg,     inject,     readwrite,      readwritev,
    readwritemsg,          compwrite, compwritev, compwritemsg, writevalid, readwritevalid, compwritevalid};

} // namespace srd
