// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/backend.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <net/if.h>

#include "io/packet/packet_ring_io.hpp"
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

std::string describe_choice(Backend chosen, const NetInterface& entry)
{
    std::string text = "domain " + domain_name_of(entry, chosen) +
                       " is taken unless FI_SRD_BACKEND or a domain's name chooses another backend:";
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
        return open_udp(address, counters, io, error);
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
