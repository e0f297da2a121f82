// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The nine calls of fi_rma(3). All they do is to name their arguments.
#include "calls/ops_rma.hpp"

#include "common/log.hpp"
#include "endpoint/endpoint.hpp"
#include "memory/descriptor.hpp"

namespace srd {
namespace {

ssize_t access_one(fid_ep* ep, const Request& request, const iovec* iov, void* const* desc, size_t count,
                   uint64_t addr, uint64_t key, bool is_read)
{
    size_t length = 0;
    for (size_t i = 0; i < count && iov != nullptr; ++i) {
        length += iov[i].iov_len;
    }
    const fi_rma_iov remote{addr, length, key};
    return endpoint_from(ep).access({request, iov, count, &remote, 1, is_read, device_of(desc, count)});
}

ssize_t access_message(fid_ep* ep, const fi_msg_rma* msg, uint64_t flags, bool is_read)
{
    if (msg == nullptr) {
        SRD_WARN(FI_LOG_EP_DATA, "%s: the message is NULL", is_read ? "fi_readmsg" : "fi_writemsg");
        return -FI_EINVAL;
    }
    return endpoint_from(ep).access({{msg->addr, msg->data, msg->context, flags, false},
                                     msg->msg_iov,
                                     msg->iov_count,
                                     msg->rma_iov,
                                     msg->rma_iov_count,
                                     is_read,
                                     device_of(msg->desc, msg->iov_count)});
}

ssize_t readv(fid_ep* ep, const iovec* iov, void** desc, size_t count, fi_addr_t src_addr, uint64_t addr,
              uint64_t key, void* context)
{
    const Request request{src_addr, 0, context, face_from(ep).tx_flags, false};
    return access_one(ep, request, iov, desc, count, addr, key, true);
}

ssize_t read(fid_ep* ep, void* buf, size_t len, void* desc, fi_addr_t src_addr, uint64_t addr, uint64_t key,
             void* context)
{
    const iovec iov{buf, len};
    return readv(ep, &iov, &desc, 1, src_addr, addr, key, context);
}

ssize_t readmsg(fid_ep* ep, const fi_msg_rma* msg, uint64_t flags)
{
    return access_message(ep, msg, flags, true);
}

ssize_t writev(fid_ep* ep, const iovec* iov, void** desc, size_t count, fi_addr_t dest_addr, uint64_t addr,
               uint64_t key, void* context)
{
    const Request request{dest_addr, 0, context, face_from(ep).tx_flags, false};
    return access_one(ep, request, iov, desc, count, addr, key, false);
}

ssize_t write(fid_ep* ep, const void* buf, size_t len, void* desc, fi_addr_t dest_addr, uint64_t addr,
              uint64_t key, void* context)
{
    const iovec iov{const_cast<void*>(buf), len};
    return writev(ep, &iov, &desc, 1, dest_addr, addr, key, context);
}

ssize_t writemsg(fid_ep* ep, const fi_msg_rma* msg, uint64_t flags)
{
    return access_message(ep, msg, flags, false);
}

ssize_t inject_write(fid_ep* ep, const void* buf, size_t len, fi_addr_t dest_addr, uint64_t addr,
                     uint64_t key)
{
    const iovec iov{const_cast<void*>(buf), len};
    const Request request{dest_addr, 0, nullptr, face_from(ep).tx_flags | FI_INJECT, true};
    return access_one(ep, request, &iov, nullptr, 1, addr, key, false);
}

ssize_t writedata(fid_ep* ep, const void* buf, size_t len, void* desc, uint64_t data, fi_addr_t dest_addr,
                  uint64_t addr, uint64_t key, void* context)
{
    const iovec iov{const_cast<void*>(buf), len};
    const Request request{dest_addr, data, context, face_from(ep).tx_flags | FI_REMOTE_CQ_DATA, false};
    return access_one(ep, request, &iov, &desc, 1, addr, key, false);
}

ssize_t inject_writedata(fid_ep* ep, const void* buf, size_t len, uint64_t data, fi_addr_t dest_addr,
                         uint64_t addr, uint64_t key)
{
    const iovec iov{const_cast<void*>(buf), len};
    const Request request{dest_addr, data, nullptr, face_from(ep).tx_flags | FI_REMOTE_CQ_DATA | FI_INJECT,
                          true};
    return access_one(ep, request, &iov, nullptr, 1, addr, key, false);
}

} // namespace

fi_ops_rma rma_ops = {sizeof(fi_ops_rma), read,         readv,     readmsg,         write, writev,
                      writemsg,           inject_write, writedata, inject_writedata};

} // namespace srd
