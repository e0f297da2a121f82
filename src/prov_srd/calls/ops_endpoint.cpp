// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// fi_endpoint(3) and the calls that are not data transfer. All they do is to find the object.
#include <memory>
#include <string>

#include <rdma/fi_cm.h>

#include "calls/ops_atomic.hpp"
#include "calls/ops_message.hpp"
#include "calls/ops_rma.hpp"
#include "common/c_api.hpp"
#include "common/log.hpp"
#include "common/stubs.hpp"
#include "endpoint/endpoint.hpp"
#include "objects/domain.hpp"

namespace srd {
namespace {

EndpointFace& face(fid* object) noexcept
{
    return *static_cast<EndpointFace*>(static_cast<void*>(object));
}

Endpoint& as_endpoint(fid* object) noexcept
{
    return face(object).endpoint;
}

int ep_close(fid* object)
{
    Endpoint& endpoint = as_endpoint(object);
    if (endpoint.domain.fabric.inherited()) {
        return 0;
    }
    return &face(object) == &endpoint ? endpoint.close() : endpoint.close_alias(face(object));
}

int ep_bind(fid* object, fid* other, uint64_t flags)
{
    if (other == nullptr) {
        SRD_WARN(FI_LOG_EP_CTRL, "fi_ep_bind: the object is NULL");
        return -FI_EINVAL;
    }
    return guarded([&] { return as_endpoint(object).bind(*other, flags); });
}

int ep_control(fid* object, int command, void* argument)
{
    return as_endpoint(object).control(face(object), command, argument);
}

ssize_t ep_cancel(fid_t object, void* context)
{
    return as_endpoint(object).cancel(context);
}

int ep_getopt(fid_t object, int level, int option, void* value, size_t* size)
{
    return as_endpoint(object).get_option(level, option, value, size);
}

int ep_setopt(fid_t object, int level, int option, const void* value, size_t size)
{
    return as_endpoint(object).set_option(level, option, value, size);
}

int ep_getname(fid_t object, void* address, size_t* size)
{
    return guarded([&] { return as_endpoint(object).get_name(address, size); });
}

int ep_setname(fid_t object, void* address, size_t size)
{
    return guarded([&] { return as_endpoint(object).set_name(address, size); });
}

int ep_ops_open(fid* object, const char* name, uint64_t flags, void** ops, void* context)
{
    return guarded([&] { return as_endpoint(object).open_ops(name, flags, ops, context); }, "fi_open_ops");
}

fi_ops ep_fid_ops = {sizeof(fi_ops), ep_close, ep_bind, ep_control, ep_ops_open, nullptr, nullptr};

fi_ops_ep ep_ops = {sizeof(fi_ops_ep), ep_cancel,     ep_getopt,        ep_setopt,
                    stubs::tx_ctx,     stubs::rx_ctx, stubs::size_left, stubs::size_left};

fi_ops_cm ep_cm_ops = {sizeof(fi_ops_cm),  ep_setname,         ep_getname,         stubs::unsupported,
                       stubs::unsupported, stubs::unsupported, stubs::unsupported, stubs::unsupported,
                       stubs::unsupported, stubs::unsupported};

} // namespace

int endpoint_open(fid_domain* domain, fi_info* info, fid_ep** endpoint, void* context) noexcept
{
    return guarded([&]() -> int {
        if (info == nullptr || endpoint == nullptr) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_endpoint: the info or the result pointer is NULL");
            return -FI_EINVAL;
        }
        if (domain_from(domain).fabric.inherited()) {
            return refuse_in_child("fi_endpoint");
        }
        if (info->ep_attr != nullptr && (info->ep_attr->tx_ctx_cnt == FI_SHARED_CONTEXT ||
                                         info->ep_attr->rx_ctx_cnt == FI_SHARED_CONTEXT)) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_endpoint: shared transmit and receive contexts are not served");
            return -FI_ENOSYS;
        }
        Domain& owner = domain_from(domain);
        std::string error;
        auto keys = Endpoint::keys_for(owner, *info, error);
        if (!error.empty()) {
            SRD_WARN(FI_LOG_EP_CTRL, "fi_endpoint: %s", error.c_str());
            return -FI_EINVAL;
        }
        auto object = std::make_unique<Endpoint>(owner, *info, std::move(keys), context);
        object->fid.fid.ops = &ep_fid_ops;
        object->fid.ops = &ep_ops;
        object->fid.cm = &ep_cm_ops;
        object->fid.msg = &msg_ops;
        object->fid.tagged = &tagged_ops;
        object->fid.rma = &rma_ops;
        object->fid.atomic = &atomic_ops;
        object->fid.collective = &stubs::collective;
        *endpoint = &object.release()->fid;
        return 0;
    });
}

} // namespace srd
