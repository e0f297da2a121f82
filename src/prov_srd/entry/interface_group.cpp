// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/interface_group.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include <net/if.h>

#include <srd/limits.hpp>

#include "entry/params.hpp"
#include "io/host/route_query.hpp"
#include "numa.hpp"

namespace srd {

/// MPI asks about five times while it starts, so the list is kept for a second.
std::vector<NetInterface> usable_interfaces(bool rescan)
{
    using Clock = std::chrono::steady_clock;
    static std::mutex mutex;
    static auto* const cached = new std::vector<NetInterface>; // libfabric may be used by static destructors
    static std::optional<Clock::time_point> read_at;

    const std::lock_guard lock(mutex);
    const auto now = Clock::now();
    if (rescan || !read_at || now - *read_at > std::chrono::seconds(1)) {
        *cached = list_interfaces();
        std::erase_if(*cached, [](const NetInterface& entry) {
            return !entry.is_up || (!entry.is_running && !entry.is_loopback);
        });
        std::stable_sort(cached->begin(), cached->end(), [](const NetInterface& a, const NetInterface& b) {
            return std::pair(a.is_loopback, a.address.is_link_local()) <
                   std::pair(b.is_loopback, b.address.is_link_local());
        });
        read_at = now;
    }
    std::vector<NetInterface> list = *cached;
    if (const Numa& machine = Numa::machine(); machine.count() > 1) {
        // Among equals those near the calling thread first; a thread may move, so this is not kept.
        const int here = numa_node_of_thread();
        std::stable_sort(list.begin(), list.end(), [&](const NetInterface& a, const NetInterface& b) {
            const auto key = [&](const NetInterface& entry) {
                return std::tuple(entry.is_loopback, entry.address.is_link_local(), !entry.has_default_route,
                                  machine.distance(here, entry.numa_node));
            };
            return key(a) < key(b);
        });
    }
    return list;
}

namespace {

bool in_subnet(const SocketAddress& address, const NetInterface& entry)
{
    const SocketAddress& other = entry.address;
    if (address.family() != other.family()) {
        return false;
    }
    const std::size_t offset =
        address.family() == AF_INET ? offsetof(sockaddr_in, sin_addr) : offsetof(sockaddr_in6, sin6_addr);
    for (unsigned bit = 0; bit < entry.prefix_length; ++bit) {
        const auto differing = address.bytes()[offset + bit / 8] ^ other.bytes()[offset + bit / 8];
        if (((differing << (bit % 8)) & std::byte{0x80}) != std::byte{0}) {
            return false;
        }
    }
    return true;
}

} // namespace

const NetInterface* interface_of(const std::vector<NetInterface>& interfaces, const SocketAddress& address)
{
    for (const NetInterface& entry : interfaces) {
        if (entry.address.same_host(address)) {
            return &entry;
        }
    }
    if (!is_host_address(address)) {
        return nullptr;
    }
    for (const NetInterface& entry : interfaces) {
        if (in_subnet(address, entry)) {
            return &entry;
        }
    }
    return nullptr;
}

SocketAddress interface_address(const std::string& name, int family)
{
    for (const NetInterface& entry : usable_interfaces(false)) {
        if (entry.name == name && entry.address.family() == family) {
            return entry.address;
        }
    }
    return {};
}

int interface_node(const std::string& name)
{
    for (const NetInterface& entry : usable_interfaces(false)) {
        if (entry.name == name) {
            return entry.numa_node;
        }
    }
    return no_node;
}

namespace {

constexpr char separator = '+';

bool can_be_member(const NetInterface& entry) noexcept
{
    return !entry.is_loopback && !entry.address.is_link_local();
}

/// FI_SRD_INTERFACE=all: those of devices; where nothing is known of any device, all.
std::vector<std::string> all_names(const std::vector<NetInterface>& usable)
{
    const bool any_device = std::any_of(usable.begin(), usable.end(),
                                        [](const NetInterface& entry) { return !entry.pci_address.empty(); });
    std::vector<std::string> names;
    for (const NetInterface& entry : usable) {
        if (can_be_member(entry) && (!any_device || !entry.pci_address.empty()) && names.size() < max_rails &&
            std::find(names.begin(), names.end(), entry.name) == names.end()) {
            names.push_back(entry.name);
        }
    }
    return names;
}

} // namespace

std::vector<std::string> interface_group(const std::vector<NetInterface>& usable)
{
    std::vector<std::string> names = params().all_interfaces ? all_names(usable) : params().interfaces;
    std::erase_if(names, [&](const std::string& name) {
        return std::none_of(usable.begin(), usable.end(), [&](const NetInterface& entry) {
            return entry.name == name && can_be_member(entry);
        });
    });
    return names;
}

std::string group_name(const std::vector<std::string>& names)
{
    std::string joined;
    for (const std::string& name : names) {
        joined += (joined.empty() ? "" : std::string(1, separator)) + name;
    }
    return joined;
}

std::vector<std::string> parse_group_name(std::string_view name)
{
    std::vector<std::string> names;
    for (std::size_t at = 0; at <= name.size();) {
        const std::size_t end = std::min(name.find(separator, at), name.size());
        names.emplace_back(name.substr(at, end - at));
        at = end + 1;
    }
    return names;
}

const NetInterface* group_member(const std::vector<NetInterface>& usable, const std::string& name, int family)
{
    const NetInterface* member = nullptr;
    for (const NetInterface& entry : usable) {
        if (entry.name == name && can_be_member(entry) &&
            (member == nullptr || entry.address.family() == family)) {
            member = &entry;
        }
    }
    return member;
}

} // namespace srd
