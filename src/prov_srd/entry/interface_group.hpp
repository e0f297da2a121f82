// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The interfaces that domains are made of: which there are, and which of them FI_SRD_INTERFACE puts together
// as one domain, called after all of them ("eth0+eth1").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <srd/address.hpp>

#include "io/host/interfaces.hpp"

namespace srd {

/// The interfaces with a carrier: link-local addresses, which only neighbours reach, behind the others,
/// loopback last.
std::vector<NetInterface> usable_interfaces(bool rescan);

/// The interface of the list that has `address`, or null: the list shows one address of each, so others of
/// the same subnet count too, provided that they are this host's.
const NetInterface* interface_of(const std::vector<NetInterface>& interfaces, const SocketAddress& address);
/// The address of the interface `name` in `family`, port 0; empty if there is none.
SocketAddress interface_address(const std::string& name, int family);
/// The NUMA node of the interface `name`; no_node (numa.hpp) if unknown.
int interface_node(const std::string& name);

/// The names of those of `usable` that are one domain, in order, the first one's address being the
/// endpoint's; fewer than two: each is a domain of its own.
std::vector<std::string> interface_group(const std::vector<NetInterface>& usable);
/// What that domain is called.
std::string group_name(const std::vector<std::string>& names);
/// The reverse; fewer than two: it is no such name.
std::vector<std::string> parse_group_name(std::string_view name);
/// What an interface's address in a group is: the one in `family` if it has both; null: it has none. Only
/// neighbours reach link-local ones, so they do not count.
const NetInterface* group_member(const std::vector<NetInterface>& usable, const std::string& name,
                                 int family);

} // namespace srd
