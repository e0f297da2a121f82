// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The calls of fi_av(3) that insert addresses: given as such, or by name.
#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include <rdma/fi_eq.h>

#include "common/c_api.hpp"
#include "entry/resolve.hpp"
#include "objects/av.hpp"
#include "objects/domain.hpp"
#include "objects/eq.hpp"

namespace srd {
namespace {

int family_of(const AddressVector& vector) noexcept
{
    return vector.domain.local_address.family();
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

} // namespace

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

} // namespace srd
