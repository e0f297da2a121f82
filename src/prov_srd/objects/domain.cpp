// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/domain.hpp"

#include <utility>

#include "entry/backend.hpp"
#include "entry/interface_group.hpp"
#include "io/core/system_random.hpp"
#include "objects/eq.hpp"

namespace srd {
namespace {

SocketAddress address_for(const fi_info& info)
{
    SocketAddress address;
    if (info.src_addr != nullptr && SocketAddress::parse(info.src_addr, info.src_addrlen, address)) {
        return address;
    }
    const int family = info.addr_format == FI_SOCKADDR_IN6 ? AF_INET6 : AF_INET;
    const DomainName domain = parse_domain_name(info.domain_attr->name);
    address = interface_address(domain.interface, family);
    for (std::size_t i = 1; address.empty() && i < domain.group.size(); ++i) {
        address = interface_address(domain.group[i], family);
    }
    return address;
}

} // namespace

Domain::Domain(Fabric& owner, const fi_info& info, std::shared_ptr<JobKeys> keys, void* context)
    : fabric(owner), name(info.domain_attr->name), mr_mode(info.domain_attr->mr_mode),
      serves_devices((info.caps & FI_HMEM) != 0), api_version(owner.fid.api_version),
      job_keys(std::move(keys)), local_address(address_for(info)), memory_regions(&system_random),
      progress(name,
               info.domain_attr->data_progress == FI_PROGRESS_AUTO ? FI_PROGRESS_AUTO : FI_PROGRESS_MANUAL),
      profiles([this] { return progress.profile(); })
{
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

} // namespace srd
