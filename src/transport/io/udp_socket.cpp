// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "udp_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <sys/socket.h>
#include <unistd.h>

namespace srd {

namespace {

constexpr int ecn_capable = 2; // ECT(0), the low bits of TOS and of the traffic class

/// What an entry of the error queue means for its route; false: nothing.
bool classify(const sock_extended_err& error, RouteNotice::Kind& kind) noexcept
{
    switch (error.ee_errno) {
    case ECONNREFUSED: // port unreachable
        kind = RouteNotice::Kind::process_gone;
        return true;
    case EMSGSIZE: // a router or this host knows a smaller MTU
        kind = RouteNotice::Kind::mtu_changed;
        return true;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EACCES: // administratively prohibited
        kind = RouteNotice::Kind::unreachable;
        return true;
    default:
        return false;
    }
}

} // namespace

FileDescriptor::~FileDescriptor()
{
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

bool UdpAddress::parse(std::span<const std::byte> bytes, UdpAddress& address) noexcept
{
    sa_family_t family = 0;
    if (bytes.size() < sizeof(family)) {
        return false;
    }
    static_assert(offsetof(sockaddr, sa_family) == 0);
    std::memcpy(&family, bytes.data(), sizeof(family));
    UdpAddress parsed;
    if (family == AF_INET && bytes.size() >= sizeof(sockaddr_in)) {
        std::memcpy(&parsed.in4_, bytes.data(), sizeof(sockaddr_in));
        std::memset(parsed.in4_.sin_zero, 0, sizeof(parsed.in4_.sin_zero));
    } else if (family == AF_INET6 && bytes.size() >= sizeof(sockaddr_in6)) {
        std::memcpy(&parsed.in6_, bytes.data(), sizeof(sockaddr_in6));
        parsed.in6_.sin6_flowinfo = 0;
    } else {
        return false;
    }
    address = parsed;
    return true;
}

bool UdpAddress::of_socket(int fd, UdpAddress& address) noexcept
{
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
        return false;
    }
    return parse(std::as_bytes(std::span(&storage, 1)), address);
}

std::uint16_t UdpAddress::port() const noexcept
{
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    return ntohs(in4_.sin_port);
}

void UdpAddress::set_port(std::uint16_t port) noexcept
{
    in4_.sin_port = htons(port);
}

void UdpAddress::set_scope_id(std::uint32_t scope_id) noexcept
{
    if (family() == AF_INET6) {
        in6_.sin6_scope_id = scope_id;
    }
}

bool UdpAddress::is_loopback() const noexcept
{
    if (family() == AF_INET) {
        return (ntohl(in4_.sin_addr.s_addr) >> 24) == 127;
    }
    return family() == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6_.sin6_addr);
}

bool UdpAddress::is_link_local() const noexcept
{
    return family() == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&in6_.sin6_addr);
}

bool UdpAddress::is_unicast() const noexcept
{
    if (family() == AF_INET) {
        const std::uint32_t address = ntohl(in4_.sin_addr.s_addr);
        return address != INADDR_ANY && address != INADDR_BROADCAST && !IN_MULTICAST(address);
    }
    const in6_addr& address = in6_.sin6_addr;
    return !IN6_IS_ADDR_UNSPECIFIED(&address) && !IN6_IS_ADDR_MULTICAST(&address) &&
           !IN6_IS_ADDR_V4MAPPED(&address);
}

std::span<const std::byte> UdpAddress::bytes() const noexcept
{
    return {reinterpret_cast<const std::byte*>(&any_), length()};
}

std::string UdpAddress::text() const
{
    std::array<char, INET6_ADDRSTRLEN> buffer{};
    if (family() == AF_INET) {
        ::inet_ntop(AF_INET, &in4_.sin_addr, buffer.data(), buffer.size());
        return std::string(buffer.data()) + ":" + std::to_string(port());
    }
    ::inet_ntop(AF_INET6, &in6_.sin6_addr, buffer.data(), buffer.size());
    std::string result(1, '['); // appended to, because gcc 12 warns of "[" + string without cause
    result += buffer.data();
    if (scope_id() != 0) {
        result += '%';
        result += std::to_string(scope_id());
    }
    result += "]:";
    result += std::to_string(port());
    return result;
}

std::size_t UdpAddress::hash() const noexcept
{
    const std::span<const std::byte> content = bytes();
    return std::hash<std::string_view>{}(
        std::string_view(reinterpret_cast<const char*>(content.data()), content.size()));
}

bool operator==(const UdpAddress& a, const UdpAddress& b) noexcept
{
    return a.family() == b.family() && std::ranges::equal(a.bytes(), b.bytes());
}

bool set_option(int fd, int level, int name, int value) noexcept
{
    return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

void prepare_sending_socket(int fd, int family, Fragmentation fragmentation) noexcept
{
    // Each of these may be refused by an old or restricted kernel; the socket works without.
    const bool forbidden = fragmentation == Fragmentation::forbidden;
    if (family == AF_INET) {
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, forbidden ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
        set_option(fd, IPPROTO_IP, IP_TOS, ecn_capable);
        set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    } else {
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, forbidden ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
        set_option(fd, IPPROTO_IPV6, IPV6_TCLASS, ecn_capable);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    }
}

std::uint32_t set_socket_buffer(int fd, int name, int force_name, std::uint32_t wanted) noexcept
{
    const int request = static_cast<int>(std::min<std::uint32_t>(wanted, 1U << 30));
    if (!set_option(fd, SOL_SOCKET, force_name, request)) {
        set_option(fd, SOL_SOCKET, name, request);
    }
    int granted = 0;
    socklen_t length = sizeof(granted);
    if (::getsockopt(fd, SOL_SOCKET, name, &granted, &length) != 0 || granted < 0) {
        return 0;
    }
    return static_cast<std::uint32_t>(granted) / 2; // the kernel doubles requests for its own overhead
}

FileDescriptor open_sending_socket(const UdpAddress& local, std::uint32_t socket_buffer, int& error)
{
    FileDescriptor fd(::socket(local.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
        error = errno;
        return fd;
    }
    if (local.family() == AF_INET6) {
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    prepare_sending_socket(fd.get(), local.family(), Fragmentation::forbidden);
    set_socket_buffer(fd.get(), SO_SNDBUF, SO_SNDBUFFORCE, socket_buffer);
    set_option(fd.get(), SOL_SOCKET, SO_RCVBUF, 0); // the kernel's minimum: nobody reads it
    if (::bind(fd.get(), local.raw(), local.length()) != 0) {
        error = errno;
        return FileDescriptor();
    }
    return fd;
}

bool read_error_queue(int fd, SocketError& error) noexcept
{
    for (;;) {
        sockaddr_storage destination{};
        alignas(cmsghdr) std::array<char, 512> control{};
        std::array<char, 1> payload{};
        iovec iov{payload.data(), payload.size()};
        msghdr message{};
        message.msg_name = &destination;
        message.msg_namelen = sizeof(destination);
        message.msg_iov = &iov;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        if (::recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
            return false;
        }
        for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
            const bool is_error = (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR) ||
                                  (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR);
            if (!is_error) {
                continue;
            }
            sock_extended_err detail{};
            std::memcpy(&detail, CMSG_DATA(item), sizeof(detail));
            if (classify(detail, error.kind) &&
                UdpAddress::parse(std::as_bytes(std::span(&destination, 1)), error.destination)) {
                return true;
            }
        }
    }
}

} // namespace srd
