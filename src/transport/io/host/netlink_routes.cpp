// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/host/netlink_routes.hpp"

#include <algorithm>
#include <cerrno>

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include "io/host/netlink.hpp"

namespace srd {

namespace {

/// States in which the kernel has a hardware address to send to.
constexpr std::uint16_t nud_valid =
    NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

/// False: the attribute is not a hardware address of Ethernet.
bool read_mac(std::span<const std::byte> bytes, MacAddress& mac) noexcept
{
    if (bytes.size() != mac.size()) {
        return false;
    }
    std::ranges::transform(bytes, mac.begin(),
                           [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
    return true;
}

} // namespace

int NetlinkRoutes::open()
{
    const auto groups =
        static_cast<unsigned>(local_.family() == AF_INET ? RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_IFADDR
                                                         : RTMGRP_IPV6_ROUTE | RTMGRP_IPV6_IFADDR);
    int error = requests_.open();
    if (error == 0) {
        error = routes_.open();
    }
    if (error == 0) {
        error = announcements_.open(RTMGRP_LINK | RTMGRP_NEIGH | groups);
    }
    if (error != 0) {
        return error;
    }
    query_link();
    return link_mtu_ != 0 ? 0 : ENODEV;
}

void NetlinkRoutes::query_link()
{
    ifinfomsg fixed{};
    fixed.ifi_index = static_cast<int>(interface_);
    NetlinkRequest request(RTM_GETLINK, fixed);
    requests_.ask(request, [this](const nlmsghdr& answer) { on_link(answer); });
}

Neighbour* NetlinkRoutes::next_hop(const SocketAddress& destination)
{
    HostRoute route;
    if (routes_.find(destination, local_, route) != 0 || route.to_this_host ||
        route.interface != interface_) {
        return nullptr;
    }
    const auto known = by_address_.find(route.next_hop);
    if (known != by_address_.end()) {
        return known->second;
    }
    Neighbour& added = neighbours_.emplace_back();
    added.address = route.next_hop;
    by_address_.emplace(route.next_hop, &added);
    query_neighbour(added);
    return &added;
}

void NetlinkRoutes::query_neighbour(Neighbour& neighbour)
{
    ndmsg fixed{};
    fixed.ndm_family = static_cast<unsigned char>(neighbour.address.family());
    fixed.ndm_ifindex = static_cast<int>(interface_);
    NetlinkRequest request(RTM_GETNEIGH, fixed);
    request.add(NDA_DST, neighbour.address.host());
    neighbour.usable = false; // unless the answer says otherwise
    requests_.ask(request, [this](const nlmsghdr& answer) { on_neighbour(answer); });
}

void NetlinkRoutes::poll()
{
    while (announcements_.poll([this](const nlmsghdr& message) { on_message(message); }) == ENOBUFS) {
        forget(); // announcements were lost
    }
}

void NetlinkRoutes::forget()
{
    ++generation_;
    query_link();
    for (Neighbour& neighbour : neighbours_) {
        query_neighbour(neighbour);
    }
}

void NetlinkRoutes::on_message(const nlmsghdr& message)
{
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        on_link(message);
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        on_neighbour(message);
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
    case RTM_NEWADDR:
    case RTM_DELADDR:
        ++generation_;
        break;
    default:
        break;
    }
}

void NetlinkRoutes::on_link(const nlmsghdr& message)
{
    const auto link = fixed_part<ifinfomsg>(message);
    // Bridges announce their ports in a family of their own.
    if (static_cast<unsigned>(link.ifi_index) != interface_ || link.ifi_family != AF_UNSPEC) {
        return;
    }
    constexpr unsigned needed = IFF_UP | IFF_RUNNING;
    link_up_ = message.nlmsg_type == RTM_NEWLINK && (link.ifi_flags & needed) == needed;
    link_is_ethernet_ = link.ifi_type == ARPHRD_ETHER;
    const auto attributes = NetlinkAttributes<IFLA_MTU>::of<ifinfomsg>(message);
    if (attributes.find(IFLA_MTU) != nullptr) {
        link_mtu_ = attributes.number(IFLA_MTU);
    }
    read_mac(attributes.bytes(IFLA_ADDRESS), link_mac_);
    ++generation_;
}

void NetlinkRoutes::on_neighbour(const nlmsghdr& message)
{
    const auto entry = fixed_part<ndmsg>(message);
    if (static_cast<unsigned>(entry.ndm_ifindex) != interface_ ||
        (entry.ndm_family != AF_INET && entry.ndm_family != AF_INET6)) {
        return;
    }
    const auto attributes = NetlinkAttributes<NDA_LLADDR>::of<ndmsg>(message);
    const auto known = by_address_.find(SocketAddress::of_host(entry.ndm_family, attributes.bytes(NDA_DST)));
    if (known == by_address_.end()) {
        return;
    }
    Neighbour& neighbour = *known->second;
    MacAddress mac{};
    const bool has_mac = read_mac(attributes.bytes(NDA_LLADDR), mac);
    neighbour.usable = message.nlmsg_type == RTM_NEWNEIGH && has_mac && (entry.ndm_state & nud_valid) != 0;
    neighbour.stale = neighbour.usable && (entry.ndm_state & NUD_STALE) != 0;
    if (neighbour.usable) {
        neighbour.mac = mac;
    }
}

} // namespace srd
