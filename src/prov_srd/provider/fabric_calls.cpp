// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The calls on a fabric.
#include <memory>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "entry/params.hpp"
#include "objects/domain.hpp"
#include "objects/eq.hpp"
#include "objects/fabric.hpp"
#include "objects/wait_set.hpp"

namespace srd {
namespace {

int fabric_close(fid* object) noexcept
{
    auto* fabric = &fabric_from(static_cast<fid_fabric*>(static_cast<void*>(object)));
    if (fabric->inherited()) {
        return 0;
    }
    const std::uint32_t children = fabric->children.load(std::memory_order_acquire);
    if (children != 0) {
        SRD_WARN(FI_LOG_FABRIC, "fabric %s has %u open domains or event queues: close those first",
                 fabric->name.c_str(), children);
        return -FI_EBUSY;
    }
    delete fabric;
    return 0;
}

int object_trywait(fid& object) noexcept
{
    switch (object.fclass) {
    case FI_CLASS_EQ:
        return eq_trywait(&object);
    case FI_CLASS_CQ:
        return cq_trywait(&object);
    case FI_CLASS_CNTR:
        return cntr_trywait(&object);
    case FI_CLASS_WAIT:
        return wait_set_trywait(&object);
    default:
        SRD_WARN(
            FI_LOG_FABRIC,
            "fi_trywait: an object of class %zu is no completion queue, event queue, counter or wait set",
            object.fclass);
        return -FI_EINVAL;
    }
}

int fabric_trywait(fid_fabric*, fid** objects, int count) noexcept
{
    for (int i = 0; i < count; ++i) {
        if (const int code = object_trywait(*objects[i]); code != 0) {
            return code;
        }
    }
    return 0;
}

fi_ops fabric_fid_ops = {sizeof(fi_ops),     fabric_close,       stubs::unsupported, stubs::unsupported,
                         stubs::unsupported, stubs::unsupported, stubs::unsupported};
fi_ops_fabric fabric_ops = {
    sizeof(fi_ops_fabric), domain_open,       stubs::Refused<stubs::passive_ep_call>{}, eq_open, wait_open,
    fabric_trywait,        stubs::unsupported};

} // namespace

int fabric_open(fi_fabric_attr* attr, fid_fabric** fabric, void* context) noexcept
{
    return guarded([&] {
        if (attr == nullptr || fabric == nullptr || attr->name == nullptr) {
            SRD_WARN(FI_LOG_FABRIC, "fi_fabric needs a fabric name, as fi_getinfo returns it");
            return -FI_EINVAL;
        }
        if (const int code = params_load(); code != 0) {
            return code;
        }
        auto object = std::make_unique<Fabric>();
        object->name = attr->name;
        object->fid.fid.fclass = FI_CLASS_FABRIC;
        object->fid.fid.context = context;
        object->fid.fid.ops = &fabric_fid_ops;
        object->fid.ops = &fabric_ops;
        object->fid.api_version = attr->api_version;
        *fabric = &object.release()->fid;
        return 0;
    });
}

} // namespace srd
