// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/host/interfaces.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <tuple>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <srd/file_descriptor.hpp>

#include "io/host/route_query.hpp"

namespace srd {

namespace {

/// Wider is better: 2 global, 1 unique local, 0 link-local. IPv4 has no such ladder.
int scope_rank(const SocketAddress& address)
{
    if (address.family() == AF_INET) {
        return 2;
    }
    if (address.is_link_local()) {
        return 0;
    }
    return (address.host()[0] & std::byte{0xfe}) == std::byte{0xfc} ? 1 : 2;
}

/// Bits of the subnet that `netmask`, an address of that family, describes.
unsigned count_prefix(const sockaddr* netmask, int family)
{
    if (netmask == nullptr) {
        return 0;
    }
    sockaddr_storage storage{};
    const std::size_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::memcpy(&storage, netmask, size);
    storage.ss_family = static_cast<sa_family_t>(family); // the kernel may leave it unset
    SocketAddress mask;
    unsigned bits = 0;
    if (SocketAddress::parse(&storage, size, mask)) {
        for (const std::byte byte : mask.host()) {
            bits += static_cast<unsigned>(std::popcount(std::to_integer<unsigned>(byte)));
        }
    }
    return bits;
}

/// The number in a file of one line; 0 if there is none or it is negative (sysfs says -1 for unknown).
std::uint64_t read_number(const std::string& path)
{
    std::ifstream file(path);
    long long value = 0;
    return file >> value && value > 0 ? static_cast<std::uint64_t>(value) : 0;
}

/// The last component of where a symbolic link points; empty if it is none.
std::string link_name(const std::string& path)
{
    std::array<char, 4096> target{};
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    if (length <= 0) {
        return {};
    }
    const std::string text(target.data(), static_cast<std::size_t>(length));
    return text.substr(text.find_last_of('/') + 1);
}

/// The line in a file of one line; empty if there is none.
std::string read_line(const std::string& path)
{
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

/// The firmware version that the driver of interface `name` tells; empty if none.
std::string firmware_of(const std::string& name)
{
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    ifreq request{};
    name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
    request.ifr_data = reinterpret_cast<char*>(&info);
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.valid() || ::ioctl(socket.get(), SIOCETHTOOL, &request) != 0) {
        return {};
    }
    std::string text(info.fw_version, ::strnlen(info.fw_version, sizeof(info.fw_version)));
    return text == "N/A" ? std::string() : text;
}

/// The folder of the device behind interface `name`, or behind the first interface that it is made of;
/// empty if there is none.
std::string device_folder(const std::string& sysfs, const std::string& name, int depth = 0)
{
    const std::string folder = sysfs + "/class/net/" + name;
    std::error_code ignored;
    const auto device = std::filesystem::canonical(folder + "/device", ignored);
    if (!device.empty()) {
        return device.string();
    }
    constexpr int deepest = 4; // VLAN on a bond of ...
    std::set<std::string> lower;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
        const std::string file = entry.path().filename().string();
        if (file.starts_with("lower_")) {
            lower.insert(file.substr(6));
        }
    }
    return lower.empty() || depth == deepest ? std::string()
                                             : device_folder(sysfs, *lower.begin(), depth + 1);
}

/// False: the entry has no IPv4 or IPv6 address.
bool address_of(const ifaddrs& item, SocketAddress& address) noexcept
{
    const int family = item.ifa_addr == nullptr ? AF_UNSPEC : item.ifa_addr->sa_family;
    const std::size_t size = family == AF_INET    ? sizeof(sockaddr_in)
                             : family == AF_INET6 ? sizeof(sockaddr_in6)
                                                  : 0;
    return size != 0 && SocketAddress::parse(item.ifa_addr, size, address);
}

NetInterface describe(const ifaddrs& item, const SocketAddress& address,
                      const std::set<unsigned>& default_routes)
{
    NetInterface entry;
    entry.name = item.ifa_name;
    entry.name.resize(std::min(entry.name.find(':'), entry.name.size())); // "eth0:1" is an address's label
    entry.index = ::if_nametoindex(entry.name.c_str());
    entry.address = address;
    entry.prefix_length = count_prefix(item.ifa_netmask, address.family());
    entry.is_loopback = (item.ifa_flags & IFF_LOOPBACK) != 0;
    entry.is_up = (item.ifa_flags & IFF_UP) != 0;
    entry.is_running = (item.ifa_flags & IFF_RUNNING) != 0;
    entry.has_default_route = default_routes.contains(entry.index);
    read_device("/sys", entry);
    if (!entry.pci_address.empty()) {
        entry.firmware = firmware_of(entry.name);
    }
    return entry;
}

} // namespace

void read_device(const std::string& sysfs, NetInterface& entry)
{
    const std::string folder = sysfs + "/class/net/" + entry.name + "/";
    entry.mtu = static_cast<std::uint32_t>(read_number(folder + "mtu"));
    entry.speed_mbps = read_number(folder + "speed");
    entry.hardware_address = read_line(folder + "address");
    switch (read_number(folder + "type")) {
    case ARPHRD_ETHER:
        entry.network_type = "Ethernet";
        break;
    case ARPHRD_INFINIBAND:
        entry.network_type = "InfiniBand";
        break;
    default:
        break;
    }
    std::string device = device_folder(sysfs, entry.name);
    entry.driver = device.empty() ? "" : link_name(device + "/driver");
    // A virtio device, say, is not a PCI device but is inside one.
    while (device.size() > sysfs.size() && link_name(device + "/subsystem") != "pci") {
        device.resize(device.find_last_of('/'));
    }
    if (device.size() <= sysfs.size()) {
        return;
    }
    entry.pci_address = device.substr(device.find_last_of('/') + 1);
    entry.vendor_id = read_line(device + "/vendor");
    entry.device_id = read_line(device + "/device");
    entry.revision = read_line(device + "/revision");
    const std::string node = read_line(device + "/numa_node");
    (void)std::from_chars(node.data(), node.data() + node.size(), entry.numa_node);
}

std::vector<NetInterface> list_interfaces()
{
    ifaddrs* head = nullptr;
    if (::getifaddrs(&head) != 0) {
        return {};
    }
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(head, &::freeifaddrs);
    const std::set<unsigned> default_routes = default_route_interfaces();

    std::vector<NetInterface> list;
    for (const ifaddrs* item = head; item != nullptr; item = item->ifa_next) {
        SocketAddress address;
        if (!address_of(*item, address)) {
            continue;
        }
        NetInterface entry = describe(*item, address, default_routes);
        const auto known = std::ranges::find_if(list, [&](const NetInterface& other) {
            return other.name == entry.name && other.address.family() == entry.address.family();
        });
        if (known == list.end()) {
            list.push_back(std::move(entry));
        } else if (scope_rank(entry.address) > scope_rank(known->address)) {
            *known = std::move(entry);
        }
    }
    std::ranges::stable_sort(list, {}, [](const NetInterface& entry) {
        return std::tuple(entry.is_loopback, !(entry.is_up && entry.is_running), !entry.has_default_route,
                          entry.index, entry.address.family() != AF_INET);
    });
    return list;
}

std::string subnet_text(const NetInterface& entry)
{
    std::array<std::byte, sizeof(in6_addr)> network{};
    std::ranges::copy(entry.address.host(), network.begin());
    for (unsigned bit = entry.prefix_length; bit < 8 * network.size(); ++bit) {
        network[bit / 8] &= ~(std::byte{0x80} >> (bit % 8));
    }
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(entry.address.family(), network.data(), text.data(), text.size());
    return std::string(text.data()) + "/" + std::to_string(entry.prefix_length);
}

} // namespace srd
