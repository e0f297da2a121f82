// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/domain.hpp"

#include <cerrno>
#include <system_error>

#include <sys/random.h>

#include "entry/backend.hpp"
#include "entry/info.hpp"
#include "objects/eq.hpp"

namespace srd {
namespace {

SocketAddress address_for(const fi_info& info)
{
    SocketAddress address;
    if (info.src_addr != nullptr && SocketAddress::parse(info.src_addr, info.src_addrlen, address)) {
        return address;
    }
    return interface_address(parse_domain_name(info.domain_attr->name).interface,
                             info.addr_format == FI_SOCKADDR_IN6 ? AF_INET6 : AF_INET);
}

} // namespace

std::uint64_t random_seed()
{
    std::uint64_t seed = 0;
    ssize_t done = 0;
    do {
        done = getrandom(&seed, sizeof(seed), 0);
    } while (done < 0 && errno == EINTR);
    if (done != sizeof(seed)) { // up to 256 bytes come whole or not at all
        throw std::system_error(done < 0 ? errno : EIO, std::generic_category(),
                                "the operating system has no random numbers");
    }
    return seed;
}

Domain::Domain(Fabric& owner, const fi_info& info, void* context)
    : fabric(owner), name(info.domain_attr->name), mr_mode(info.domain_attr->mr_mode),
      api_version(owner.fid.api_version), local_address(address_for(info)), memory_regions(&random_seed),
      progress(name,
               info.domain_attr->threading == FI_THREAD_UNSPEC ? FI_THREAD_SAFE : info.domain_attr->threading,
               info.domain_attr->data_progress == FI_PROGRESS_AUTO ? FI_PROGRESS_AUTO : FI_PROGRESS_MANUAL)
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
