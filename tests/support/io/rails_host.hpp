// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <net/if.h>

#include "io/rails/rails_io.hpp"
#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

namespace srd::test {

/// Both addresses of a host's veth at one port, as one endpoint. Null without a network.
inline std::unique_ptr<PacketIo> make_rails_host(const NetWorld* world, unsigned host, Counters& counters)
{
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return nullptr;
    }
    const InsideNamespace inside(world->fd(host));
    std::vector<std::unique_ptr<PacketIo>> rails;
    std::uint16_t port = 0;
    for (const bool ipv6 : {false, true}) {
        UdpConfig config;
        config.local_address = make_address(NetWorld::address(host, ipv6), port);
        config.interface = ::if_nametoindex("veth0");
        config.max_routes = 64;
        std::unique_ptr<PacketIo> io;
        std::string error;
        REQUIRE(make_udp_io(config, counters, io, error) == 0);
        port = io->local_address().port();
        rails.push_back(std::move(io));
    }
    int error = 0;
    return std::make_unique<NamespacedIo>(make_rails_io(std::move(rails), error), world->fd(host));
}

} // namespace srd::test
