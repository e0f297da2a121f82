// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The nine calls of fi_msg(3). All they do is to name their arguments.
#include <rdma/fi_endpoint.h>

#include "common/log.hpp"
#include "endpoint/endpoint.hpp"

namespace srd {
namespace {

ssize_t recvv(fid_ep* ep, const iovec* iov, void**, size_t count, fi_addr_t src_addr, void* context)
{
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.receive({iov, count, src_addr, 0, 0, context, face_from(ep).rx_flags, false});
}

ssize_t recv(fid_ep* ep, void* buf, size_t len, void*, fi_addr_t src_addr, void* context)
{
    const iovec iov{buf, len};
    return recvv(ep, &iov, nullptr, 1, src_addr, context);
}

ssize_t recvmsg(fid_ep* ep, const fi_msg* msg, uint64_t flags)
{
    if (msg == nullptr) {
        SRD_WARN(FI_LOG_EP_DATA, "fi_recvmsg: the message is NULL");
        return -FI_EINVAL;
    }
    return endpoint_from(ep).receive(
        {msg->msg_iov, msg->iov_count, msg->addr, 0, 0, msg->context, flags, false});
}

ssize_t sendv(fid_ep* ep, const iovec* iov, void**, size_t count, fi_addr_t dest_addr, void* context)
{
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send({{dest_addr, 0, context, face_from(ep).tx_flags, false}, iov, count, 0, false});
}

ssize_t send(fid_ep* ep, const void* buf, size_t len, void*, fi_addr_t dest_addr, void* context)
{
    const iovec iov{const_cast<void*>(buf), len};
    return sendv(ep, &iov, nullptr, 1, dest_addr, context);
}

ssize_t sendmsg(fid_ep* ep, const fi_msg* msg, uint64_t flags)
{
    if (msg == nullptr) {
        SRD_WARN(FI_LOG_EP_DATA, "fi_sendmsg: the message is NULL");
        return -FI_EINVAL;
    }
    return endpoint_from(ep).send(
        {{msg->addr, msg->data, msg->context, flags, false}, msg->msg_iov, msg->iov_count, 0, false});
}

ssize_t inject(fid_ep* ep, const void* buf, size_t len, fi_addr_t dest_addr)
{
    const iovec iov{const_cast<void*>(buf), len};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send(
        {{dest_addr, 0, nullptr, face_from(ep).tx_flags | FI_INJECT, true}, &iov, 1, 0, false});
}

ssize_t senddata(fid_ep* ep, const void* buf, size_t len, void*, uint64_t data, fi_addr_t dest_addr,
                 void* context)
{
    const iovec iov{const_cast<void*>(buf), len};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send(
        {{dest_addr, data, context, face_from(ep).tx_flags | FI_REMOTE_CQ_DATA, false}, &iov, 1, 0, false});
}

ssize_t injectdata(fid_ep* ep, const void* buf, size_t len, uint64_t data, fi_addr_t dest_addr)
{
    const iovec iov{const_cast<void*>(buf), len};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send(
        {{dest_addr, data, nullptr, face_from(ep).tx_flags | FI_REMOTE_CQ_DATA | FI_INJECT, true},
         &iov,
         1,
         0,
         false});
}

} // namespace

fi_ops_msg msg_ops = {sizeof(fi_ops_msg), recv,      recvv, recvmsg, send, sendv, sendmsg, inject,
                      senddata,           injectdata};

} // namespace srd
