// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/host/netlink_routes.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>

namespace srd {

namespace {

constexpr std::size_t answer_size = 32768;
constexpr std::uint16_t nud_valid =
    NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

/// An address out of netlink's bytes, port and scope 0.
SocketAddress make_host(int family, std::span<const std::byte> bytes) noexcept
{
    sockaddr_storage storage{};
    storage.ss_family = static_cast<sa_family_t>(family);
    auto* const target = reinterpret_cast<std::byte*>(&storage);
    const bool ipv4 = family == AF_INET;
    const std::size_t wanted = ipv4 ? sizeof(in_addr) : sizeof(in6_addr);
    std::memcpy(target + (ipv4 ? offsetof(sockaddr_in, sin_addr) : offsetof(sockaddr_in6, sin6_addr)),
                bytes.data(), std::min(bytes.size(), wanted));
    SocketAddress address;
    SocketAddress::parse(std::as_bytes(std::span(&storage, 1)), address);
    return address;
}

/// Calls `visit(type, bytes)` for the attributes that follow a message's fixed part.
template <typename Fixed, typename Visitor>
void for_each_attribute(const nlmsghdr& header, Visitor&& visit)
{
    if (header.nlmsg_len < NLMSG_SPACE(sizeof(Fixed))) {
        return;
    }
    const auto* const begin = reinterpret_cast<const std::byte*>(&header);
    std::size_t at = NLMSG_SPACE(sizeof(Fixed));
    while (at + sizeof(rtattr) <= header.nlmsg_len) {
        rtattr attribute{};
        std::memcpy(&attribute, begin + at, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || at + attribute.rta_len > header.nlmsg_len) {
            return;
        }
        visit(attribute.rta_type & static_cast<unsigned>(NLA_TYPE_MASK),
              std::span(begin + at + sizeof(attribute), attribute.rta_len - sizeof(attribute)));
        at += RTA_ALIGN(attribute.rta_len);
    }
}

template <typename T>
T fixed_part(const nlmsghdr& header) noexcept
{
    T value{};
    if (header.nlmsg_len >= NLMSG_LENGTH(sizeof(T))) {
        std::memcpy(&value, reinterpret_cast<const std::byte*>(&header) + NLMSG_HDRLEN, sizeof(value));
    }
    return value;
}

std::uint32_t number_of(std::span<const std::byte> bytes) noexcept
{
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(value)));
    return value;
}

/// Calls `visit(header)` for the messages of a buffer until it returns false.
template <typename Visitor>
void for_each_message(std::span<const std::byte> buffer, Visitor&& visit)
{
    std::size_t at = 0;
    while (at + sizeof(nlmsghdr) <= buffer.size()) {
        const auto& header = *reinterpret_cast<const nlmsghdr*>(buffer.data() + at);
        if (header.nlmsg_len < sizeof(header) || at + header.nlmsg_len > buffer.size() || !visit(header)) {
            return;
        }
        at += NLMSG_ALIGN(header.nlmsg_len);
    }
}

FileDescriptor open_netlink(unsigned groups) noexcept
{
    FileDescriptor fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = groups;
    if (fd.valid() && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
        return FileDescriptor();
    }
    return fd;
}

} // namespace

/// A message in the making: its fixed part and attributes.
struct NetlinkRoutes::Request {
    alignas(nlmsghdr) std::array<std::byte, 256> bytes{};
    std::size_t length = 0;

