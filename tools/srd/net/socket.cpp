// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "net/socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/core/socket_options.hpp"
#include "io/udp/udp_socket.hpp"

namespace srd::tool {

namespace {

constexpr std::array<char, 8> magic{'s', 'r', 'd', '-', 'd', 'o', 'c', '1'};
constexpr std::size_t longest_line = 65536;

SocketAddress address_of(const sockaddr_storage& storage)
{
    SocketAddress address;
    SocketAddress::parse(&storage, sizeof(storage), address);
    return address;
}

template <typename T>
void put(std::byte* at, T value) noexcept
{
    std::memcpy(at, &value, sizeof(value)); // the machines that srd is for are little-endian
}

template <typename T>
T get(const std::byte* at) noexcept
{
    T value{};
    std::memcpy(&value, at, sizeof(value));
    return value;
}

void write_header(std::byte* at, const Datagram& datagram) noexcept
{
    std::memcpy(at, magic.data(), magic.size());
    put(at + 8, datagram.session);
    put(at + 16, datagram.number);
    put(at + 20, datagram.answer_size);
    put(at + 24, static_cast<std::uint8_t>(datagram.kind));
    put(at + 25, static_cast<std::uint8_t>(datagram.from_other));
}

bool read_header(const std::byte* at, std::size_t size, Datagram& datagram) noexcept
{
    if (size < datagram_header || std::memcmp(at, magic.data(), magic.size()) != 0) {
        return false;
    }
    const auto kind = get<std::uint8_t>(at + 24);
    datagram = {get<std::uint64_t>(at + 8), get<std::uint32_t>(at + 16), get<std::uint32_t>(at + 20),
                static_cast<Datagram::Kind>(kind), get<std::uint8_t>(at + 25) != 0};
    return kind <= static_cast<std::uint8_t>(Datagram::Kind::train);
}

/// The address of this host that a datagram was sent to.
void read_destination(msghdr& message, SocketAddress& to)
{
    const std::uint16_t port = to.port();
    for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
            in_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(item), sizeof(info));
            to = SocketAddress::of_host(AF_INET, std::as_bytes(std::span(&info.ipi_addr, 1)), port);
        } else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
            in6_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(item), sizeof(info));
            to = SocketAddress::of_host(AF_INET6, std::as_bytes(std::span(&info.ipi6_addr, 1)), port);
            if (to.is_link_local()) {
                to.set_scope_id(info.ipi6_ifindex);
            }
        }
    }
}

/// Has a datagram bear `from`.
template <typename Info>
void set_source(msghdr& message, std::span<char> control, int level, int type, const Info& info)
{
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(info));
    cmsghdr* const item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = CMSG_LEN(sizeof(info));
    std::memcpy(CMSG_DATA(item), &info, sizeof(info));
}

/// Takes the next ICMP error from a socket's error queue.
bool next_error(const FileDescriptor& socket, Rejection& rejection)
{
    QueuedError queued;
    if (!take_queued_error(socket, queued)) {
        return false;
    }
    rejection.error = queued.error;
    rejection.mtu = queued.mtu != 0 ? queued.mtu : rejection.mtu;
    rejection.by = queued.offender.empty() ? rejection.by : queued.offender;
    return true;
}

} // namespace

std::optional<HostName> split_host(const std::string& text)
{
    const std::size_t colon = text.rfind(':');
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string::npos) {
            return std::nullopt;
        }
        return HostName{text.substr(1, end - 1),
                        colon != std::string::npos && colon > end ? text.substr(colon + 1) : ""};
    }
    if (colon != std::string::npos && text.find(':') == colon) {
        return HostName{text.substr(0, colon), text.substr(colon + 1)};
    }
    return HostName{text, ""};
}

