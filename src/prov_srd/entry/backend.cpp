// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/backend.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <net/if.h>

#include "io/core/ip_header.hpp"
#include "io/packet/packet_ring_io.hpp"
#include "io/rails/rails_io.hpp"
#include "io/seal/seal_io.hpp"
#include "io/shm/shm_io.hpp"
#include "io/udp/udp_io.hpp"
#ifdef SRD_HAVE_VERBS
#include "io/verbs/verbs_ud_io.hpp"
#endif
#ifdef SRD_HAVE_XDP
#include "io/xdp/xdp_io.hpp"
#endif

#include "common/log.hpp"
#include "entry/interface_group.hpp"
#include "entry/params.hpp"

namespace srd {

namespace {

constexpr std::array<std::pair<Backend, std::string_view>, 2> suffixes{
    {{Backend::packet, "-packet"}, {Backend::xdp, "-xdp"}}};

void warn(const char* text)
{
    SRD_WARN(FI_LOG_EP_CTRL, "%s", text);
}

/// What every backend is asked for; `tell` gets the lines on what runs.
IoOptions options_for(const SocketAddress& address, IoLog::Sink tell)
{
    IoOptions options = params().io;
    options.warn = warn;
    options.tell = std::move(tell);
    options.local_address = address;
    options.path_setting = "FI_SRD_PATHS";
    options.port_setting = "FI_SRD_PORT_RANGE";
    return options;
}

void tell_ring(const char* text)
{
    SRD_INFO(FI_LOG_EP_CTRL, "packets go through %s", text);
}

int open_udp(const SocketAddress& address, Counters& counters, std::unique_ptr<PacketIo>& io,
             std::string& error)
{
    return make_udp_io({options_for(address, {})}, counters, io, error);
}

/// What each interface of a group is opened with, that of `address` first.
std::vector<UdpConfig> rail_configs(const std::vector<std::string>& group, const SocketAddress& address)
{
    const std::vector<NetInterface> usable = usable_interfaces(false);
    const NetInterface* const first = interface_of(usable, address);
    std::vector<UdpConfig> configs;
    std::uint32_t mtu = UINT32_MAX;
    const auto add = [&](const NetInterface& entry, const SocketAddress& local) {
        UdpConfig config{options_for(local, {})};
        config.interface = entry.index;
        mtu = std::min(mtu, std::max(entry.mtu, 1280U) - udp_overhead(local.family()));
        configs.push_back(std::move(config));
    };
    if (first != nullptr) {
        add(*first, address);
    }
    for (const std::string& name : group) {
        const NetInterface* const entry = group_member(usable, name, address.family());
        if (entry == nullptr) {
            warn(("the interface " + name + " is not up, or has no address: it is left out").c_str());
        } else if (first != nullptr && name != first->name && configs.size() < max_rails) {
            add(*entry, entry->address);
        }
    }
    for (UdpConfig& config : configs) { // a packet is to fit all of them, and each way is to have a path
        config.max_packet = std::min(config.max_packet, mtu);
        config.path_count =
            std::max(config.path_count, static_cast<std::uint16_t>(max_rails * configs.size()));
    }
    return configs;
}

/// Opens them at one port. EADDRINUSE: `rails` has those that were opened.
int open_at_one_port(std::vector<UdpConfig>& configs, Counters& counters,
                     std::vector<std::unique_ptr<PacketIo>>& rails, std::string& error)
{
    for (UdpConfig& config : configs) {
        if (!rails.empty()) {
            config.local_address.set_port(rails.front()->local_address().port());
        }
        std::unique_ptr<PacketIo> io;
        if (const int code = make_udp_io(config, counters, io, error); code != 0) {
            return code;
        }
        rails.push_back(std::move(io));
    }
    return 0;
}

int open_rails(const std::vector<std::string>& group, const SocketAddress& address, Counters& counters,
               std::unique_ptr<PacketIo>& io, std::string& error)
{
    std::vector<UdpConfig> configs = rail_configs(group, address);
    if (configs.size() < 2) {
        return open_udp(address, counters, io, error);
    }
    constexpr int attempts = 16;
    std::vector<std::unique_ptr<PacketIo>> rails;
    std::vector<std::vector<std::unique_ptr<PacketIo>>>
        partly_taken; // held, so that the next port is another
    int code = open_at_one_port(configs, counters, rails, error);
    while (code == EADDRINUSE && !rails.empty() && address.port() == 0 && partly_taken.size() < attempts) {
        partly_taken.push_back(std::exchange(rails, {}));
        code = open_at_one_port(configs, counters, rails, error);
    }
    if (code != 0) {
        return code;
    }
    for (const auto& rail : rails) {
        SRD_INFO(FI_LOG_EP_CTRL, "interfaces used together: %s", rail->local_address().text().c_str());
    }
    io = make_rails_io(std::move(rails), code);
    if (io == nullptr) {
        error =
            "the system has no room for another epoll descriptor; raise the limit of open files (ulimit -n)";
    }
    return code;
}

int open_verbs(const std::string& device, const SocketAddress& address, Counters& counters,
               std::unique_ptr<PacketIo>& io, std::string& error)
{
#ifdef SRD_HAVE_VERBS
    const auto tell = [](const char* text) { SRD_INFO(FI_LOG_EP_CTRL, "verbs: %s", text); };
    const int code = make_verbs_io({options_for(address, tell), device}, counters, io, error);
    if (code == ENOMEM || code == EPERM) {
        error += "; FI_SRD_SOCKET_BUFFER sets the size of the buffers";
    }
    return code;
#else
    error = "this libsrd-fi was built without libibverbs";
    return ENOSYS;
#endif
}

/// The RDMA device that has the interface's address, and how that was found; empty, with the obstacle.
std::string verbs_device_of(const NetInterface& entry, std::string& reason)
{
#ifdef SRD_HAVE_VERBS
    VerbsPort port;
    if (find_verbs_port(entry.address, {}, port, reason)) {
        return port.device;
    }
#else
    reason = "this libsrd-fi was built without libibverbs";
#endif
    return {};
}

int open_xdp(const std::string& interface, const SocketAddress& address, Counters& counters,
             std::unique_ptr<PacketIo>& io, std::string& error)
{
#ifdef SRD_HAVE_XDP
    XdpConfig config{{options_for(address, tell_ring), interface}};
    config.queue_count = params().xdp_queues;
    return make_xdp_io(config, counters, io, error);
#else
    error = "this libsrd-fi was built without libxdp and libbpf";
    return ENOSYS;
#endif
}

} // namespace

std::string domain_name_of(const NetInterface& entry, Backend backend)
{
    std::string name = entry.name;
    if (backend == Backend::verbs) {
        std::string reason;
        const std::string device = verbs_device_of(entry, reason);
        return device.empty() ? name + "-verbs" : device; // backend_obstacle() tells why there is none
    }
    for (const auto& [each, suffix] : suffixes) {
        if (each == backend) {
            name += suffix;
        }
    }
    return name;
}

DomainName parse_domain_name(const std::string& name)
{
    if (::if_nametoindex(name.c_str()) == 0) {
        for (const auto& [backend, suffix] : suffixes) {
            if (name.size() > suffix.size() && name.ends_with(suffix)) {
                return {name.substr(0, name.size() - suffix.size()), backend};
            }
        }
#ifdef SRD_HAVE_VERBS
        std::array<char, IF_NAMESIZE> interface {
        };
        if (const unsigned index = verbs_interface(name);
            index != 0 && ::if_indextoname(index, interface.data()) != nullptr) {
            return {interface.data(), Backend::verbs};
        }
#endif
        if (const std::vector<std::string> group = parse_group_name(name); group.size() > 1) {
            return {group.front(), Backend::udp, group};
        }
    }
    return {name, Backend::udp};
}

std::string backend_obstacle(Backend backend, const NetInterface& entry)
{
    if (backend == Backend::udp) {
        return {};
    }
    if (backend == Backend::verbs) {
        std::string reason;
        const std::string device = verbs_device_of(entry, reason);
        if (!device.empty()) {
            SRD_INFO(FI_LOG_CORE, "%s is offered as %s: %s", entry.name.c_str(), device.c_str(),
                     reason.c_str());
            return {};
        }
        SRD_INFO(FI_LOG_CORE, "%s is not offered for verbs: %s", entry.name.c_str(), reason.c_str());
        return entry.name + " is not offered for verbs: " + reason;
    }
    const std::string name = domain_name_of(entry, backend);
    if (entry.is_loopback) {
        return name + " is left out: loopback is no Ethernet device; FI_SRD_BACKEND=udp works there";
    }
#ifndef SRD_HAVE_XDP
    if (backend == Backend::xdp) {
        return name + " is left out: this libsrd-fi was built without libxdp and libbpf";
    }
#endif
#ifdef SRD_HAVE_XDP
    std::string error;
    if (backend == Backend::xdp && load_xdp_library(error) == nullptr) {
        return name + " is left out: " + error;
    }
#endif
    const std::string missing =
        missing_capabilities(backend == Backend::xdp ? xdp_capabilities() : packet_capabilities());
    return missing.empty() ? missing : name + " is left out: " + missing;
}

NetInterface device_of(const NetInterface& entry, const std::string& domain)
{
    NetInterface device = entry;
#ifdef SRD_HAVE_VERBS
    if (parse_domain_name(domain).backend == Backend::verbs) {
        device.name = domain;
        device.firmware = verbs_firmware(domain);
    }
#else
    static_cast<void>(domain);
#endif
    return device;
}

std::string describe_choice(Backend chosen, const std::string& domain, const NetInterface& entry)
{
    std::string text =
        "domain " + domain + " is taken unless FI_SRD_BACKEND or a domain's name chooses another backend:";
    for (const Backend other : {Backend::udp, Backend::packet, Backend::xdp, Backend::verbs}) {
        if (other != chosen) {
            const std::string obstacle = backend_obstacle(other, entry);
            text += ' ' + (obstacle.empty() ? domain_name_of(entry, other) + " could be" : obstacle) + ';';
        }
    }
    text.back() = '.';
    return text;
}

namespace {

int open_clear_backend(const std::string& domain, const SocketAddress& address, Counters& counters,
                       std::unique_ptr<PacketIo>& io, std::string& error)
{
    const DomainName name = parse_domain_name(domain);
    switch (name.backend) {
    case Backend::udp:
        return name.group.empty() ? open_udp(address, counters, io, error)
                                  : open_rails(name.group, address, counters, io, error);
    case Backend::verbs:
        return open_verbs(domain, address, counters, io, error);
    case Backend::xdp:
        if (const int code = open_xdp(name.interface, address, counters, io, error); code != EBUSY) {
            return code;
        }
        SRD_WARN(FI_LOG_EP_CTRL, "%s; this endpoint takes the packet backend instead", error.c_str());
        [[fallthrough]];
    case Backend::packet:
        break;
    }
    return make_packet_io({options_for(address, tell_ring), name.interface}, counters, io, error);
}

} // namespace

int open_backend(const std::string& domain, const SocketAddress& address, bool sealed, Counters& counters,
                 std::unique_ptr<PacketIo>& io, std::string& error)
{
    const int code = open_clear_backend(domain, address, counters, io, error);
    if (code == 0 && sealed) {
        io = make_seal_io(std::move(io));
    }
    return code;
}

std::unique_ptr<PacketIo> add_shared_memory(std::unique_ptr<PacketIo> io, Counters& counters)
{
    if (!params().shm) {
        return io;
    }
    const auto tell = [](const char* text) { SRD_INFO(FI_LOG_EP_CTRL, "%s", text); };
    return make_shm_io({warn, tell}, std::move(io), counters);
}

} // namespace srd