    template <typename Fixed>
    Request(std::uint16_t type, const Fixed& fixed) noexcept
    {
        nlmsghdr header{};
        header.nlmsg_type = type;
        header.nlmsg_flags = NLM_F_REQUEST;
        std::memcpy(bytes.data(), &header, sizeof(header));
        std::memcpy(bytes.data() + NLMSG_HDRLEN, &fixed, sizeof(fixed));
        length = NLMSG_SPACE(sizeof(fixed));
    }
    void add(std::uint16_t type, std::span<const std::byte> value) noexcept
    {
        const rtattr attribute{static_cast<unsigned short>(RTA_LENGTH(value.size())), type};
        std::memcpy(bytes.data() + length, &attribute, sizeof(attribute));
        std::memcpy(bytes.data() + length + sizeof(attribute), value.data(), value.size());
        length += RTA_SPACE(value.size());
    }
    void add(std::uint16_t type, std::uint32_t value) noexcept
    {
        add(type, std::as_bytes(std::span(&value, 1)));
    }
};

int NetlinkRoutes::open()
{
    const bool ipv4 = local_.family() == AF_INET;
    requests_ = open_netlink(0);
    events_ = open_netlink(RTMGRP_LINK | RTMGRP_NEIGH |
                           static_cast<unsigned>(ipv4 ? RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_IFADDR
                                                      : RTMGRP_IPV6_ROUTE | RTMGRP_IPV6_IFADDR));
    if (!requests_.valid() || !events_.valid()) {
        return errno;
    }
    query_link();
    return link_mtu_ != 0 ? 0 : ENODEV;
}

template <typename Handler>
bool NetlinkRoutes::ask(Request& request, Handler&& handle)
{
    auto& header = *reinterpret_cast<nlmsghdr*>(request.bytes.data());
    header.nlmsg_len = static_cast<std::uint32_t>(request.length);
    header.nlmsg_seq = ++sequence_;
    if (::send(requests_.get(), request.bytes.data(), request.length, 0) < 0) {
        return false;
    }
    // The kernel answers within the call.
    alignas(nlmsghdr) std::array<std::byte, answer_size> buffer;
    bool found = false;
    for (;;) {
        const ssize_t length = ::recv(requests_.get(), buffer.data(), buffer.size(), 0);
        if (length <= 0) {
            return found;
        }
        for_each_message(std::span(buffer).first(static_cast<std::size_t>(length)),
                         [&](const nlmsghdr& answer) {
                             if (answer.nlmsg_seq == sequence_ && answer.nlmsg_type >= RTM_BASE) {
                                 handle(answer);
                                 found = true;
                             }
                             return true;
                         });
        if (found) {
            return true;
        }
    }
}

void NetlinkRoutes::query_link()
{
    ifinfomsg fixed{};
    fixed.ifi_index = static_cast<int>(interface_);
    Request request(RTM_GETLINK, fixed);
    ask(request, [this](const nlmsghdr& answer) { on_link(&answer); });
}

Neighbour* NetlinkRoutes::next_hop(const SocketAddress& destination)
{
    rtmsg fixed{};
    fixed.rtm_family = static_cast<unsigned char>(destination.family());
    const std::span<const std::byte> host = destination.host();
    fixed.rtm_dst_len = static_cast<unsigned char>(host.size() * 8);
    fixed.rtm_src_len = fixed.rtm_dst_len;
    Request request(RTM_GETROUTE, fixed);
    request.add(RTA_DST, host);
    request.add(RTA_SRC, local_.host());
    if (destination.is_link_local()) {
        request.add(RTA_OIF, interface_);
    }
    SocketAddress hop = make_host(destination.family(), host);
    bool ours = false;
    ask(request, [&](const nlmsghdr& answer) {
        const auto route = fixed_part<rtmsg>(answer);
        for_each_attribute<rtmsg>(answer, [&](unsigned type, std::span<const std::byte> value) {
            if (type == RTA_OIF) {
                ours = number_of(value) == interface_;
            } else if (type == RTA_GATEWAY) {
                hop = make_host(route.rtm_family, value);
            } else if (type == RTA_VIA && value.size() > sizeof(rtvia)) {
                rtvia via{};
                std::memcpy(&via, value.data(), sizeof(via));
                hop = make_host(via.rtvia_family, value.subspan(sizeof(via)));
            }
        });
        ours = ours && route.rtm_type == RTN_UNICAST;
    });
    if (!ours) {
        return nullptr;
    }
    const auto known = by_address_.find(hop);
    if (known != by_address_.end()) {
        return known->second;
    }
    Neighbour& added = neighbours_.emplace_back();
    added.address = hop;
    by_address_.emplace(hop, &added);
    query_neighbour(added);
    return &added;
}

