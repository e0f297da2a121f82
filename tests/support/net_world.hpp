// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A network of two hosts inside the test: two namespaces joined by a veth pair.
// A thread is in one namespace at a time, so a backend that lives in one is
// entered for every call.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "io/packet_io.hpp"

namespace srd::test {

/// While it lives, this thread is in that network namespace.
class InsideNamespace {
public:
    explicit InsideNamespace(int fd);
    ~InsideNamespace();
    InsideNamespace(const InsideNamespace&) = delete;
    InsideNamespace& operator=(const InsideNamespace&) = delete;

private:
    int before_;
};

/// Hosts 0 and 1; their interface is "veth0", with two queues. Addresses 10.96.0.1 and .2,
/// fd96::1 and fd96::2.
class NetWorld {
public:
    /// nullptr, and the reason printed, where namespaces are not allowed or "ip" is missing.
    static std::unique_ptr<NetWorld> make(unsigned mtu);
    ~NetWorld();

    int fd(unsigned host) const { return hosts_[host]; }
    static const char* address(unsigned host, bool ipv6);
    /// Runs a shell command in a host; true if it succeeds.
    bool run(unsigned host, const std::string& command) const;

private:
    NetWorld() = default;
    std::array<int, 2> hosts_{-1, -1};
};

/// A backend that lives in a namespace.
class NamespacedIo final : public PacketIo {
public:
    NamespacedIo(std::unique_ptr<PacketIo> inner, int fd) : inner_(std::move(inner)), fd_(fd) {}
    ~NamespacedIo() override
    {
        const InsideNamespace inside(fd_);
        inner_.reset();
    }
    const IoCaps& caps() const noexcept override { return inner_->caps(); }
    std::span<const std::byte> local_address() const noexcept override { return inner_->local_address(); }
    Status resolve(std::span<const std::byte> address, RouteId& route) override
    {
        const InsideNamespace inside(fd_);
        return inner_->resolve(address, route);
    }
    std::span<const std::byte> route_address(RouteId route) const noexcept override
    {
        return inner_->route_address(route);
    }
    std::uint32_t route_mtu(RouteId route) const noexcept override { return inner_->route_mtu(route); }
    std::uint16_t route_paths(RouteId route) const noexcept override { return inner_->route_paths(route); }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        return inner_->rx_burst(packets, now);
    }
    void rx_release() noexcept override { inner_->rx_release(); }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        const InsideNamespace inside(fd_);
        return inner_->tx_burst(packets);
    }
    std::size_t tx_reap(std::span<DescId> descs) override { return inner_->tx_reap(descs); }
    void probe_liveness(RouteId route, Time now) override
    {
        const InsideNamespace inside(fd_);
        inner_->probe_liveness(route, now);
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override
    {
        return inner_->poll_notices(notices, now);
    }
    int wait_fd() const noexcept override { return inner_->wait_fd(); }
    bool arm_wait() override { return inner_->arm_wait(); }
    void notify() noexcept override { inner_->notify(); }

private:
    std::unique_ptr<PacketIo> inner_;
    int fd_;
};

} // namespace srd::test