std::optional<SocketAddress> resolve_host(const std::string& text, std::uint16_t port, std::string& error)
{
    const auto name = split_host(text);
    if (!name) {
        error = "the bracket is not closed";
        return std::nullopt;
    }
    const std::string service = name->service.empty() ? std::to_string(port) : name->service;
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    if (const int code = ::getaddrinfo(name->host.c_str(), service.c_str(), &hints, &found); code != 0) {
        error = ::gai_strerror(code);
        return std::nullopt;
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    SocketAddress address;
    if (!SocketAddress::parse(found->ai_addr, found->ai_addrlen, address) || address.port() == 0) {
        error = "it has no usable address, or the port is none";
        return std::nullopt;
    }
    return address;
}

UdpPort UdpPort::open(const SocketAddress& local, bool shared, int& error)
{
    UdpPort made;
    made.socket_ = FileDescriptor(::socket(local.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int fd = made.socket_.get();
    // Never fragmented, whatever routers have said: what they say is seen in the error queue.
    if (local.family() == AF_INET) {
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
        set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
        set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    } else {
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
        set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    }
    set_socket_buffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, 4U << 20);
    if (shared) {
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (fd < 0 || ::bind(fd, local.get(), local.size()) != 0) {
        error = errno;
        made.socket_ = FileDescriptor();
        return made;
    }
    made.local_ = local_address(fd);
    return made;
}

int UdpPort::send(const SocketAddress& to, const Datagram& datagram, std::size_t size,
                  const SocketAddress& from) const
{
    std::vector<std::byte> bytes(std::max(size, datagram_header));
    write_header(bytes.data(), datagram);
    iovec iov{bytes.data(), bytes.size()};
    msghdr message{};
    SocketAddress target = to;
    message.msg_name = const_cast<sockaddr*>(target.get());
    message.msg_namelen = target.size();
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, 64> control{};
    if (!from.empty() && from.family() == AF_INET) {
        in_pktinfo info{};
        std::memcpy(&info.ipi_spec_dst, from.host().data(), sizeof(info.ipi_spec_dst));
        set_source(message, control, IPPROTO_IP, IP_PKTINFO, info);
    } else if (!from.empty()) {
        in6_pktinfo info{};
        std::memcpy(&info.ipi6_addr, from.host().data(), sizeof(info.ipi6_addr));
        set_source(message, control, IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
    // An error of an earlier datagram is reported by the next call, and not that one's.
    for (int attempt = 0; attempt < 3; ++attempt) {
        if (::sendmsg(socket_.get(), &message, 0) >= 0) {
            return 0;
        }
        if (errno == EPERM || errno == EMSGSIZE || errno == EAGAIN) {
            break;
        }
    }
    return errno;
}

std::optional<Arrival> UdpPort::receive(bool& any)
{
    std::array<std::byte, 65536>
        bytes; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by the kernel
    alignas(cmsghdr) std::array<char, 256> control{};
    sockaddr_storage from{};
    iovec iov{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof(from);
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(socket_.get(), &message, 0);
    any = count >= 0;
    if (count < 0) {
        any = errno != EAGAIN;
        read_errors();
        return std::nullopt;
    }
    Arrival arrival{{}, static_cast<std::size_t>(count), address_of(from), local_};
    read_destination(message, arrival.to);
    return read_header(bytes.data(), arrival.size, arrival.datagram) ? std::optional(arrival) : std::nullopt;
}

void UdpPort::read_errors()
{
    while (next_error(socket_, rejection_)) {
    }
}

bool wait_readable(const std::vector<int>& fds, milliseconds patience)
{
    std::vector<pollfd> polled;
    polled.reserve(fds.size());
    for (const int fd : fds) {
        polled.push_back({fd, POLLIN, 0});
    }
    return ::poll(polled.data(), polled.size(),
                  static_cast<int>(std::max(patience, milliseconds(0)).count())) > 0;
}

TcpAttempt connect_tcp(const SocketAddress& to, const SocketAddress& local, milliseconds patience)
{
    TcpAttempt attempt;
    FileDescriptor socket(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    // So that an ICMP error tells who sent it: a reset is no ICMP error.
    set_option(socket.get(), to.family() == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
               to.family() == AF_INET ? IP_RECVERR : IPV6_RECVERR, 1);
    if (!local.empty()) {
        set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
        if (::bind(socket.get(), local.get(), local.size()) != 0) {
            attempt.rejection.error = errno;
            return attempt;
        }
    }
    int error = ::connect(socket.get(), to.get(), to.size()) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        pollfd polled{socket.get(), POLLOUT, 0};
        if (::poll(&polled, 1, static_cast<int>(patience.count())) <= 0) {
            error = ETIMEDOUT;
        } else {
            socklen_t length = sizeof(error);
            ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
        }
    }
    if (error == 0) {
        set_option(socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
        attempt.socket = std::move(socket);
        return attempt;
    }
    while (next_error(socket, attempt.rejection)) {
    }
    attempt.rejection.error = error;
    return attempt;
}

SocketAddress wildcard_address(int family, std::uint16_t port)
{
    const std::array<std::byte, 16> zero{};
    return SocketAddress::of_host(family, std::span(zero).first(family == AF_INET ? 4 : 16), port);
}

FileDescriptor listen_tcp(const SocketAddress& local, int& error)
{
    FileDescriptor socket(::socket(local.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (local.family() == AF_INET6) {
        set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(socket.get(), local.get(), local.size()) == 0 && ::listen(socket.get(), 16) == 0) {
        return socket;
    }
    error = errno;
    return {};
}

SocketAddress local_address(int fd)
{
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    return ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0 ? address_of(storage)
                                                                                  : SocketAddress();
}

SocketAddress peer_address(int fd)
{
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    return ::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length) == 0 ? address_of(storage)
                                                                                  : SocketAddress();
}

bool LineChannel::send(const nlohmann::json& message)
{
    const std::string line = message.dump() + '\n';
    return ::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(line.size());
}

std::optional<nlohmann::json> LineChannel::receive(milliseconds patience)
{
    const Clock::time_point end = Clock::now() + patience;
    std::size_t newline = pending_.find('\n');
    while (newline == std::string::npos) {
        const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
        std::array<char, 4096> piece{};
        if (left.count() < 0 || pending_.size() > longest_line || !wait_readable({socket_.get()}, left)) {
            return std::nullopt;
        }
        const ssize_t count = ::recv(socket_.get(), piece.data(), piece.size(), 0);
        if (count <= 0) {
            return std::nullopt;
        }
        pending_.append(piece.data(), static_cast<std::size_t>(count));
        newline = pending_.find('\n');
    }
    nlohmann::json message = nlohmann::json::parse(pending_.substr(0, newline), nullptr, false);
    pending_.erase(0, newline + 1);
    return message.is_object() ? std::optional(std::move(message)) : std::nullopt;
}

} // namespace srd::tool
