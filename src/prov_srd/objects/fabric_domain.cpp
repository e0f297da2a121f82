// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/fabric_domain.hpp"

#include <sys/random.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "common/boundary.hpp"
#include "common/stubs.hpp"
#include "completion/poll_set.hpp"
#include "completion/wait_set.hpp"
#include "entry/backend.hpp"
#include "entry/info.hpp"
#include "entry/params.hpp"
#include "objects/av.hpp"
#include "objects/eq.hpp"
#include "objects/memory_region.hpp"
#include "progress/progress_thread.hpp"

namespace srd {

// -- Domain -----------------------------------------------------------------

std::uint64_t Domain::random_seed()
{
    std::uint64_t seed = 0;
    ssize_t done = 0;
    do {
        done = getrandom(&seed, sizeof(seed), 0);
    } while (done < 0 && errno == EINTR);
    if (done != sizeof(seed)) {
        throw std::system_error(errno, std::generic_category(), "the operating system has no random numbers");
    }
    return seed;
}

Domain::Domain(Fabric& owner, const fi_info& info, void* context)
    : fabric(owner), name(info.domain_attr->name), api_version(owner.fid.api_version),
      memory_regions([] { return random_seed(); })
{
    const fi_domain_attr& attr = *info.domain_attr;
    threading = attr.threading == FI_THREAD_UNSPEC ? FI_THREAD_SAFE : attr.threading;
    data_progress = attr.data_progress == FI_PROGRESS_AUTO ? FI_PROGRESS_AUTO : FI_PROGRESS_MANUAL;
    mr_mode = attr.mr_mode;
    if (info.src_addr == nullptr || !SocketAddress::parse(info.src_addr, info.src_addrlen, local_address)) {
        local_address = interface_address(parse_domain_name(name).interface,
                                          info.addr_format == FI_SOCKADDR_IN6 ? AF_INET6 : AF_INET);
    }
    fid.fid.fclass = FI_CLASS_DOMAIN;
    fid.fid.context = context;
    fabric.retain();
}

Domain::~Domain()
{
    if (event_queue != nullptr) {
        event_queue->bound.fetch_sub(1);
    }
    fabric.release();
}

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

fi_ops domain_fid_ops = {sizeof(fi_ops),     domain_close,       domain_bind,       domain_control,
                         stubs::unsupported, stubs::unsupported, stubs::unsupported};
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
            SRD_WARN(FI_LOG_DOMAIN, "fi_domain: the fabric was opened before fork(); open one in the child");
            return -FI_EOPBADSTATE;
        }
        if (const std::string mismatch = info_mismatch(owner.fid.api_version, *info); !mismatch.empty()) {
            SRD_WARN(FI_LOG_DOMAIN, "fi_domain: %s", mismatch.c_str());
            return -FI_EINVAL;
        }
        auto object = std::make_unique<Domain>(owner, *info, context);
        if (object->local_address.empty()) {
            SRD_WARN(FI_LOG_DOMAIN,
                     "fi_domain: there is no network interface %s; fi_info lists what there is",
                     object->name.c_str());
            return -FI_ENODEV;
        }
        object->fid.fid.ops = &domain_fid_ops;
        object->fid.ops = &domain_ops;
        object->fid.mr = &memory_region_ops;
        *domain = &object.release()->fid;
        return 0;
    });
}

// -- Fabric -----------------------------------------------------------------

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
        return static_cast<WaitSet*>(static_cast<void*>(&object))->try_wait();
    default:
        SRD_WARN(
            FI_LOG_FABRIC,
            "fi_trywait: an object of class %zu is no completion queue, event queue, counter or wait set",
            object.fclass);
        return -FI_EINVAL;
    }
}

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
