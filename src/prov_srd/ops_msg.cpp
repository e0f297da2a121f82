// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The nine calls of fi_msg(3). All they do is to name their arguments.
#include <rdma/fi_endpoint.h>

#include "endpoint.hpp"
#include "log.hpp"

namespace srd {
namespace {

ssize_t recvv(fid_ep* ep, const iovec* iov, void**, size_t count, fi_addr_t src_addr, void* context)
{
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.receive({iov, count, src_addr, 0, 0, context, endpoint.rx_flags, false});
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
    return endpoint.send({iov, count, dest_addr, 0, 0, context, endpoint.tx_flags, false, false});
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
        {msg->msg_iov, msg->iov_count, msg->addr, 0, msg->data, msg->context, flags, false, false});
}

ssize_t inject(fid_ep* ep, const void* buf, size_t len, fi_addr_t dest_addr)
{
    const iovec iov{const_cast<void*>(buf), len};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send({&iov, 1, dest_addr, 0, 0, nullptr, endpoint.tx_flags | FI_INJECT, false, true});
}

ssize_t senddata(fid_ep* ep, const void* buf, size_t len, void*, uint64_t data, fi_addr_t dest_addr,
                 void* context)
{
    const iovec iov{const_cast<void*>(buf), len};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send(
        {&iov, 1, dest_addr, 0, data, context, endpoint.tx_flags | FI_REMOTE_CQ_DATA, false, false});
}

ssize_t injectdata(fid_ep* ep, const void* buf, size_t len, uint64_t data, fi_addr_t dest_addr)
{
    const iovec iov{const_cast<void*>(buf), len};
    Endpoint& endpoint = endpoint_from(ep);
    return endpoint.send({&iov, 1, dest_addr, 0, data, nullptr,
                          endpoint.tx_flags | FI_REMOTE_CQ_DATA | FI_INJECT, false, true});
}

} // namespace

fi_ops_msg msg_ops = {sizeof(fi_ops_msg), recv,      recvv, recvmsg, send, sendv, sendmsg, inject,
                      senddata,           injectdata};

} // namespace srd
