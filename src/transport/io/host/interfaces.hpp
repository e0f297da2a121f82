// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The host's network interfaces, as far as an endpoint can be bound to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <srd/address.hpp>

namespace srd {

/// One interface in one address family.
struct NetInterface {
    std::string name;             ///< "eth0"
    unsigned index = 0;           ///< if_nametoindex(name)
    SocketAddress address;        ///< port 0; scope id set if link-local
    unsigned prefix_length = 0;   ///< of the subnet, bits
    std::uint32_t mtu = 0;        ///< of the device, bytes, IP header included
    std::uint64_t speed_mbps = 0; ///< link speed in Mbit/s; 0 = unknown
    bool is_loopback = false;
    bool is_up = false;             ///< administratively up (IFF_UP)
    bool is_running = false;        ///< has a carrier (IFF_RUNNING)
    bool has_default_route = false; ///< a default route of either family leaves through it
    std::string pci_address;        ///< "0000:3b:00.0"; empty if it is not a PCI device
    std::string driver;             ///< "ice"; empty if unknown
    int numa_node = -1;             ///< that its PCI device is on; -1: unknown, or no NUMA
    // As the system writes them; empty if unknown.
    std::string vendor_id;        ///< "0x8086"
    std::string device_id;        ///< "0x1593"
    std::string revision;         ///< "0x02"
    std::string firmware;         ///< as the driver tells
    std::string hardware_address; ///< "52:54:00:12:34:56"
    std::string network_type;     ///< "Ethernet" or "InfiniBand"
};

/// Reads what `sysfs` ("/sys" or a copy) has about the device of `entry.name`: from mtu on. A device
/// that is made of others (bond, VLAN) is where the first of these is.
void read_device(const std::string& sysfs, NetInterface& entry);

/// One entry per interface and address family (its first address; an IPv6 link-local one only if there
/// is no other). Order: interfaces that are up before those that are not, the default route's first,
/// IPv4 before IPv6, loopback last. Empty if the system refuses to tell. Any thread.
std::vector<NetInterface> list_interfaces();

/// The subnet of `entry` as text, "192.0.2.0/24" or "2001:db8::/64": hosts with the same text are neighbours.
std::string subnet_text(const NetInterface& entry);

} // namespace srd
