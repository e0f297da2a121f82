// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The calls on a domain: its table names what every room opens.
#include <memory>
#include <string>

#include "calls/ops_atomic.hpp"
#include "calls/queue_work.hpp"
#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "completion/cntr.hpp"
#include "completion/cq.hpp"
#include "completion/poll_set.hpp"
#include "endpoint/endpoint.hpp"
#include "entry/info.hpp"
#include "entry/params.hpp"
#include "memory/memory_region.hpp"
#include "objects/av.hpp"
#include "objects/domain.hpp"
#include "objects/eq.hpp"
#include "trigger/deferred_work.hpp"

namespace srd {

namespace {

int domain_close(fid* object) noexcept
{
    auto* domain = &domain_from(static_cast<fid_domain*>(static_cast<void*>(object)));
    if (domain->fabric.inherited()) {
        return 0;
    }
    const std::uint32_t children = domain->children.load(std::memory_order_acquire);
    if (children != 0) {
        SRD_WARN(
            FI_LOG_DOMAIN,
            "domain %s has %u open endpoints, vectors, queues, counters or memory regions: close those first",
            domain->name.c_str(), children);
        return -FI_EBUSY;
    }
    delete domain;
    return 0;
}

int domain_bind(fid* object, fid* other, std::uint64_t flags) noexcept
{
    Domain& domain = domain_from(static_cast<fid_domain*>(static_cast<void*>(object)));
    if (other == nullptr || other->fclass != FI_CLASS_EQ || (flags & ~FI_REG_MR) != 0) {
        SRD_WARN(FI_LOG_DOMAIN, "a domain can be bound to an event queue only, with no flag but FI_REG_MR");
        return -FI_EINVAL;
    }
    if (domain.event_queue != nullptr) {
        SRD_WARN(FI_LOG_DOMAIN, "domain %s has an event queue already", domain.name.c_str());
        return -FI_EINVAL;
    }
    domain.event_queue = &eq_from(static_cast<fid_eq*>(static_cast<void*>(other)));
    domain.event_queue->bound.fetch_add(1);
    domain.memory_events = (flags & FI_REG_MR) != 0;
    return 0;
}

int domain_ops_open(fid* object, const char* name, std::uint64_t flags, void** ops, void* context) noexcept
{
    Domain& domain = domain_from(static_cast<fid_domain*>(static_cast<void*>(object)));
    return guarded([&] { return domain.profiles.open_ops(name, flags, ops, context); }, "fi_open_ops");
}

fi_ops domain_fid_ops = {sizeof(fi_ops),  domain_close,       domain_bind,       domain_control,
                         domain_ops_open, stubs::unsupported, stubs::unsupported};
fi_ops_domain domain_ops = {sizeof(fi_ops_domain),
                            av_open,
                            cq_open,
                            endpoint_open,
                            stubs::Refused<stubs::scalable_ep_call>{},
                            cntr_open,
                            poll_open,
                            stubs::Refused<stubs::stx_context_call>{},
                            stubs::Refused<stubs::srx_context_call>{},
                            query_atomic,
                            stubs::unsupported, // query_collective
                            stubs::unsupported};

} // namespace

int domain_open(fid_fabric* fabric, fi_info* info, fid_domain** domain, void* context) noexcept
{
    return guarded([&] {
        if (info == nullptr || domain == nullptr || info->domain_attr == nullptr ||
            info->domain_attr->name == nullptr) {
            SRD_WARN(FI_LOG_DOMAIN, "fi_domain needs an info with a domain name, as fi_getinfo returns it");
            return -FI_EINVAL;
        }
        Fabric& owner = fabric_from(fabric);
        if (owner.inherited()) {
            return refuse_in_child("fi_domain");
        }
        if (const std::string mismatch = info_mismatch(owner.fid.api_version, *info); !mismatch.empty()) {
            SRD_WARN(FI_LOG_DOMAIN, "fi_domain: %s", mismatch.c_str());
            return -FI_EINVAL;
        }
        std::shared_ptr<JobKeys> keys = params().job_keys;
        if (takes_auth_keys(owner.fid.api_version)) {
            std::string error; // none, or there would be a mismatch
            keys = job_keys_of(info->domain_attr->auth_key, info->domain_attr->auth_key_size, keys, error);
        }
        auto object = std::make_unique<Domain>(owner, *info, std::move(keys), context);
        if (object->local_address.empty()) {
            SRD_WARN(FI_LOG_DOMAIN,
                     "fi_domain: there is no network interface %s; fi_info lists what there is",
                     object->name.c_str());
            return -FI_ENODEV;
        }
        object->progress.set_due_work(std::make_unique<DeferredQueue>(object->progress));
        object->fid.fid.ops = &domain_fid_ops;
        object->fid.ops = &domain_ops;
        object->fid.mr = &memory_region_ops;
        *domain = &object.release()->fid;
        return 0;
    });
}

} // namespace srd
