// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which backend moves an endpoint's packets. A domain's name tells: "eth0" is
// udp, "eth0+eth1" the same over both interfaces, "eth0-packet" and "eth0-xdp" are the raw ones on the same
// interface, "mlx5_0" is verbs, on the interface that the RDMA device belongs to. fi_getinfo lists the
// domains of one backend, that of FI_SRD_BACKEND; a name in the hints chooses freely.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <srd/address.hpp>
#include <srd/counters.hpp>

#include "io/core/packet_io.hpp"
#include "io/host/interfaces.hpp"

namespace srd {

enum class Backend : std::uint8_t { udp, packet, xdp, verbs };

struct DomainName {
    std::string interface; ///< the first one, of several
    Backend backend = Backend::udp;
    std::vector<std::string> group = {}; ///< all of them; empty: it is one
};

std::string domain_name_of(const NetInterface& entry, Backend backend);
/// The reverse. An interface that is really called so counts as itself.
DomainName parse_domain_name(const std::string& name);

/// Why `backend` cannot run on that interface for this process, as a sentence; empty if nothing is known
/// against it.
std::string backend_obstacle(Backend backend, const NetInterface& entry);

/// What fi_nic says of that domain's device: `entry`, except that a device of verbs goes by its own name.
NetInterface device_of(const NetInterface& entry, const std::string& domain);

/// One line: which domain an application gets, on that interface, and of each other backend that it could be
/// had or why not.
std::string describe_choice(Backend chosen, const std::string& domain, const NetInterface& entry);

/// Makes the backend of the domain called `domain`, bound to `address`. Returns 0, or a positive errno
/// with a sentence. If `sealed`, it seals what leaves the host. Where xdp has no queue left, the packet
/// backend takes its place, with a warn line: to peers it is the same.
int open_backend(const std::string& domain, const SocketAddress& address, bool sealed, Counters& counters,
                 std::unique_ptr<PacketIo>& io, std::string& error);

/// `io` with shared memory to the processes of this user on this host around it, unless FI_SRD_SHM=0. Its
/// address stays. Throws std::bad_alloc.
std::unique_ptr<PacketIo> add_shared_memory(std::unique_ptr<PacketIo> io, Counters& counters);

} // namespace srd
