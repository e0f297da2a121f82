// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A network of two hosts inside the test: two namespaces joined by a veth pair.
// A thread is in one namespace at a time, so a backend that lives in one is
// entered for every call.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "io/core/forwarding_io.hpp"

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
class NamespacedIo final : public ForwardingIo {
public:
    NamespacedIo(std::unique_ptr<PacketIo> inner, int fd) : ForwardingIo(std::move(inner)), fd_(fd) {}
    ~NamespacedIo() override
    {
        const InsideNamespace inside(fd_);
        end_inner();
    }
    Status resolve(const SocketAddress& address, RouteId& route) override
    {
        const InsideNamespace inside(fd_);
        return inner().resolve(address, route);
    }
    std::size_t tx_burst(std::span<const TxPacket> packets) override
    {
        const InsideNamespace inside(fd_);
        return inner().tx_burst(packets);
    }
    void probe_liveness(RouteId route, LivenessProbe probe, Time now) override
    {
        const InsideNamespace inside(fd_);
        inner().probe_liveness(route, probe, now);
    }

private:
    int fd_;
};

} // namespace srd::test
