// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/host/route_query.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "io/host/netlink.hpp"

namespace srd {

namespace {

using RouteAttributes = NetlinkAttributes<RTA_MAX>;

/// The next hop that `message` names; `destination` if it is on the link.
SocketAddress next_hop_of(const rtmsg& fixed, const RouteAttributes& attributes,
                          const SocketAddress& destination) noexcept
{
    if (attributes.find(RTA_GATEWAY) != nullptr) {
        return SocketAddress::of_host(fixed.rtm_family, attributes.bytes(RTA_GATEWAY));
    }
    const std::span<const std::byte> via = attributes.bytes(RTA_VIA); // a router of the other family
    if (via.size() > sizeof(rtvia)) {
        rtvia header{};
        std::memcpy(&header, via.data(), sizeof(header));
        return SocketAddress::of_host(header.rtvia_family, via.subspan(sizeof(header)));
    }
    return SocketAddress::of_host(destination.family(), destination.host());
}

} // namespace

int RouteQuery::find(const SocketAddress& destination, const SocketAddress& source, HostRoute& route)
{
    rtmsg fixed{};
    fixed.rtm_family = static_cast<unsigned char>(destination.family());
    fixed.rtm_dst_len = static_cast<unsigned char>(destination.host().size() * 8);
    fixed.rtm_src_len = source.empty() ? std::uint8_t{0} : fixed.rtm_dst_len;
    NetlinkRequest request(RTM_GETROUTE, fixed);
    request.add(RTA_DST, destination.host());
    if (!source.empty()) {
        request.add(RTA_SRC, source.host());
    }
    if (destination.is_link_local()) {
        if (destination.scope_id() == 0) {
            return EINVAL; // the kernel would choose some link
        }
        request.add(RTA_OIF, destination.scope_id());
    }
    unsigned type = RTN_UNREACHABLE;
    const int error = socket_.ask(request, [&](const nlmsghdr& message) {
        const auto answer = fixed_part<rtmsg>(message);
        const auto attributes = RouteAttributes::of<rtmsg>(message);
        type = answer.rtm_type;
        route.interface = attributes.number(RTA_OIF);
        route.next_hop = next_hop_of(answer, attributes, destination);
        route.source = SocketAddress::of_host(destination.family(), attributes.bytes(RTA_PREFSRC));
        route.source.set_scope_id(route.interface);
    });
    if (error != 0) {
        return error;
    }
    // An anycast address of IPv6 is one of ours: packets to it come back, too.
    route.to_this_host = type == RTN_LOCAL || type == RTN_ANYCAST;
    return route.to_this_host || type == RTN_UNICAST ? 0 : EHOSTUNREACH;
}

SocketAddress source_towards(const SocketAddress& destination)
{
    RouteQuery query;
    HostRoute route;
    if (query.open() != 0 || query.find(destination, {}, route) != 0) {
        return {};
    }
    return route.source.empty() && route.to_this_host ? route.next_hop : route.source;
}

bool is_host_address(const SocketAddress& address)
{
    RouteQuery query;
    HostRoute route;
    return query.open() == 0 && query.find(address, {}, route) == 0 && route.to_this_host;
}

std::set<unsigned> default_route_interfaces()
{
    std::set<unsigned> found;
    NetlinkSocket socket;
    if (socket.open() != 0) {
        return found;
    }
    for (const int family : {AF_INET, AF_INET6}) {
        rtmsg fixed{};
        fixed.rtm_family = static_cast<unsigned char>(family);
        NetlinkRequest request(RTM_GETROUTE, fixed, NLM_F_DUMP);
        socket.ask(request, [&found](const nlmsghdr& message) {
            const auto route = fixed_part<rtmsg>(message);
            const auto attributes = RouteAttributes::of<rtmsg>(message);
            const std::uint32_t table =
                attributes.find(RTA_TABLE) != nullptr ? attributes.number(RTA_TABLE) : route.rtm_table;
            if (route.rtm_dst_len != 0 || route.rtm_type != RTN_UNICAST || table != RT_TABLE_MAIN) {
                return;
            }
            if (attributes.find(RTA_OIF) != nullptr) {
                found.insert(attributes.number(RTA_OIF));
            }
            std::span<const std::byte> hops = attributes.bytes(RTA_MULTIPATH);
            while (hops.size() >= sizeof(rtnexthop)) {
                rtnexthop hop{};
                std::memcpy(&hop, hops.data(), sizeof(hop));
                if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > hops.size()) {
                    break;
                }
                found.insert(static_cast<unsigned>(hop.rtnh_ifindex));
                hops = hops.subspan(std::min<std::size_t>(RTNH_ALIGN(hop.rtnh_len), hops.size()));
            }
        });
    }
    return found;
}

} // namespace srd
