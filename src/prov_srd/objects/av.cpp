// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "objects/av.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "common/boundary.hpp"
#include "common/stubs.hpp"
#include "entry/resolve.hpp"
#include "objects/eq.hpp"
#include "objects/fabric_domain.hpp"
#include "objects/shared_addresses.hpp"

namespace srd {

namespace {

int family_of(const Domain& domain) noexcept
{
    return domain.local_address.family();
}

} // namespace

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
                                     .family = family_of(domain),
                                     .count = attr.count,
                                     .read_only = (attr.flags & FI_READ) != 0});
        generation_ = &shared_->generation();
    } else {
        entries_.reserve(attr.count);
        index_.reserve(attr.count);
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
    if (shared_ != nullptr) {
        return shared_->address_of(fi_addr, address);
    }
    const std::shared_lock lock(mutex_);
    if (fi_addr >= entries_.size() || entries_[fi_addr] == nullptr) {
        return false;
    }
    address = entries_[fi_addr]->first;
    return true;
}

fi_addr_t AddressVector::find(const SocketAddress& address) const noexcept
{
    if (shared_ != nullptr) {
        return shared_->find(address);
    }
    const std::shared_lock lock(mutex_);
    const auto found = index_.find(address);
    return found == index_.end() ? FI_ADDR_NOTAVAIL : found->second.index;
}

int AddressVector::insert(const SocketAddress& address, fi_addr_t& fi_addr)
{
    if (shared_ != nullptr) {
        return shared_->insert(address, fi_addr);
    }
    const std::unique_lock lock(mutex_);
    const auto [entry, is_new] = index_.try_emplace(address);
    if (is_new) {
        try {
            if (free_.empty()) {
                entry->second.index = static_cast<std::uint32_t>(entries_.size());
                entries_.push_back(nullptr);
                free_.reserve(entries_.capacity()); // so that remove() cannot fail
            } else {
                entry->second.index = free_.back();
                free_.pop_back();
            }
        } catch (...) {
            index_.erase(entry);
            throw;
        }
        entries_[entry->second.index] = &*entry;
    }
    ++entry->second.count;
    fi_addr = entry->second.index;
    own_generation_.fetch_add(1, std::memory_order_release);
    return 0;
}

int AddressVector::remove_own(fi_addr_t fi_addr, SocketAddress& address, bool& gone) noexcept
{
    const std::unique_lock lock(mutex_);
    if (fi_addr >= entries_.size() || entries_[fi_addr] == nullptr) {
        return -FI_EINVAL;
    }
    Index::value_type& entry = *entries_[fi_addr];
    address = entry.first;
    gone = --entry.second.count == 0;
    if (gone) {
        free_.push_back(entry.second.index);
        entries_[fi_addr] = nullptr;
        index_.erase(address);
        own_generation_.fetch_add(1, std::memory_order_release);
    }
    return 0;
}

