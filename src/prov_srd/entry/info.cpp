// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/info.hpp"

#include <strings.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "common/c_api.hpp"
#include "common/say.hpp"
#include "entry/backend.hpp"
#include "entry/interface_group.hpp"
#include "entry/params.hpp"
#include "entry/resolve.hpp"
#include "io/host/route_query.hpp"

namespace srd {

namespace {

constexpr std::uint64_t flag_rescan = 1ULL << 35; ///< FI_RESCAN of libfabric 2

// -- Interfaces -------------------------------------------------------------

bool is_allowed(const NetInterface& entry)
{
    const auto& names = params().interfaces;
    return names.empty() || std::find(names.begin(), names.end(), entry.name) != names.end();
}

// -- Answers ----------------------------------------------------------------

struct Query {
    std::uint32_t version;
    const char* node;
    const char* service;
    std::uint64_t flags;
    const fi_info* hints;

    bool is_source() const noexcept { return (flags & FI_SOURCE) != 0; }
    int family() const noexcept
    {
        if (hints == nullptr) {
            return AF_UNSPEC;
        }
        return hints->addr_format == FI_SOCKADDR_IN    ? AF_INET
               : hints->addr_format == FI_SOCKADDR_IN6 ? AF_INET6
                                                       : AF_UNSPEC;
    }
    const char* domain_name() const noexcept
    {
        return hints != nullptr && hints->domain_attr != nullptr ? hints->domain_attr->name : nullptr;
    }
    const char* fabric_name() const noexcept
    {
        return hints != nullptr && hints->fabric_attr != nullptr ? hints->fabric_attr->name : nullptr;
    }
    std::uint64_t comm_caps() const noexcept
    {
        const std::uint64_t caps = hints == nullptr ? 0 : hints->caps;
        const std::uint64_t domain =
            hints == nullptr || hints->domain_attr == nullptr ? 0 : hints->domain_attr->caps;
        return (caps | domain) & offer::comm_caps;
    }
};

struct Answer {
    NetInterface entry;
    std::string domain;
    SocketAddress source;
    SocketAddress destination;
    std::uint64_t comm_caps = offer::comm_caps;
};

/// What a query leads to, or why to nothing.
class Answers {
public:
    explicit Answers(const Query& query)
        : query_(query), interfaces_(usable_interfaces((query.flags & flag_rescan) != 0)),
          group_(interface_group(interfaces_))
    {
    }

    /// Fills list(); if that stays empty, reason() tells.
    void find()
    {
        std::vector<SocketAddress> sources;
        std::vector<SocketAddress> destinations;
        if (!read_addresses(sources, destinations)) {
            return;
        }
        if (!sources.empty()) {
            from_sources(sources, destinations);
        } else if (!destinations.empty()) {
            from_destinations(destinations);
        } else {
            from_interfaces(0, {}, false);
        }
    }

    const std::vector<Answer>& list() const noexcept { return list_; }
    const std::string& reason() const noexcept { return reason_; }

private:
    bool read_hint(const void* data, std::size_t size, const char* what, std::vector<SocketAddress>& out)
    {
        SocketAddress address;
        if (!SocketAddress::parse(data, size, address)) {
            reason_ = std::string(what) + " is no IPv4 or IPv6 socket address of " + std::to_string(size) +
                      " bytes";
            return false;
        }
        out.push_back(address);
        return true;
    }

    bool read_addresses(std::vector<SocketAddress>& sources, std::vector<SocketAddress>& destinations)
    {
        const fi_info* hints = query_.hints;
        const bool has_name = query_.node != nullptr || query_.service != nullptr;
        if (query_.is_source() && !has_name) {
            reason_ = "FI_SOURCE is set, but neither node nor service is given";
            return false;
        }
        if (has_name) {
            auto& out = query_.is_source() ? sources : destinations;
            out = resolve({.node = query_.node,
                           .service = query_.service,
                           .family = query_.family(),
                           .numeric_host = (query_.flags & FI_NUMERICHOST) != 0,
                           .passive = query_.is_source()},
                          reason_);
            if (out.empty()) {
                return false;
            }
        }
        if (sources.empty() && hints != nullptr && hints->src_addr != nullptr &&
            !read_hint(hints->src_addr, hints->src_addrlen, "hints->src_addr", sources)) {
            return false;
        }
        return !destinations.empty() || hints == nullptr || hints->dest_addr == nullptr ||
               read_hint(hints->dest_addr, hints->dest_addrlen, "hints->dest_addr", destinations);
    }

