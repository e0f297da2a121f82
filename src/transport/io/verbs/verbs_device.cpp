// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/verbs/verbs_device.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <mutex>

#include <unistd.h>

#include <srd/file_descriptor.hpp>

namespace srd {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr auto list_lifetime =
    std::chrono::seconds(1); // how long the list of ports is kept: fi_getinfo asks in bursts

const std::string sysfs = "/sys/class/infiniband/";

struct Snapshot {
    std::vector<VerbsPort> ports;
    std::string error; // why not all devices, or none, are in `ports`
};

void list_gids(const std::string& device, Snapshot& snapshot)
{
    std::unique_ptr<VerbsContext> context;
    if (open_verbs_device(device, context, snapshot.error) != 0) {
        return;
    }
    std::vector<ibv_gid_entry> entries(1024);
    const ssize_t count =
        verbs().query_gid_table(context->get(), entries.data(), entries.size(), 0, sizeof(entries[0]));
    for (ssize_t i = 0; i < count; ++i) {
        const ibv_gid_entry& entry = entries[static_cast<std::size_t>(i)];
        if (entry.gid_type == IBV_GID_TYPE_ROCE_V1 || entry.gid_type == IBV_GID_TYPE_ROCE_V2) {
            snapshot.ports.push_back({device, static_cast<std::uint8_t>(entry.port_num), entry.gid_index,
                                      entry.gid, entry.ndev_ifindex, entry.gid_type == IBV_GID_TYPE_ROCE_V2});
        }
    }
}

Snapshot list_ports()
{
    Snapshot snapshot;
    const VerbsLibrary* const library = load_verbs_library(snapshot.error);
    if (library == nullptr) {
        return snapshot;
    }
    int count = 0;
    ibv_device** const devices = library->get_device_list(&count);
    std::vector<std::string> names;
    for (int i = 0; devices != nullptr && i < count; ++i) {
        names.emplace_back(library->get_device_name(devices[i]));
    }
    if (devices != nullptr) {
        library->free_device_list(devices);
    }
    for (const std::string& name : names) {
        list_gids(name, snapshot);
    }
    if (names.empty()) {
        snapshot.error = "this host has no RDMA device, or no driver of libibverbs for it (ibv_devices)";
    }
    return snapshot;
}

Snapshot current_ports()
{
    static std::mutex mutex;
    static Snapshot* remembered = nullptr; // never destroyed, as the library
    static SteadyClock::time_point until{};
    const std::lock_guard guard(mutex);
    if (remembered == nullptr || SteadyClock::now() >= until) {
        auto fresh = std::make_unique<Snapshot>(list_ports());
        delete remembered;
        remembered = fresh.release();
        until = SteadyClock::now() + list_lifetime; // from the end of the listing, which may take long itself
    }
    return *remembered;
}

} // namespace

ibv_gid gid_of(const SocketAddress& address)
{
    ibv_gid gid{};
    const auto host = address.host();
    if (host.size() == 4) {
        gid.raw[10] = gid.raw[11] = 0xff;
    }
    std::memcpy(gid.raw + sizeof(gid) - host.size(), host.data(), host.size());
    return gid;
}

VerbsContext::VerbsContext(ibv_context* context) noexcept : context_(context)
{
    mark_descriptor(context_->cmd_fd, true);
    mark_descriptor(context_->async_fd, true);
}

VerbsContext::~VerbsContext()
{
    mark_descriptor(context_->cmd_fd, false);
    mark_descriptor(context_->async_fd, false);
    verbs().close_device(context_);
}

int open_verbs_device(const std::string& name, std::unique_ptr<VerbsContext>& context, std::string& error)
{
    const VerbsLibrary* const library = load_verbs_library(error);
    if (library == nullptr) {
        return ENOSYS;
    }
    int count = 0;
    ibv_device** const devices = library->get_device_list(&count);
    ibv_context* opened = nullptr;
    int code = ENODEV;
    for (int i = 0; devices != nullptr && i < count; ++i) {
        if (name == library->get_device_name(devices[i])) {
            errno = 0;
            opened = library->open_device(devices[i]);
            code = opened != nullptr ? 0 : errno != 0 ? errno : EIO;
            break;
        }
    }
    if (devices != nullptr) {
        library->free_device_list(devices);
    }
    if (code != 0) {
        error = "cannot open the RDMA device " + name + ": " + std::strerror(code) +
                (code == EACCES || code == EPERM ? "; this user may not open /dev/infiniband/uverbs*" : "");
        return code;
    }
    context = std::make_unique<VerbsContext>(opened);
    return 0;
}

bool find_verbs_port(const SocketAddress& address, const std::string& device, VerbsPort& port,
                     std::string& reason)
{
    const Snapshot snapshot = current_ports();
    const ibv_gid wanted = gid_of(address);
    bool only_v1 = false;
    for (const VerbsPort& each : snapshot.ports) {
        if ((!device.empty() && device != each.device) ||
            std::memcmp(&each.gid, &wanted, sizeof(wanted)) != 0 ||
            (address.scope_id() != 0 && address.scope_id() != each.interface)) {
            continue;
        }
        if (each.routable) {
            port = each;
            reason = each.device + " port " + std::to_string(each.number) + ", GID " +
                     std::to_string(each.gid_index) + ": the RoCE v2 one of " + address.host_text() +
                     (address.is_link_local() ? ", which reaches this link only" : ", routed like it");
            return true;
        }
        only_v1 = true;
    }
    if (only_v1) {
        reason = address.host_text() + " has a GID of RoCE v1 only, which is not routed; srd needs RoCE v2";
    } else if (snapshot.ports.empty() && !snapshot.error.empty()) {
        reason = snapshot.error;
    } else {
        reason = "no RDMA device" + (device.empty() ? std::string() : " called " + device) +
                 " has a RoCE GID for " + address.host_text() + " (ibv_devinfo -v lists them)";
    }
    return false;
}

unsigned verbs_interface(const std::string& name)
{
    if (name.empty() || name.find('/') != std::string::npos || ::access((sysfs + name).c_str(), F_OK) != 0) {
        return 0; // not an RDMA device: no need to load the library
    }
    const Snapshot snapshot = current_ports();
    for (const VerbsPort& port : snapshot.ports) {
        if (port.device == name && port.routable) {
            return port.interface;
        }
    }
    return 0;
}

int verbs_numa_node(const std::string& device)
{
    int node = -1;
    std::ifstream(sysfs + device + "/device/numa_node") >> node;
    return node;
}

std::string verbs_firmware(const std::string& device)
{
    std::string version;
    std::ifstream(sysfs + device + "/fw_ver") >> version;
    return version;
}

bool verbs_is_hardware(const std::string& device)
{
    return ::access((sysfs + device + "/device").c_str(), F_OK) == 0;
}

std::uint32_t verbs_port_mtu(const VerbsContext& context, std::uint8_t port)
{
    ibv_port_attr attributes{};
    // The symbol fills in what libibverbs 1.0 knew; what came later we do not read.
    if (verbs().query_port(context.get(), port, reinterpret_cast<_compat_ibv_port_attr*>(&attributes)) != 0 ||
        attributes.state != IBV_PORT_ACTIVE) {
        return 0;
    }
    return 128U << std::clamp<unsigned>(attributes.active_mtu, IBV_MTU_256, IBV_MTU_4096);
}

} // namespace srd
