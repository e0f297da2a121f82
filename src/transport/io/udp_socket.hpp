// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the parts of the UDP backend share: descriptors that close themselves,
// socket addresses, the options that every sending socket needs, and the
// kernel's error queue. Linux only; nothing here keeps state of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>

#include "packet_io.hpp"

namespace srd {

/// A file descriptor with one owner.
class FileDescriptor {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept
    {
        std::swap(fd_, other.fd_);
        return *this;
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor();

    int get() const noexcept { return fd_; }
    bool valid() const noexcept { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/// An IPv4 or IPv6 address with a port, in the kernel's form. 28 bytes.
class UdpAddress {
public:
    UdpAddress() noexcept : in6_{} {}

    /// Reads a sockaddr_in or sockaddr_in6; false if the bytes are neither. Fields that do not name the
    /// endpoint (padding, flow information) are cleared, so that equal addresses are equal bytes.
    static bool parse(std::span<const std::byte> bytes, UdpAddress& address) noexcept;
    /// The address that `fd` is bound to; false if the kernel does not say.
    static bool of_socket(int fd, UdpAddress& address) noexcept;

    int family() const noexcept { return any_.sa_family; }
    socklen_t length() const noexcept { return family() == AF_INET ? sizeof(in4_) : sizeof(in6_); }
    std::uint16_t port() const noexcept;
    void set_port(std::uint16_t port) noexcept;
    std::uint32_t scope_id() const noexcept { return family() == AF_INET6 ? in6_.sin6_scope_id : 0; }
    void set_scope_id(std::uint32_t scope_id) noexcept;

    bool is_loopback() const noexcept;
    bool is_link_local() const noexcept;
    /// False for wildcard, multicast, broadcast and IPv4-mapped addresses: nobody can be bound to those.
    bool is_unicast() const noexcept;

    const sockaddr* raw() const noexcept { return &any_; }
    std::span<const std::byte> bytes() const noexcept;
    std::string text() const; ///< "192.0.2.1:7000", "[2001:db8::1]:7000"
    std::size_t hash() const noexcept;
    friend bool operator==(const UdpAddress& a, const UdpAddress& b) noexcept;

private:
    union {
        sockaddr any_;
        sockaddr_in in4_;
        sockaddr_in6 in6_;
    };
};

/// Sets an int-valued socket option; false if the kernel refuses.
bool set_option(int fd, int level, int name, int value) noexcept;

enum class Fragmentation : std::uint8_t { forbidden, allowed };

/// Options of every socket that sends: ECT(0), DF or not, an error queue, a non-blocking descriptor.
void prepare_sending_socket(int fd, int family, Fragmentation fragmentation) noexcept;

/// Asks for `wanted` bytes of SO_RCVBUF or SO_SNDBUF (`force_name`: the privileged variant).
/// Returns what the kernel granted, in the unit of the request.
std::uint32_t set_socket_buffer(int fd, int name, int force_name, std::uint32_t wanted) noexcept;

/// A socket bound to `local` that only sends, unfragmented; if it is not valid, `error` is errno.
FileDescriptor open_sending_socket(const UdpAddress& local, std::uint32_t socket_buffer, int& error);

/// IP header and UDP header, bytes.
constexpr std::uint32_t udp_overhead(int family) noexcept
{
    return family == AF_INET ? 28 : 48;
}

/// One entry of a socket's error queue: what happened to a datagram sent to `destination`.
struct SocketError {
    UdpAddress destination;
    RouteNotice::Kind kind{};
};

/// Takes the next meaningful entry from the error queue of `fd`; false if there is none.
bool read_error_queue(int fd, SocketError& error) noexcept;

} // namespace srd
