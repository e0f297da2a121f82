// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// An IPv4 or IPv6 socket address as a value. Equal addresses have equal bytes:
// padding, flow information and scope ids that mean nothing are zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>

namespace srd {

class SocketAddress {
public:
    SocketAddress() = default;

    /// Takes `size` bytes that hold a sockaddr_in or sockaddr_in6. False: neither, or too short.
    static bool parse(const void* data, std::size_t size, SocketAddress& address) noexcept;
    static bool parse(std::span<const std::byte> bytes, SocketAddress& address) noexcept
    {
        return parse(bytes.data(), bytes.size(), address);
    }

    /// The IPv4 or IPv6 address of these 4 or 16 bytes, in network byte order; empty if they are fewer.
    static SocketAddress of_host(int family, std::span<const std::byte> host,
                                 std::uint16_t port = 0) noexcept;
    static SocketAddress of_ipv4(std::uint32_t host, std::uint16_t port) noexcept; ///< host byte order

    int family() const noexcept
    {
        sa_family_t value{};
        std::memcpy(&value, bytes_.data(), sizeof(value));
        return value;
    }
    socklen_t size() const noexcept { return size_; } ///< of the socket address, bytes; 0: empty
    bool empty() const noexcept { return size_ == 0; }
    const sockaddr* get() const noexcept
    {
        return static_cast<const sockaddr*>(static_cast<const void*>(bytes_.data()));
    }
    std::span<const std::byte> bytes() const noexcept { return {bytes_.data(), size_}; }
    /// The IP address alone, 4 or 16 bytes.
    std::span<const std::byte> host() const noexcept
    {
        return family() == AF_INET ? bytes().subspan(offsetof(sockaddr_in, sin_addr), sizeof(in_addr))
                                   : bytes().subspan(offsetof(sockaddr_in6, sin6_addr), sizeof(in6_addr));
    }

    std::uint16_t port() const noexcept; ///< host byte order
    void set_port(std::uint16_t port) noexcept;
    /// Treating the host part as a big-endian number, adds `count`. False: it would wrap.
    bool add_to_host(std::size_t count) noexcept;
    bool is_wildcard() const noexcept; ///< 0.0.0.0 or ::
    bool is_loopback() const noexcept;
    bool is_link_local() const noexcept; ///< of IPv6
    /// False for wildcard, multicast, broadcast and IPv4-mapped addresses: nobody can be bound to those.
    bool is_unicast() const noexcept;
    std::uint32_t scope_id() const noexcept; ///< the interface of a link-local address; 0: none given
    void set_scope_id(std::uint32_t scope_id) noexcept; ///< of a link-local address
    bool same_host(const SocketAddress& other) const noexcept;

    std::size_t hash() const noexcept;
    std::string host_text() const; ///< "192.0.2.1", "2001:db8::1" or "fe80::1%2"
    std::string text() const;      ///< with the port: "192.0.2.1:7000", "[2001:db8::1]:7000"

    friend bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept
    {
        return a.size_ == b.size_ && a.bytes_ == b.bytes_;
    }

private:
    alignas(4) std::array<std::byte, sizeof(sockaddr_in6)> bytes_{};
    std::uint8_t size_ = 0;
};

} // namespace srd
