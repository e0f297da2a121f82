// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The way to an address as the kernel tells it, in a network that the test makes.
#include <cerrno>

#include <net/if.h>

#include "io/host/route_query.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

SocketAddress host(const char* text)
{
    return make_address(text);
}

} // namespace

TEST_CASE("route query: a neighbour, a router, this host, and nobody")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        return;
    }
    REQUIRE(world->run(0, "ip route add 10.97.0.0/24 via 10.96.0.2 && "
                          "ip -6 route add fd97::/64 via fd96::2 && "
                          "ip route add 10.98.0.0/24 via inet6 fd96::2 dev veth0 && "
                          "ip route add blackhole 10.99.0.0/24 && ip -6 route add blackhole fd99::/64"));
    const InsideNamespace inside(world->fd(0));
    const unsigned veth = ::if_nametoindex("veth0");
    RouteQuery query;
    REQUIRE(query.open() == 0);
    HostRoute route;
    struct Family {
        const char *own, *neighbour, *behind, *nowhere, *hole, *loopback;
    };
    for (const Family& at :
         {Family{"10.96.0.1", "10.96.0.2", "10.97.0.1", "192.0.2.1", "10.99.0.1", "127.0.0.9"},
          Family{"fd96::1", "fd96::2", "fd97::1", "2001:db8::1", "fd99::1", "::1"}}) {
        INFO(at.own);
        for (const SocketAddress& source : {SocketAddress(), host(at.own)}) {
            REQUIRE(query.find(host(at.neighbour), source, route) == 0);
            CHECK_FALSE(route.to_this_host);
            CHECK(route.interface == veth);
            CHECK(route.next_hop == host(at.neighbour));
            CHECK((!source.empty() || route.source == host(at.own)));

            REQUIRE(query.find(host(at.behind), source, route) == 0);
            CHECK(route.next_hop == host(at.neighbour));

            REQUIRE(query.find(host(at.own), source, route) == 0);
            CHECK(route.to_this_host);
            CHECK(route.interface == ::if_nametoindex("lo"));

            CHECK(query.find(host(at.nowhere), source, route) != 0);
            CHECK(query.find(host(at.hole), source, route) != 0);
        }
        CHECK(is_host_address(host(at.loopback)));
        CHECK(is_host_address(make_address(at.own, 7000)));
        CHECK_FALSE(is_host_address(host(at.neighbour)));
        CHECK(source_towards(make_address(at.behind, 7000)) == host(at.own));
        CHECK(source_towards(host(at.own)) == host(at.own));
        CHECK(source_towards(host(at.nowhere)).empty());
    }
    REQUIRE(query.find(host("10.98.0.1"), {}, route) == 0);
    CHECK(route.next_hop == host("fd96::2"));
}

TEST_CASE("route query: a link-local address is found on its own link, and nowhere without one")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        return;
    }
    const InsideNamespace inside(world->fd(0));
    RouteQuery query;
    REQUIRE(query.open() == 0);
    HostRoute route;
    SocketAddress peer = host("fe80::77");
    CHECK(query.find(peer, {}, route) == EINVAL);
    CHECK(source_towards(peer).empty());
    CHECK_FALSE(is_host_address(peer));
    peer.set_scope_id(::if_nametoindex("veth0"));
    CHECK(query.find(peer, {}, route) == 0);
    CHECK(route.interface == ::if_nametoindex("veth0"));
}

TEST_CASE("route query: an address that could be bound is not yet this host's (ip_nonlocal_bind)")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        return;
    }
    if (!world->run(0, "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind")) {
        WARN("SKIPPED: ip_nonlocal_bind cannot be set here");
        return;
    }
    const InsideNamespace inside(world->fd(0));
    CHECK_FALSE(is_host_address(host("10.96.0.2")));
    CHECK_FALSE(is_host_address(host("10.96.0.77")));
    CHECK(is_host_address(host("10.96.0.1")));
}

TEST_CASE("route query: interfaces of default routes")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        return;
    }
    const InsideNamespace inside(world->fd(0));
    const unsigned veth = ::if_nametoindex("veth0");
    CHECK(default_route_interfaces().empty());
    for (const char* route : {"ip route add default via 10.96.0.2", "ip -6 route add default via fd96::2",
                              "ip route add default nexthop via 10.96.0.2 nexthop via 10.96.0.3"}) {
        INFO(route);
        REQUIRE(world->run(0, route));
        CHECK(default_route_interfaces() == std::set<unsigned>{veth});
        REQUIRE(world->run(0, "ip route flush default; ip -6 route flush default; true"));
    }
    REQUIRE(
        world->run(0, "ip route add default via 10.96.0.2 table 100 && ip route add 0.0.0.0/1 dev veth0"));
    CHECK(default_route_interfaces().empty());
}
