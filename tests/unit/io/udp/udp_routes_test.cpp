// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the UDP backend knows about the way to a peer: is it this host, and how long a packet may be.
#include <memory>
#include <string>
#include <vector>

#include "io/udp/udp_io.hpp"
#include "progress.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr unsigned mtu = 1500;

/// An endpoint of host 0 and its routes, made and asked in that host's namespace.
struct End {
    explicit End(const NetWorld& world, bool ipv6) : ns(world.fd(0))
    {
        const InsideNamespace inside(ns);
        opened = open_udp(make_address(NetWorld::address(0, ipv6)));
        REQUIRE(opened->code == 0);
    }
    ~End()
    {
        const InsideNamespace inside(ns);
        opened.reset();
    }

    RouteId to(const char* text) const
    {
        const InsideNamespace inside(ns);
        RouteId route{};
        REQUIRE(opened->io->resolve(make_address(text, 7000), route) == Status::ok);
        return route;
    }

    int ns;
    std::unique_ptr<Opened> opened;
};

} // namespace

TEST_CASE("udp: packets to other hosts are spread where any address can be bound (ip_nonlocal_bind)")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    if (!world->run(0, "echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind && "
                       "echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind")) {
        WARN("SKIPPED: ip_nonlocal_bind cannot be set here");
        return;
    }
    for (const bool ipv6 : {false, true}) {
        INFO((ipv6 ? "IPv6" : "IPv4"));
        const End end(*world, ipv6);
        const RouteId other = end.to(NetWorld::address(1, ipv6));
        CHECK(end.opened->io->route_paths(other) == end.opened->io->caps().path_count);
        CHECK(end.opened->io->route_paths(other) > 1);
        CHECK(end.opened->io->route_paths(end.to(NetWorld::address(0, ipv6))) == 1);
    }
}

TEST_CASE("udp: a route's packet size is the link's, or what the route allows")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    REQUIRE(world->run(0, "ip route add 10.97.0.0/24 via 10.96.0.2 && "
                          "ip route add 10.98.0.0/24 via 10.96.0.2 mtu 1300 && "
                          "ip -6 route add fd97::/64 via fd96::2 && "
                          "ip -6 route add fd98::/64 via fd96::2 mtu 1300"));
    for (const bool ipv6 : {false, true}) {
        INFO((ipv6 ? "IPv6" : "IPv4"));
        const End end(*world, ipv6);
        const PacketIo& io = *end.opened->io;
        const std::uint32_t headers = ipv6 ? 48 : 28;
        CHECK(io.route_mtu(end.to(NetWorld::address(1, ipv6))) == mtu - headers);
        CHECK(io.route_mtu(end.to(ipv6 ? "fd97::1" : "10.97.0.1")) == mtu - headers);
        CHECK(io.route_mtu(end.to(ipv6 ? "fd98::1" : "10.98.0.1")) == 1300 - headers);
        CHECK(io.route_mtu(end.to(NetWorld::address(0, ipv6))) == io.caps().max_packet - (ipv6 ? 19 : 0));
        const InsideNamespace inside(end.ns);
        RouteId route{};
        CHECK(end.opened->io->resolve(make_address(ipv6 ? "2001:db8::1" : "192.0.2.1", 7000), route) ==
              Status::unreachable);
    }
}

TEST_CASE("udp: an endpoint reaches itself though its interface is down, and others when that is over")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    // The kernel itself says so only of an IPv4 address that belongs to no interface in particular.
    for (const bool ipv6 : {false, true}) {
        INFO((ipv6 ? "IPv6" : "IPv4"));
        const End end(*world, ipv6);
        PacketIo& io = *end.opened->io;
        REQUIRE(world->run(0, "ip link set veth0 down"));
        const InsideNamespace inside(end.ns);
        RouteId itself{};
        REQUIRE(io.resolve(io.local_address(), itself) == Status::ok);
        CHECK(io.on_this_host(itself));
        CHECK(io.route_mtu(itself) == io.caps().max_packet - (ipv6 ? 20 : 0)); // 65535 bytes of IP
        const SocketAddress far = make_address(NetWorld::address(1, ipv6), 7000);
        RouteId other{};
        CHECK(io.resolve(far, other) == Status::unreachable);
        // An interface that goes down loses its IPv6 addresses.
        REQUIRE(world->run(0, "ip link set veth0 up && ip -6 addr replace fd96::1/64 dev veth0 nodad"));
        REQUIRE(io.resolve(far, other) == Status::ok);
        CHECK(io.route_mtu(other) == mtu - (ipv6 ? 48 : 28));
        CHECK_FALSE(io.on_this_host(other));
    }
}

TEST_CASE("udp: a route gets the MTU that the link has now, not that of an earlier route")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    for (const bool ipv6 : {false, true}) {
        INFO((ipv6 ? "IPv6" : "IPv4"));
        REQUIRE(world->run(0, "ip link set veth0 mtu 1500"));
        const End end(*world, ipv6);
        const PacketIo& io = *end.opened->io;
        const std::uint32_t headers = ipv6 ? 48 : 28;
        CHECK(io.route_mtu(end.to(ipv6 ? "fd96::2" : "10.96.0.2")) == mtu - headers);
        REQUIRE(world->run(0, "ip link set veth0 mtu 1400"));
        CHECK(io.route_mtu(end.to(ipv6 ? "fd96::3" : "10.96.0.3")) == 1400 - headers);
    }
}