int AddressVector::remove(fi_addr_t fi_addr) noexcept
{
    const std::unique_lock observers_lock(observers_mutex_);
    SocketAddress address;
    bool gone = false;
    int code = 0;
    if (shared_ == nullptr) {
        code = remove_own(fi_addr, address, gone);
    } else if (shared_->address_of(fi_addr, address)) {
        code = shared_->remove(fi_addr, gone);
    } else {
        code = -FI_EINVAL;
    }
    if (gone) {
        for (AvObserver* observer : observers_) {
            observer->address_removed(fi_addr, address.bytes());
        }
    }
    return code;
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

namespace {

int family_of(const AddressVector& vector) noexcept
{
    return family_of(vector.domain);
}

/// Bytes of an address as the application gives it.
std::size_t address_size(const AddressVector& vector) noexcept
{
    return family_of(vector) == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

/// Collects the outcome of one insertion call, however the application wants to hear of it.
class Insertion {
public:
    Insertion(AddressVector& vector, std::size_t count, fi_addr_t* fi_addr, std::uint64_t flags,
              void* context)
        : vector_(vector), fi_addr_(fi_addr), context_(context),
          errors_((flags & FI_SYNC_ERR) != 0 ? static_cast<int*>(context) : nullptr)
    {
        if (errors_ != nullptr) {
            std::fill_n(errors_, count, 0);
        }
        if (fi_addr_ != nullptr) {
            std::fill_n(fi_addr_, count, FI_ADDR_NOTAVAIL);
        }
    }

    void add(std::size_t index, const SocketAddress& address)
    {
        if (address.family() != family_of(vector_)) {
            fail(index, FI_EINVAL, "is not of the domain's address family");
        } else if (address.port() == 0 || address.is_wildcard()) {
            fail(index, FI_EINVAL, "names no endpoint: it has no port or no host");
        } else {
            fi_addr_t fi_addr = FI_ADDR_NOTAVAIL;
            const int code = guarded([&] { return vector_.insert(address, fi_addr); });
            if (code != 0) {
                fail(index, -code,
                     code == -FI_EPERM ? "cannot be added to a read-only vector"
                                       : "does not fit into memory");
                return;
            }
            if (fi_addr_ != nullptr) {
                fi_addr_[index] = fi_addr;
            }
            ++inserted_;
        }
    }

    void fail(std::size_t index, int error, const char* why) noexcept
    {
        SRD_WARN_SPARSE(FI_LOG_AV,
                        "address %zu of this insertion %s; insert what fi_getname() of the peer gave", index,
                        why);
        if (errors_ != nullptr) {
            errors_[index] = error;
        }
        if (vector_.asynchronous && vector_.event_queue != nullptr) {
            fi_eq_err_entry entry{};
            entry.fid = &vector_.fid.fid;
            entry.context = context_;
            entry.data = index;
            entry.err = error;
            (void)vector_.event_queue->report_error(entry);
        }
    }

    /// What the call returns.
    int finish() noexcept
    {
        if (!vector_.asynchronous) {
            return inserted_;
        }
        fi_eq_entry entry{};
        entry.fid = &vector_.fid.fid;
        entry.context = context_;
        entry.data = static_cast<std::uint64_t>(inserted_);
        return vector_.event_queue->report(FI_AV_COMPLETE, std::as_bytes(std::span(&entry, 1)));
    }

private:
    AddressVector& vector_;
    fi_addr_t* fi_addr_;
    void* context_;
    int* errors_;
    int inserted_ = 0;
};

int check_insertion(const AddressVector& vector, std::uint64_t flags, const void* context, std::size_t count)
{
    if ((flags & ~(FI_MORE | FI_SYNC_ERR)) != 0) {
        SRD_WARN(FI_LOG_AV, "address insertion knows the flags FI_MORE and FI_SYNC_ERR only, not 0x%llx",
                 static_cast<unsigned long long>(flags & ~(FI_MORE | FI_SYNC_ERR)));
        return -FI_EBADFLAGS;
    }
    if ((flags & FI_SYNC_ERR) != 0 && (context == nullptr || vector.asynchronous)) {
        SRD_WARN(FI_LOG_AV,
                 "FI_SYNC_ERR needs an array of int as context and a vector opened without FI_EVENT");
        return -FI_EINVAL;
    }
    if (vector.asynchronous && vector.event_queue == nullptr) {
        SRD_WARN(FI_LOG_AV, "a vector opened with FI_EVENT needs an event queue: call fi_av_bind() first");
        return -FI_ENOEQ;
    }
    if (count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        return -FI_EINVAL;
    }
    return 0;
}

int av_insert(fid_av* av, const void* addr, std::size_t count, fi_addr_t* fi_addr, std::uint64_t flags,
              void* context) noexcept
{
    return guarded([&] {
        AddressVector& vector = av_from(av);
        if (const int code = check_insertion(vector, flags, context, count); code != 0) {
            return code;
        }
        if (addr == nullptr && count != 0) {
            SRD_WARN(FI_LOG_AV, "fi_av_insert: %zu addresses at a null pointer", count);
            return -FI_EINVAL;
        }
        const std::size_t size = address_size(vector);
        Insertion insertion(vector, count, fi_addr, flags, context);
        for (std::size_t i = 0; i < count; ++i) {
            SocketAddress address;
            if (SocketAddress::parse(static_cast<const std::byte*>(addr) + i * size, size, address)) {
                insertion.add(i, address);
            } else {
                insertion.fail(i, FI_EINVAL, "is not a socket address of the domain's family");
            }
        }
        return insertion.finish();
    });
}

int resolve_one(const AddressVector& vector, const std::string& node, const std::string& service,
                SocketAddress& address)
{
    std::string error;
    const auto found =
        resolve({.node = node.c_str(), .service = service.c_str(), .family = family_of(vector)}, error);
    if (found.empty()) {
        SRD_WARN(FI_LOG_AV, "%s", error.c_str());
        return -FI_EINVAL;
    }
    address = found.front();
    return 0;
}

int av_insertsvc(fid_av* av, const char* node, const char* service, fi_addr_t* fi_addr, std::uint64_t flags,
                 void* context) noexcept
{
    return guarded([&] {
        AddressVector& vector = av_from(av);
        if (const int code = check_insertion(vector, flags, context, 1); code != 0) {
            return code;
        }
        if (node == nullptr || service == nullptr) {
            SRD_WARN(FI_LOG_AV, "fi_av_insertsvc needs a node and a service");
            return -FI_EINVAL;
        }
        Insertion insertion(vector, 1, fi_addr, flags, context);
        SocketAddress address;
        if (const int code = resolve_one(vector, node, service, address); code == 0) {
            insertion.add(0, address);
        } else {
            insertion.fail(0, -code, "cannot be resolved");
        }
        return insertion.finish();
    });
}

/// The name of the node `distance` after `first`: its trailing decimal number grows ("n07" -> "n12").
/// False: there is no such number, or it is too long.
bool name_after(const std::string& first, std::size_t distance, std::string& name)
{
    std::size_t digits = first.size();
    while (digits > 0 && first[digits - 1] >= '0' && first[digits - 1] <= '9') {
        --digits;
    }
    std::uint64_t number = 0;
    const auto [end, code] = std::from_chars(first.data() + digits, first.data() + first.size(), number);
    if (code != std::errc{} || end != first.data() + first.size()) {
        name = first;
        return distance == 0;
    }
    std::string text = std::to_string(number + distance);
    if (text.size() < first.size() - digits) {
        text.insert(0, first.size() - digits - text.size(), '0');
    }
    name = first.substr(0, digits) + text;
    return true;
}

bool node_after(const AddressVector& vector, const std::string& first, std::size_t distance,
                SocketAddress& address)
{
    std::string error;
    const auto numeric = resolve(
        {.node = first.c_str(), .service = "0", .family = family_of(vector), .numeric_host = true}, error);
    if (!numeric.empty()) {
        address = numeric.front();
        return address.add_to_host(distance);
    }
    std::string name;
    return name_after(first, distance, name) && resolve_one(vector, name, "0", address) == 0;
}

int av_insertsym(fid_av* av, const char* node, std::size_t node_count, const char* service,
                 std::size_t service_count, fi_addr_t* fi_addr, std::uint64_t flags, void* context) noexcept
{
    return guarded([&] {
        AddressVector& vector = av_from(av);
        const bool overflows =
            service_count != 0 && node_count > std::numeric_limits<int>::max() / service_count;
        const std::size_t count =
            overflows ? std::numeric_limits<std::size_t>::max() : node_count * service_count;
        if (const int code = check_insertion(vector, flags, context, count); code != 0) {
            return code;
        }
        if (node == nullptr || service == nullptr) {
            SRD_WARN(FI_LOG_AV, "fi_av_insertsym needs a node and a service");
            return -FI_EINVAL;
        }
        SocketAddress base;
        if (const int code =
                resolve_one(vector, family_of(vector) == AF_INET ? "127.0.0.1" : "::1", service, base);
            code != 0) {
            return code;
        }
        Insertion insertion(vector, count, fi_addr, flags, context);
        for (std::size_t n = 0; n < node_count; ++n) {
            SocketAddress address;
            const bool found = node_after(vector, node, n, address);
            for (std::size_t s = 0; s < service_count; ++s) {
                const std::size_t index = n * service_count + s;
                if (found && base.port() + s <= 65535) {
                    address.set_port(static_cast<std::uint16_t>(base.port() + s));
                    insertion.add(index, address);
                } else {
                    insertion.fail(index, FI_EINVAL, "cannot be resolved");
                }
            }
        }
        return insertion.finish();
    });
}

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
        std::memcpy(addr, address.get(), std::min<std::size_t>(*addrlen, address.size()));
    }
    *addrlen = address.size();
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