    void from_sources(const std::vector<SocketAddress>& sources,
                      const std::vector<SocketAddress>& destinations)
    {
        for (const SocketAddress& source : sources) {
            const auto destination =
                std::find_if(destinations.begin(), destinations.end(),
                             [&](const auto& d) { return d.family() == source.family(); });
            if (!destinations.empty() && destination == destinations.end()) {
                reason_ = "source and destination are of different address families";
                continue;
            }
            const SocketAddress target = destinations.empty() ? SocketAddress{} : *destination;
            if (source.is_wildcard()) {
                from_interfaces(source.family(), target, true, source.port());
            } else if (const NetInterface* entry = interface_of(interfaces_, source); entry != nullptr) {
                add(*entry, source, target);
            } else {
                reason_ = source.host_text() + " is not an address of this host's interfaces that are up";
            }
        }
    }

    /// The answer for the first destination that the host has a way to.
    void from_destinations(const std::vector<SocketAddress>& destinations)
    {
        for (const SocketAddress& destination : destinations) {
            if (query_.domain_name() != nullptr) {
                from_interfaces(destination.family(), destination, true);
            } else if (const SocketAddress source = source_towards(destination); source.empty()) {
                reason_ = "this host has no route to " + destination.host_text();
            } else if (const NetInterface* entry = interface_of(interfaces_, source); entry != nullptr) {
                add(*entry, source, destination);
            } else {
                reason_ =
                    "the route to " + destination.host_text() + " leads through no interface that is up";
            }
            if (!list_.empty()) {
                return;
            }
        }
    }

    /// Every interface (`family` 0: of every family). `is_asked`: addresses of the query led here,
    /// so loopback is as good as any.
    void from_interfaces(int family, const SocketAddress& destination, bool is_asked, std::uint16_t port = 0)
    {
        const bool has_network =
            std::any_of(interfaces_.begin(), interfaces_.end(),
                        [](const NetInterface& entry) { return !entry.is_loopback && is_allowed(entry); });
        for (const NetInterface& entry : interfaces_) {
            SocketAddress source = entry.address;
            if ((family != 0 && source.family() != family) || !speaks_for_group(entry)) {
                continue;
            }
            source.set_port(port);
            const bool is_local_only =
                entry.is_loopback && has_network && !is_asked && query_.domain_name() == nullptr;
            add(entry, source, destination, is_local_only ? FI_LOCAL_COMM : offer::comm_caps);
        }
        if (interfaces_.empty()) {
            reason_ = "this host has no network interface that is up and has an address";
        }
    }

    bool is_grouped(const NetInterface& entry) const
    {
        return group_.size() > 1 && std::find(group_.begin(), group_.end(), entry.name) != group_.end();
    }
    /// Whoever does not ask for another one gets the address of the first interface of the group, in each
    /// family.
    bool speaks_for_group(const NetInterface& entry) const
    {
        if (!is_grouped(entry)) {
            return true;
        }
        for (const std::string& name : group_) {
            const NetInterface* const member = group_member(interfaces_, name, entry.address.family());
            if (member != nullptr && member->address.family() == entry.address.family()) {
                return member == &entry;
            }
        }
        return false;
    }
    /// The interface, as fast as all of its group.
    NetInterface with_group_speed(NetInterface entry) const
    {
        entry.speed_mbps = 0;
        for (const std::string& name : group_) {
            entry.speed_mbps += group_member(interfaces_, name, entry.address.family())->speed_mbps;
        }
        return entry;
    }

