// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <net/if.h>

#include "io/rails/rails_io.hpp"
#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

namespace srd::test {

/// These addresses, all of veth0 of the namespace that the thread is in, as one endpoint. Port 0: any.
inline std::unique_ptr<PacketIo> make_rails(const std::vector<std::string>& addresses, std::uint16_t port,
                                            Counters& counters)
{
    std::vector<std::unique_ptr<PacketIo>> rails;
    for (const std::string& address : addresses) {
        UdpConfig config;
        config.local_address = make_address(address.c_str(), port);
        config.interface = ::if_nametoindex("veth0");
        config.max_routes = 64;
        std::unique_ptr<PacketIo> rail;
        std::string error;
        if (make_udp_io(config, counters, rail, error) != 0) {
            throw std::runtime_error(error);
        }
        port = rail->local_address().port();
        rails.push_back(std::move(rail));
    }
    int error = 0;
    return make_rails_io(std::move(rails), error);
}

/// Both addresses of a host's veth. Null without a network.
inline std::unique_ptr<PacketIo> make_rails_host(const NetWorld* world, unsigned host, Counters& counters)
{
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return nullptr;
    }
    const InsideNamespace inside(world->fd(host));
    return std::make_unique<NamespacedIo>(
        make_rails({NetWorld::address(host, false), NetWorld::address(host, true)}, 0, counters),
        world->fd(host));
}

} // namespace srd::test
