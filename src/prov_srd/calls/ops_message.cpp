// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The nine calls of fi_msg(3) and of fi_tagged(3), which differ by the tag alone.
// All they do is to name their arguments.
#include "calls/ops_message.hpp"

#include "common/log.hpp"
#include "endpoint/endpoint.hpp"
#include "memory/descriptor.hpp"

namespace srd {
namespace {

/// Receives that match `Match...`: nothing, or tag and ignored bits. `Message` is the struct of recvmsg.
template <typename Message, typename... Match>
struct Receives {
    static constexpr bool tagged = sizeof...(Match) != 0;
    static_assert(sizeof...(Match) == 0 || sizeof...(Match) == 2);

    struct Criteria {
        uint64_t tag = 0;
        uint64_t ignore = 0;
    };

    static ssize_t start(fid_ep* ep, const iovec* iov, void* const* desc, size_t count, fi_addr_t src_addr,
                         Criteria match, void* context, uint64_t flags)
    {
        return endpoint_from(ep).receive({iov, count, src_addr, match.tag, match.ignore, context, flags,
                                          tagged, nullptr, device_of(desc, count)});
    }

    static ssize_t recvv(fid_ep* ep, const iovec* iov, void** desc, size_t count, fi_addr_t src_addr,
                         Match... match, void* context)
    {
        return start(ep, iov, desc, count, src_addr, {match...}, context, face_from(ep).rx_flags);
    }

    static ssize_t recv(fid_ep* ep, void* buf, size_t len, void* desc, fi_addr_t src_addr, Match... match,
                        void* context)
    {
        const iovec iov{buf, len};
        return start(ep, &iov, &desc, 1, src_addr, {match...}, context, face_from(ep).rx_flags);
    }

    static ssize_t recvmsg(fid_ep* ep, const Message* msg, uint64_t flags)
    {
        if (msg == nullptr) {
            SRD_WARN(FI_LOG_EP_DATA, "%s: the message is NULL", tagged ? "fi_trecvmsg" : "fi_recvmsg");
            return -FI_EINVAL;
        }
        Criteria match;
        if constexpr (tagged) {
            match = {msg->tag, msg->ignore};
        }
        return start(ep, msg->msg_iov, msg->desc, msg->iov_count, msg->addr, match, msg->context, flags);
    }
};

/// Sends with `Tag...`: none or one. `Message` is the struct of sendmsg.
template <typename Message, typename... Tag>
struct Sends {
    static constexpr bool tagged = sizeof...(Tag) != 0;
    static_assert(sizeof...(Tag) <= 1);

    struct Label {
        uint64_t tag = 0;
    };

    static ssize_t start(fid_ep* ep, const Request& request, const iovec* iov, void* const* desc,
                         size_t count, Label label)
    {
        return endpoint_from(ep).send({request, iov, count, label.tag, tagged, device_of(desc, count)});
    }

    static ssize_t start(fid_ep* ep, const Request& request, const void* buf, size_t len, void* desc,
                         Label label)
    {
        const iovec iov{const_cast<void*>(buf), len};
        return start(ep, request, &iov, &desc, 1, label);
    }

    static ssize_t sendv(fid_ep* ep, const iovec* iov, void** desc, size_t count, fi_addr_t dest_addr,
                         Tag... tag, void* context)
    {
        return start(ep, {dest_addr, 0, context, face_from(ep).tx_flags, false}, iov, desc, count, {tag...});
    }

    static ssize_t send(fid_ep* ep, const void* buf, size_t len, void* desc, fi_addr_t dest_addr, Tag... tag,
                        void* context)
    {
        return start(ep, {dest_addr, 0, context, face_from(ep).tx_flags, false}, buf, len, desc, {tag...});
    }

    static ssize_t sendmsg(fid_ep* ep, const Message* msg, uint64_t flags)
    {
        if (msg == nullptr) {
            SRD_WARN(FI_LOG_EP_DATA, "%s: the message is NULL", tagged ? "fi_tsendmsg" : "fi_sendmsg");
            return -FI_EINVAL;
        }
        Label label;
        if constexpr (tagged) {
            label = {msg->tag};
        }
        return start(ep, {msg->addr, msg->data, msg->context, flags, false}, msg->msg_iov, msg->desc,
                     msg->iov_count, label);
    }

    static ssize_t inject(fid_ep* ep, const void* buf, size_t len, fi_addr_t dest_addr, Tag... tag)
    {
        return start(ep, {dest_addr, 0, nullptr, face_from(ep).tx_flags | FI_INJECT, true}, buf, len, nullptr,
                     {tag...});
    }

    static ssize_t senddata(fid_ep* ep, const void* buf, size_t len, void* desc, uint64_t data,
                            fi_addr_t dest_addr, Tag... tag, void* context)
    {
        return start(ep, {dest_addr, data, context, face_from(ep).tx_flags | FI_REMOTE_CQ_DATA, false}, buf,
                     len, desc, {tag...});
    }

    static ssize_t injectdata(fid_ep* ep, const void* buf, size_t len, uint64_t data, fi_addr_t dest_addr,
                              Tag... tag)
    {
        return start(ep,
                     {dest_addr, data, nullptr, face_from(ep).tx_flags | FI_REMOTE_CQ_DATA | FI_INJECT, true},
                     buf, len, nullptr, {tag...});
    }
};

/// fi_ops_msg and fi_ops_tagged have the same entries in the same order.
template <typename Table, typename In, typename Out>
constexpr Table table_of() noexcept
{
    return {sizeof(Table), In::recv,     In::recvv,   In::recvmsg,   Out::send,
            Out::sendv,    Out::sendmsg, Out::inject, Out::senddata, Out::injectdata};
}

} // namespace

fi_ops_msg msg_ops = table_of<fi_ops_msg, Receives<fi_msg>, Sends<fi_msg>>();
fi_ops_tagged tagged_ops =
    table_of<fi_ops_tagged, Receives<fi_msg_tagged, uint64_t, uint64_t>, Sends<fi_msg_tagged, uint64_t>>();

} // namespace srd
