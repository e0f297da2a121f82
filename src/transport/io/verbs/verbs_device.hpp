// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which RDMA port carries the packets of an IP address. RoCE v2 packets are IP
// packets, and a port has a GID for each address of its network interface, so the address
// chooses device, port and GID: the one GID that routers forward like the address itself.
// InfiniBand ports, whose GIDs are not addresses of the host, are left out, and RoCE v1,
// which is not routed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <srd/address.hpp>

#include "io/verbs/verbs_library.hpp"

namespace srd {

/// One GID of a RoCE port.
struct VerbsPort {
    std::string device; ///< "mlx5_0"
    std::uint8_t number = 1;
    std::uint32_t gid_index = 0;
    ibv_gid gid{};
    unsigned interface = 0; ///< if_nametoindex of the port's network interface
    bool routable = false;  ///< RoCE v2
};

/// A device of which this process has opened a handle of its own. Its descriptors are closed in children.
class VerbsContext {
public:
    explicit VerbsContext(ibv_context* context) noexcept;
    VerbsContext(const VerbsContext&) = delete;
    VerbsContext& operator=(const VerbsContext&) = delete;
    ~VerbsContext();

    ibv_context* get() const noexcept { return context_; }

private:
    ibv_context* context_;
};

/// Opens the device called `name`: 0, or errno with a sentence. Any thread.
int open_verbs_device(const std::string& name, std::unique_ptr<VerbsContext>& context, std::string& error);

/// The GID of `address` on one of this host's devices (of `device` only, unless empty). False: `reason` is a
/// sentence that says why there is none; true: how the choice was made. The list of ports is kept
/// for a second. Any thread.
bool find_verbs_port(const SocketAddress& address, const std::string& device, VerbsPort& port,
                     std::string& reason);

/// The GID that `address` has on every port: an IPv6 address as it is, an IPv4 one in its mapped form.
ibv_gid gid_of(const SocketAddress& address);

/// Index of the network interface of the device called `name`; 0: no RoCE device is called so.
unsigned verbs_interface(const std::string& name);

/// "mlx5_0" of a NUMA machine: the node of its PCI device; -1: unknown, or a device in software.
int verbs_numa_node(const std::string& device);
/// As the driver tells; empty if it does not.
std::string verbs_firmware(const std::string& device);
/// False for devices in software.
bool verbs_is_hardware(const std::string& device);

/// Bytes of the port's MTU, at most 4096; 0 if the port is down, or `context` lost its device.
std::uint32_t verbs_port_mtu(const VerbsContext& context, std::uint8_t port);

} // namespace srd