void NetlinkRoutes::query_neighbour(Neighbour& neighbour)
{
    ndmsg fixed{};
    fixed.ndm_family = static_cast<unsigned char>(neighbour.address.family());
    fixed.ndm_ifindex = static_cast<int>(interface_);
    Request request(RTM_GETNEIGH, fixed);
    request.add(NDA_DST, neighbour.address.host());
    neighbour.usable = false;
    ask(request, [this](const nlmsghdr& answer) { on_neighbour(&answer); });
}

void NetlinkRoutes::poll()
{
    alignas(nlmsghdr) std::array<std::byte, answer_size> buffer;
    for (;;) {
        const ssize_t length = ::recv(events_.get(), buffer.data(), buffer.size(), 0);
        if (length < 0 && errno == ENOBUFS) {
            forget(); // announcements were lost
            continue;
        }
        if (length <= 0) {
            return;
        }
        for_each_message(std::span(buffer).first(static_cast<std::size_t>(length)),
                         [this](const nlmsghdr& message) {
                             on_message(&message);
                             return true;
                         });
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

void NetlinkRoutes::on_message(const void* header)
{
    switch (static_cast<const nlmsghdr*>(header)->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        on_link(header);
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        on_neighbour(header);
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

void NetlinkRoutes::on_link(const void* message)
{
    const auto& header = *static_cast<const nlmsghdr*>(message);
    const auto link = fixed_part<ifinfomsg>(header);
    // Bridges announce their ports in a family of their own.
    if (static_cast<unsigned>(link.ifi_index) != interface_ || link.ifi_family != AF_UNSPEC) {
        return;
    }
    constexpr unsigned needed = IFF_UP | IFF_RUNNING;
    link_up_ = header.nlmsg_type == RTM_NEWLINK && (link.ifi_flags & needed) == needed;
    link_is_ethernet_ = link.ifi_type == ARPHRD_ETHER;
    for_each_attribute<ifinfomsg>(header, [this](unsigned type, std::span<const std::byte> value) {
        if (type == IFLA_MTU) {
            link_mtu_ = number_of(value);
        } else if (type == IFLA_ADDRESS && value.size() == link_mac_.size()) {
            std::memcpy(link_mac_.data(), value.data(), value.size());
        }
    });
    ++generation_;
}

void NetlinkRoutes::on_neighbour(const void* message)
{
    const auto& header = *static_cast<const nlmsghdr*>(message);
    const auto entry = fixed_part<ndmsg>(header);
    if (static_cast<unsigned>(entry.ndm_ifindex) != interface_ ||
        (entry.ndm_family != AF_INET && entry.ndm_family != AF_INET6)) {
        return;
    }
    SocketAddress address;
    MacAddress mac{};
    bool has_mac = false;
    for_each_attribute<ndmsg>(header, [&](unsigned type, std::span<const std::byte> value) {
        if (type == NDA_DST) {
            address = make_host(entry.ndm_family, value);
        } else if (type == NDA_LLADDR && value.size() == mac.size()) {
            std::memcpy(mac.data(), value.data(), value.size());
            has_mac = true;
        }
    });
    const auto known = by_address_.find(address);
    if (known == by_address_.end()) {
        return;
    }
    Neighbour& neighbour = *known->second;
    neighbour.usable = header.nlmsg_type == RTM_NEWNEIGH && has_mac && (entry.ndm_state & nud_valid) != 0;
    neighbour.stale = neighbour.usable && (entry.ndm_state & NUD_STALE) != 0;
    if (neighbour.usable) {
        neighbour.mac = mac;
    }
}

} // namespace srd
