// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <memory>
#include <utility>

#include "io/core/packet_io.hpp"

namespace srd {

/// A forwarding decorator: it owns another PacketIo and passes every call on to it. A derived class overrides
/// what it does differently.
class ForwardingIo : public PacketIo {
public:
    explicit ForwardingIo(std::unique_ptr<PacketIo> inner) noexcept : inner_(std::move(inner)) {}

    PacketIo& inner() const noexcept { return *inner_; }

    const IoCaps& caps() const noexcept override { return inner_->caps(); }
    const SocketAddress& local_address() const noexcept override { return inner_->local_address(); }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        return inner_->resolve(address, route);
    }
    bool forget_route(RouteId route) noexcept override { return inner_->forget_route(route); }
    std::uint16_t set_peer_rails(RouteId route, std::span<const std::byte> rails) noexcept override
    {
        return inner_->set_peer_rails(route, rails);
    }
    RouteId find(const SocketAddress& address) const noexcept override { return inner_->find(address); }
    void reply(const SocketAddress& address, std::span<const std::byte> packet) noexcept override
    {
        inner_->reply(address, packet);
    }
    const SocketAddress& route_address(RouteId route) const noexcept override
    {
        return inner_->route_address(route);
    }
    std::uint32_t route_mtu(RouteId route) const noexcept override { return inner_->route_mtu(route); }
    bool on_this_host(RouteId route) const noexcept override { return inner_->on_this_host(route); }
    std::uint16_t route_paths(RouteId route) const noexcept override { return inner_->route_paths(route); }
    std::size_t rx_burst(std::span<RxPacket> packets, Time now) override
    {
        return inner_->rx_burst(packets, now);
    }
    void rx_release() noexcept override { inner_->rx_release(); }
    std::size_t tx_burst(std::span<const TxPacket> packets) override { return inner_->tx_burst(packets); }
    void revoke() noexcept override { inner_->revoke(); }
    void probe_liveness(RouteId route, LivenessProbe probe, Time now) override
    {
        inner_->probe_liveness(route, probe, now);
    }
    std::size_t poll_notices(std::span<RouteNotice> notices, Time now) override
    {
        return inner_->poll_notices(notices, now);
    }
    int wait_fd() const noexcept override { return inner_->wait_fd(); }
    bool arm_wait() override { return inner_->arm_wait(); }
    void notify() noexcept override { inner_->notify(); }

protected:
    /// Destroys it now, in a destructor that prepares something for that.
    void end_inner() noexcept { inner_.reset(); }

private:
    std::unique_ptr<PacketIo> inner_;
};

} // namespace srd
