// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/av.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "common/c_api.hpp"
#include "common/stubs.hpp"
#include "objects/domain.hpp"
#include "objects/eq.hpp"
#include "objects/shared_addresses.hpp"

namespace srd {

// -- The vector -------------------------------------------------------------

AddressVector::AddressVector(Domain& owner, const fi_av_attr& attr, void* context)
    : domain(owner), asynchronous((attr.flags & FI_EVENT) != 0)
{
    fid.fid.fclass = FI_CLASS_AV;
    fid.fid.context = context;
    if (attr.name != nullptr) {
        shared_ = std::make_unique<SharedAddresses>(
            SharedAddresses::Options{.domain = domain.name,
                                     .name = attr.name,
                                     .family = domain.local_address.family(),
                                     .count = attr.count,
                                     .read_only = (attr.flags & FI_READ) != 0});
        generation_ = &shared_->generation();
    } else {
        own_.reserve(attr.count);
    }
    domain.retain();
}

AddressVector::~AddressVector()
{
    if (event_queue != nullptr) {
        event_queue->bound.fetch_sub(1);
    }
    domain.release();
}

bool AddressVector::address_of(fi_addr_t fi_addr, SocketAddress& address) const noexcept
{
    return shared_ != nullptr ? shared_->address_of(fi_addr, address) : own_.address_of(fi_addr, address);
}

fi_addr_t AddressVector::find(const SocketAddress& address) const noexcept
{
    if (shared_ != nullptr) {
        return shared_->find(address);
    }
    const std::uint32_t index = own_.find(address);
    return index == AddressTable::none ? FI_ADDR_NOTAVAIL : fi_addr_t{index};
}

int AddressVector::insert(const SocketAddress& address, fi_addr_t& fi_addr)
{
    if (shared_ != nullptr) {
        return shared_->insert(address, fi_addr);
    }
    fi_addr = own_.insert(address);
    return 0;
}

int AddressVector::remove(fi_addr_t fi_addr) noexcept
{
    const std::lock_guard observers_lock(observers_mutex_);
    bool gone = false;
    if (shared_ != nullptr) { // an index is never given to another address there
        if (const int code = shared_->remove(fi_addr, gone); code != 0) {
            return code;
        }
    } else {
        const AddressTable::Removed removed = own_.remove(fi_addr);
        if (removed == AddressTable::Removed::unknown) {
            return -FI_EINVAL;
        }
        gone = removed == AddressTable::Removed::gone;
    }
    if (gone) {
        for (AvObserver* observer : observers_) {
            observer->address_removed(fi_addr);
        }
        if (shared_ == nullptr) {
            own_.recycle(static_cast<std::uint32_t>(fi_addr));
        }
    }
    return 0;
}

void* AddressVector::map_addr() const noexcept
{
    return shared_ != nullptr ? shared_->ids() : nullptr;
}

void AddressVector::attach(AvObserver& observer)
{
    const std::unique_lock lock(observers_mutex_);
    observers_.push_back(&observer);
}

void AddressVector::detach(AvObserver& observer) noexcept
{
    const std::unique_lock lock(observers_mutex_);
    const auto found = std::find(observers_.begin(), observers_.end(), &observer);
    if (found != observers_.end()) {
        observers_.erase(found);
    }
}

bool AddressVector::has_observers() const noexcept
{
    const std::unique_lock lock(observers_mutex_);
    return !observers_.empty();
}

// -- The calls --------------------------------------------------------------

std::size_t address_size(const AddressVector& vector) noexcept
{
    return vector.domain.local_address.family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

namespace {

int av_remove(fid_av* av, fi_addr_t* fi_addr, std::size_t count, std::uint64_t flags) noexcept
{
    if (flags != 0 || (fi_addr == nullptr && count != 0)) {
        SRD_WARN(FI_LOG_AV, "fi_av_remove: flags must be 0 and the addresses must not be null");
        return -FI_EINVAL;
    }
    int result = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const int code = av_from(av).remove(fi_addr[i]);
        if (code == -FI_EINVAL) {
            SRD_WARN(FI_LOG_AV, "fi_av_remove: the vector has no address %llu",
                     static_cast<unsigned long long>(fi_addr[i]));
        }
        result = code != 0 ? code : result;
    }
    return result;
}

int av_lookup(fid_av* av, fi_addr_t fi_addr, void* addr, std::size_t* addrlen) noexcept
{
    SocketAddress address;
    if (addrlen == nullptr || (addr == nullptr && *addrlen != 0) ||
        !av_from(av).address_of(fi_addr, address)) {
        SRD_WARN(FI_LOG_AV, "fi_av_lookup: the vector has no address %llu, or the buffer is null",
                 static_cast<unsigned long long>(fi_addr));
        return -FI_EINVAL;
    }
    if (addr != nullptr) {
        std::memcpy(addr, address.bytes().data(), std::min(*addrlen, address.bytes().size()));
    }
    *addrlen = address.bytes().size();
    return 0;
}

const char* av_straddr(fid_av* av, const void* addr, char* buffer, std::size_t* length) noexcept
{
    const int code = guarded([&] {
        SocketAddress address;
        if (length == nullptr || !SocketAddress::parse(addr, address_size(av_from(av)), address)) {
            return -FI_EINVAL;
        }
        const std::string text =
            (address.family() == AF_INET ? "fi_sockaddr_in://" : "fi_sockaddr_in6://") + address.text();
        if (buffer != nullptr && *length != 0) {
            const std::size_t fits = std::min(text.size(), *length - 1);
            std::memcpy(buffer, text.data(), fits);
            buffer[fits] = '\0';
        }
        *length = text.size() + 1;
        return 0;
    });
    return code == 0 ? buffer : nullptr;
}

int av_close(fid* object) noexcept
{
    auto* vector = &av_from(static_cast<fid_av*>(static_cast<void*>(object)));
    if (vector->domain.fabric.inherited()) {
        return 0;
    }
    if (vector->has_observers()) {
        SRD_WARN(FI_LOG_AV, "the address vector is bound to an endpoint: close that first");
        return -FI_EBUSY;
    }
    delete vector;
    return 0;
}

int av_bind(fid* object, fid* other, std::uint64_t flags) noexcept
{
    AddressVector& vector = av_from(static_cast<fid_av*>(static_cast<void*>(object)));
    if (other == nullptr || other->fclass != FI_CLASS_EQ || (flags & ~FI_EVENT) != 0) {
        SRD_WARN(FI_LOG_AV, "an address vector can be bound to an event queue only, with no flags");
        return -FI_EINVAL;
    }
    if (vector.event_queue != nullptr) {
        SRD_WARN(FI_LOG_AV, "the address vector has an event queue already");
        return -FI_EINVAL;
    }
    vector.event_queue = &eq_from(static_cast<fid_eq*>(static_cast<void*>(other)));
    vector.event_queue->bound.fetch_add(1);
    return 0;
}

fi_ops av_fid_ops = {sizeof(fi_ops),     av_close,           av_bind,           stubs::unsupported,
                     stubs::unsupported, stubs::unsupported, stubs::unsupported};
fi_ops_av av_ops = {sizeof(fi_ops_av), av_insert, av_insertsvc, av_insertsym,
                    av_remove,         av_lookup, av_straddr,   stubs::unsupported};

} // namespace

int av_open(fid_domain* domain, fi_av_attr* attr, fid_av** av, void* context) noexcept
{
    return guarded([&] {
        if (attr == nullptr || av == nullptr) {
            return -FI_EINVAL;
        }
        if (raw(attr->type) > FI_AV_TABLE) {
            SRD_WARN(FI_LOG_AV, "unknown address vector type %u; use FI_AV_TABLE or FI_AV_MAP",
                     raw(attr->type));
            return -FI_EINVAL;
        }
        if (attr->name == nullptr && (attr->flags & FI_READ) != 0) {
            SRD_WARN(FI_LOG_AV,
                     "FI_READ opens an address vector that exists: fi_av_attr.name must say which");
            return -FI_EINVAL;
        }
        if (attr->rx_ctx_bits != 0 || (attr->flags & ~(FI_EVENT | FI_SYMMETRIC | FI_READ)) != 0) {
            SRD_WARN(
                FI_LOG_AV,
                "address vectors have rx_ctx_bits 0 and the flags FI_EVENT, FI_SYMMETRIC and FI_READ only");
            return -FI_EINVAL;
        }
        auto vector = std::make_unique<AddressVector>(domain_from(domain), *attr, context);
        vector->fid.fid.ops = &av_fid_ops;
        vector->fid.ops = &av_ops;
        if (attr->type == FI_AV_UNSPEC) {
            attr->type = FI_AV_TABLE;
        }
        if (vector->map_addr() != nullptr) {
            attr->map_addr = vector->map_addr();
        }
        *av = &vector.release()->fid;
        return 0;
    });
}

} // namespace srd
