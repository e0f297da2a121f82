// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include "io/core/packet_io.hpp"

namespace srd::test {

/// What a backend in memory may leave out: it has no notices, nobody sleeps on it, it probes no peer, and
/// meets no strangers.
class QuietIo : public PacketIo {
public:
    const IoCaps& caps() const noexcept override { return caps_; }
    RouteId find(const SocketAddress&) const noexcept override { return no_id<RouteId>; }
    void reply(const SocketAddress&, std::span<const std::byte>) noexcept override {}
    std::uint32_t route_mtu(RouteId) const noexcept override { return caps_.max_packet; }
    std::size_t rx_burst(std::span<RxPacket>, Time) override { return 0; }
    void rx_release() noexcept override {}
    void probe_liveness(RouteId, LivenessProbe, Time) override {}
    std::size_t poll_notices(std::span<RouteNotice>, Time) override { return 0; }
    int wait_fd() const noexcept override { return -1; }
    bool arm_wait() override { return true; }
    void notify() noexcept override {}

protected:
    IoCaps caps_;
};

} // namespace srd::test