TEST_CASE("udp: a route's packets leave room for the headers that the kernel puts before them")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    constexpr std::uint32_t segments = 40 + 24; // an IPv6 header, and a routing header with one address
    for (const bool ipv6 : {false, true}) {
        const std::string there = ipv6 ? "ip -6 route replace fd98::/64" : "ip route replace 10.98.0.0/24";
        for (const std::uint8_t path : {std::uint8_t{0}, std::uint8_t{5}}) {
            for (const std::size_t burst : {std::size_t{1}, std::size_t{8}}) {
                INFO((ipv6 ? "IPv6" : "IPv4") << ", path " << int(path) << ", packets " << burst);
                REQUIRE(world->run(0, there + " dev veth0"));
                const End end(*world, ipv6);
                PacketIo& io = *end.opened->io;
                const std::uint32_t full = mtu - (ipv6 ? 48 : 28);
                const RouteId route = end.to(ipv6 ? "fd98::1" : "10.98.0.1");
                REQUIRE(io.route_mtu(route) == full);
                if (!world->run(0, there + " encap seg6 mode encap segs fd96::2 dev veth0")) {
                    WARN("SKIPPED: routes with segments cannot be set here");
                    return;
                }
                CHECK(io.route_mtu(end.to(ipv6 ? "fd98::2" : "10.98.0.2")) == full - segments);
                const InsideNamespace inside(end.ns);
                TestPacket packet(1, full);
                const std::vector<TxPacket> sent(burst, packet.to(route, PathId{path}));
                CHECK(io.tx_burst(sent) == burst);
                std::array<RouteNotice, 8> notices;
                CHECK(io.poll_notices(notices, clock_now()) == 1);
                CHECK(io.route_mtu(route) == full - segments);
                CHECK(io.poll_notices(notices, clock_now()) == 0);
            }
        }
    }
}

TEST_CASE("udp: a smaller MTU further along the path is noticed, and given up with its cause")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    if (!world->run(1, "echo 1 > /proc/sys/net/ipv4/ip_forward && "
                       "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")) {
        WARN("SKIPPED: forwarding cannot be switched on here");
        return;
    }
    REQUIRE(world->run(1, "ip link add far0 mtu 1400 type veth peer name far1 mtu 1400 && "
                          "ip link set far1 up && ip link set far0 up && "
                          "ip addr add 10.99.0.1/24 dev far0 && ip addr add fd99::1/64 dev far0 nodad"));
    REQUIRE(world->run(0, "ip route add 10.99.0.0/24 via 10.96.0.2 && "
                          "ip -6 route add fd99::/64 via fd96::2"));
    for (const bool ipv6 : {false, true}) {
        INFO((ipv6 ? "IPv6" : "IPv4"));
        const End end(*world, ipv6);
        PacketIo& io = *end.opened->io;
        const std::uint32_t headers = ipv6 ? 48 : 28;
        const RouteId far = end.to(ipv6 ? "fd99::77" : "10.99.0.77");
        REQUIRE(io.route_mtu(far) == mtu - headers);
        const InsideNamespace inside(end.ns);
        TestPacket packet(1, mtu - headers);
        const TxPacket sent = packet.to(far, PathId{0});
        CHECK(noticed(io, far, RouteNotice::Kind::mtu_changed, [&] { io.tx_burst({&sent, 1}); }));
        CHECK(io.route_mtu(far) == 1400 - headers);

        const auto notices_after = [&](Duration time) {
            std::array<RouteNotice, 8> notices;
            return io.poll_notices(notices, clock_now() + time);
        };
        CHECK(notices_after(std::chrono::minutes(2)) == 0);
        CHECK(io.route_mtu(far) == 1400 - headers);
        REQUIRE(world->run(0, ipv6 ? "ip -6 route flush cache" : "ip route flush cache"));
        CHECK(notices_after(std::chrono::minutes(2)) == 0); // not due
        CHECK(notices_after(std::chrono::minutes(4)) == 1);
        CHECK(io.route_mtu(far) == mtu - headers);
    }
}

TEST_CASE("udp: a device whose queue is full holds up no packets that leave by another")
{
    const auto world = NetWorld::make(mtu);
    if (world == nullptr) {
        return;
    }
    if (!world->run(0, "ip link add full0 type veth peer name full1 && ip link set full0 up && "
                       "ip link set full1 up && ip addr add 10.99.0.1/24 dev full0 && "
                       "ip neigh add 10.99.0.77 lladdr 02:00:00:00:00:77 dev full0 && "
                       "tc qdisc add dev full0 root tbf rate 1kbit burst 100 limit 100")) {
        WARN("SKIPPED: the queue of a device cannot be limited here (tc)");
        return;
    }
    const End end(*world, false);
    const RouteId full = end.to("10.99.0.77");
    const RouteId free = end.to(NetWorld::address(1, false));
    const InsideNamespace inside(end.ns);
    TestPacket packet(1, 600);
    std::vector<TxPacket> burst;
    for (const RouteId route : {full, full, free, full, free}) {
        burst.push_back(packet.to(route, PathId{0}));
    }
    CHECK(send_burst(*end.opened->io, burst) == 2);
    CHECK(burst[0].route == free);
    CHECK(burst[1].route == free);
}