    void add(const NetInterface& entry, const SocketAddress& source, const SocketAddress& destination,
             std::uint64_t comm_caps = offer::comm_caps)
    {
        const char* domain = query_.domain_name();
        const char* fabric = query_.fabric_name();
        const Backend backend = domain != nullptr ? parse_domain_name(domain).backend : params().backend;
        const bool grouped = is_grouped(entry) && backend == Backend::udp;
        const std::string name = grouped ? group_name(group_) : domain_name_of(entry, backend);
        const std::string obstacle = is_grouped(entry) && !grouped
                                         ? "FI_SRD_INTERFACE names several interfaces, which are used "
                                           "together over UDP alone: name one of them, or take "
                                           "FI_SRD_BACKEND=udp"
                                         : backend_obstacle(backend, entry);
        if (query_.family() != AF_UNSPEC && query_.family() != source.family()) {
            reason_ = "no interface has an address of the family that hints->addr_format asks for";
        } else if (domain != nullptr && strcasecmp(domain, name.c_str()) != 0) {
            set_reason_once(
                std::string("domain_attr->name asks for \"") + domain +
                "\"; srd's domains are network interfaces that are up, as fi_info -p srd lists them");
        } else if (fabric != nullptr && strcasecmp(fabric, fabric_name_of(entry).c_str()) != 0) {
            set_reason_once(std::string("fabric_attr->name asks for \"") + fabric +
                            "\"; srd's fabrics are subnets of this host, as fi_info -p srd lists them");
        } else if (!is_allowed(entry)) {
            set_reason_once("FI_SRD_INTERFACE names no interface that is up and leads there; it leaves out " +
                            entry.name);
        } else if (!obstacle.empty()) {
            set_reason_once(obstacle);
        } else if ((query_.comm_caps() & ~comm_caps) != 0) {
            set_reason_once("caps asks for FI_REMOTE_COMM, which loopback does not have");
        } else {
            list_.push_back(
                {grouped ? with_group_speed(entry) : entry, name, source, destination, comm_caps});
        }
    }

    void set_reason_once(std::string reason)
    {
        if (reason_.empty()) {
            reason_ = std::move(reason);
        }
    }

    const Query& query_;
    std::vector<NetInterface> interfaces_;
    std::vector<std::string> group_; ///< interfaces that are one domain
    std::vector<Answer> list_;
    std::string reason_;
};

/// Says once per process which backend is taken and why not another. Not found out for nobody: it takes
/// loading libraries.
void tell_choice(const Answer& first)
{
    static std::atomic<bool> told{false};
    if (fi_log_enabled(&provider, FI_LOG_INFO, FI_LOG_CORE) != 0 && !told.exchange(true)) {
        const Backend backend = parse_domain_name(first.domain).backend;
        SRD_INFO(FI_LOG_CORE, "%s", describe_choice(backend, first.domain, first.entry).c_str());
    }
}

int answer(const Query& query, fi_info** info)
{
    Answers answers(query);
    answers.find();
    if (answers.list().empty()) {
        const std::string text = "fi_getinfo finds nothing: " + answers.reason();
        if (asked_by_name(query.hints)) {
            say("fi_getinfo", text.c_str());
        } else {
            SRD_WARN(FI_LOG_CORE, "%s", text.c_str());
        }
        return -FI_ENODATA;
    }
    std::unique_ptr<fi_info, decltype(&fi_freeinfo)> head(nullptr, &fi_freeinfo);
    fi_info* tail = nullptr;
    for (const Answer& each : answers.list()) {
        fi_info* made = build_info(query.version, each.entry, each.domain, each.source, each.destination,
                                   each.comm_caps, query.hints);
        if (tail == nullptr) {
            head.reset(made);
        } else {
            tail->next = made;
        }
        tail = made;
    }
    *info = head.release();
    tell_choice(answers.list().front());
    return 0;
}

} // namespace

int get_info(std::uint32_t version, const char* node, const char* service, std::uint64_t flags,
             const fi_info* hints, fi_info** info) noexcept
{
    return guarded([&] {
        // ofi_rxm and ofi_rxd probe every provider for endpoint types that are not ours: say nothing.
        if (hints != nullptr && hints->ep_attr != nullptr && raw(hints->ep_attr->type) != FI_EP_UNSPEC &&
            raw(hints->ep_attr->type) != FI_EP_RDM) {
            return -FI_ENODATA;
        }
        if (const int code = params_load(); code != 0) {
            return code;
        }
        if (hints != nullptr) {
            if (const std::string mismatch = info_mismatch(version, *hints); !mismatch.empty()) {
                SRD_WARN(FI_LOG_CORE, "fi_getinfo finds nothing: %s", mismatch.c_str());
                return -FI_ENODATA;
            }
        }
        return answer({version, node, service, flags, hints}, info);
    });
}

std::string fabric_name_of(const NetInterface& entry)
{
    // Every link has the same link-local subnet, and none of them leads to another.
    return entry.address.is_link_local() ? subnet_text(entry) + "%" + entry.name : subnet_text(entry);
}

} // namespace srd
