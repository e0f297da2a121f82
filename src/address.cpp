// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>

#include <arpa/inet.h>

#include <srd/address.hpp>

namespace srd {

namespace {

template <typename Sockaddr>
Sockaddr load(std::span<const std::byte> bytes) noexcept
{
    Sockaddr value{};
    std::memcpy(&value, bytes.data(), sizeof(value));
    return value;
}

/// The host part, in network byte order.
template <typename Bytes>
auto host_of(Bytes& bytes, int family) noexcept
{
    return family == AF_INET ? std::span(bytes).subspan(offsetof(sockaddr_in, sin_addr), sizeof(in_addr))
                             : std::span(bytes).subspan(offsetof(sockaddr_in6, sin6_addr), sizeof(in6_addr));
}

static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
constexpr std::size_t port_offset = offsetof(sockaddr_in, sin_port);

} // namespace

bool SocketAddress::parse(const void* data, std::size_t size, SocketAddress& address) noexcept
{
    address = SocketAddress{};
    if (data == nullptr || size < sizeof(sa_family_t)) {
        return false;
    }
    const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), size);
    const auto family = load<sa_family_t>(bytes);
    if (family == AF_INET && size >= sizeof(sockaddr_in)) {
        auto value = load<sockaddr_in>(bytes);
        std::memset(value.sin_zero, 0, sizeof(value.sin_zero));
        std::memcpy(address.bytes_.data(), &value, sizeof(value));
        address.size_ = sizeof(value);
        return true;
    }
    if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
        auto value = load<sockaddr_in6>(bytes);
        value.sin6_flowinfo = 0;
        if (!IN6_IS_ADDR_LINKLOCAL(&value.sin6_addr)) {
            value.sin6_scope_id = 0;
        }
        std::memcpy(address.bytes_.data(), &value, sizeof(value));
        address.size_ = sizeof(value);
        return true;
    }
    return false;
}

SocketAddress SocketAddress::of_host(int family, std::span<const std::byte> host, std::uint16_t port) noexcept
{
    SocketAddress address;
    const bool ipv4 = family == AF_INET;
    const auto family_value = static_cast<sa_family_t>(family);
    std::memcpy(address.bytes_.data(), &family_value, sizeof(family_value));
    const std::span<std::byte> target = host_of(address.bytes_, family);
    if ((!ipv4 && family != AF_INET6) || host.size() < target.size()) {
        return {};
    }
    std::copy_n(host.begin(), target.size(), target.begin());
    address.size_ = ipv4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    address.set_port(port);
    return address;
}

SocketAddress SocketAddress::of_ipv4(std::uint32_t host, std::uint16_t port) noexcept
{
    const std::uint32_t bytes = htonl(host);
    return of_host(AF_INET, std::as_bytes(std::span(&bytes, 1)), port);
}

std::uint16_t SocketAddress::port() const noexcept
{
    return ntohs(load<std::uint16_t>(std::span(bytes_).subspan(port_offset)));
}

void SocketAddress::set_port(std::uint16_t port) noexcept
{
    const std::uint16_t value = htons(port);
    std::memcpy(bytes_.data() + port_offset, &value, sizeof(value));
}

bool SocketAddress::add_to_host(std::size_t count) noexcept
{
    const auto host = host_of(bytes_, family());
    for (std::size_t i = host.size(); i-- > 0 && count != 0;) {
        count += std::to_integer<std::size_t>(host[i]);
        host[i] = static_cast<std::byte>(count & 0xff);
        count >>= 8;
    }
    return count == 0;
}

bool SocketAddress::is_wildcard() const noexcept
{
    const auto host = host_of(bytes_, family());
    return std::all_of(host.begin(), host.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

bool SocketAddress::is_loopback() const noexcept
{
    if (family() == AF_INET) {
        return bytes_[offsetof(sockaddr_in, sin_addr)] == std::byte{127};
    }
    const auto value = load<sockaddr_in6>(bytes_);
    return IN6_IS_ADDR_LOOPBACK(&value.sin6_addr);
}

bool SocketAddress::is_link_local() const noexcept
{
    const auto value = load<sockaddr_in6>(bytes_);
    return family() == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&value.sin6_addr);
}

bool SocketAddress::is_unicast() const noexcept
{
    if (family() == AF_INET) {
        const std::uint32_t host = ntohl(load<sockaddr_in>(bytes_).sin_addr.s_addr);
        return host != INADDR_ANY && host != INADDR_BROADCAST && !IN_MULTICAST(host);
    }
    const auto value = load<sockaddr_in6>(bytes_);
    return !IN6_IS_ADDR_UNSPECIFIED(&value.sin6_addr) && !IN6_IS_ADDR_MULTICAST(&value.sin6_addr) &&
           !IN6_IS_ADDR_V4MAPPED(&value.sin6_addr);
}

std::uint32_t SocketAddress::scope_id() const noexcept
{
    return family() == AF_INET6 ? load<sockaddr_in6>(bytes_).sin6_scope_id : 0;
}

void SocketAddress::set_scope_id(std::uint32_t scope_id) noexcept
{
    if (is_link_local()) {
        std::memcpy(bytes_.data() + offsetof(sockaddr_in6, sin6_scope_id), &scope_id, sizeof(scope_id));
    }
}

bool SocketAddress::same_host(const SocketAddress& other) const noexcept
{
    if (size_ != other.size_) {
        return false;
    }
    const auto host = host_of(bytes_, family());
    const auto other_host = host_of(other.bytes_, family());
    return std::equal(host.begin(), host.end(), other_host.begin());
}

std::size_t SocketAddress::hash() const noexcept
{
    std::uint64_t value = 0x9e3779b97f4a7c15U;
    static_assert(sizeof(bytes_) % 4 == 0);
    for (std::size_t i = 0; i < bytes_.size(); i += 4) {
        value = (value ^ load<std::uint32_t>(std::span(bytes_).subspan(i))) * 0xff51afd7ed558ccdU;
        value ^= value >> 32;
    }
    return value;
}

std::string SocketAddress::host_text() const
{
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (size_ == 0 ||
        inet_ntop(family(), host_of(bytes_, family()).data(), text.data(), text.size()) == nullptr) {
        return "none";
    }
    std::string result(text.data());
    if (scope_id() != 0) {
        result.append("%").append(std::to_string(scope_id()));
    }
    return result;
}

std::string SocketAddress::text() const
{
    std::string result = host_text();
    if (family() == AF_INET6) {
        result.insert(result.begin(), '[');
        result.push_back(']');
    }
    return result.append(":").append(std::to_string(port()));
}

} // namespace srd
