// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "io/udp/udp_socket.hpp"

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

/// What an entry of the error queue means for its route; false: nothing.
bool classify(int error, RouteNotice::Kind& kind) noexcept
{
    switch (error) {
    case ECONNREFUSED: // port unreachable
        kind = RouteNotice::Kind::port_unreachable;
        return true;
    case EMSGSIZE: // a router or this host knows a smaller MTU
        kind = RouteNotice::Kind::mtu_changed;
        return true;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EACCES: // administratively prohibited
        kind = RouteNotice::Kind::host_unreachable;
        return true;
    default:
        return false;
    }
}

} // namespace

int bound_address(const FileDescriptor& socket, SocketAddress& address) noexcept
{
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
        return errno;
    }
    return SocketAddress::parse(&storage, sizeof(storage), address) ? 0 : EAFNOSUPPORT;
}

void prepare_sending_socket(const FileDescriptor& socket, int family, IpFragmentation fragmentation) noexcept
{
    // Best effort: an old or restricted kernel may refuse any of these, and the socket works without.
    const int fd = socket.get();
    const bool forbidden = fragmentation == IpFragmentation::forbidden;
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

void leave_by(const FileDescriptor& socket, int family, unsigned interface, bool only_sends) noexcept
{
    if (interface == 0 ||
        (only_sends && set_option(socket.get(), SOL_SOCKET, SO_BINDTOIFINDEX, static_cast<int>(interface)))) {
        return;
    }
    const auto index = static_cast<int>(htonl(interface));
    set_option(socket.get(), family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
               family == AF_INET ? IP_UNICAST_IF : IPV6_UNICAST_IF, index);
}

FileDescriptor open_sending_socket(const SocketAddress& local, unsigned interface,
                                   std::uint32_t socket_buffer, int& error)
{
    FileDescriptor fd(::socket(local.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
        error = errno;
        return fd;
    }
    if (local.family() == AF_INET6) {
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    prepare_sending_socket(fd, local.family(), IpFragmentation::forbidden);
    leave_by(fd, local.family(), interface, true);
    set_socket_buffer(fd.get(), SO_SNDBUF, SO_SNDBUFFORCE, socket_buffer);
    set_option(fd.get(), SOL_SOCKET, SO_RCVBUF, 0); // the kernel's minimum: nobody reads it
    if (local.port() != 0) {
        set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (::bind(fd.get(), local.get(), local.size()) != 0) {
        error = errno;
        return FileDescriptor();
    }
    return fd;
}

std::uint32_t path_mtu(const FileDescriptor& socket, const SocketAddress& destination) noexcept
{
    const bool ipv4 = destination.family() == AF_INET;
    int mtu = 0;
    socklen_t length = sizeof(mtu);
    if (::connect(socket.get(), destination.get(), destination.size()) != 0 ||
        ::getsockopt(socket.get(), ipv4 ? IPPROTO_IP : IPPROTO_IPV6, ipv4 ? IP_MTU : IPV6_MTU, &mtu,
                     &length) != 0) {
        return 0;
    }
    return static_cast<std::uint32_t>(std::max(mtu, 0));
}

bool take_queued_error(const FileDescriptor& socket, QueuedError& error) noexcept
{
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
    if (::recvmsg(socket.get(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
        return false;
    }
    error = QueuedError{};
    SocketAddress::parse(&destination, sizeof(destination), error.destination); // or it stays empty
    for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
        if ((item->cmsg_level != IPPROTO_IP || item->cmsg_type != IP_RECVERR) &&
            (item->cmsg_level != IPPROTO_IPV6 || item->cmsg_type != IPV6_RECVERR)) {
            continue;
        }
        sock_extended_err detail{};
        std::memcpy(&detail, CMSG_DATA(item), sizeof(detail));
        error.error = static_cast<int>(detail.ee_errno);
        error.mtu = detail.ee_errno == EMSGSIZE ? detail.ee_info : 0;
        if (detail.ee_origin == SO_EE_ORIGIN_ICMP || detail.ee_origin == SO_EE_ORIGIN_ICMP6) {
            sockaddr_storage offender{};
            std::memcpy(&offender, CMSG_DATA(item) + sizeof(detail),
                        std::min(sizeof(offender), item->cmsg_len - CMSG_LEN(sizeof(detail))));
            SocketAddress::parse(&offender, sizeof(offender), error.offender);
        }
    }
    return true;
}

bool read_error_queue(const FileDescriptor& socket, SocketError& error) noexcept
{
    QueuedError queued;
    while (take_queued_error(socket, queued)) {
        if (classify(queued.error, error.kind) && !queued.destination.empty()) {
            error.destination = queued.destination;
            return true;
        }
    }
    return false;
}

} // namespace srd
