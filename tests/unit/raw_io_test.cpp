// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What the raw backends do beside the kernel and with it. Needs root for namespaces; where there are
// none, the cases say so and end.
#include <array>
#include <fstream>
#include <set>
#include <sstream>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <srd/counters.hpp>

#include "io/file_descriptor.hpp"
#include "io/packet_ring_io.hpp"
#include "io/raw_frame.hpp"
#ifdef SRD_HAVE_XDP
#include "io/xdp_io.hpp"
#endif

#include "support/catch.hpp"
#include "support/io_harness.hpp"
#include "support/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

NetWorld* world()
{
    static const std::unique_ptr<NetWorld> instance = NetWorld::make(1500);
    return instance.get();
}

enum class Kind { packet, xdp_native, xdp_generic, udp };

const char* name_of(Kind kind)
{
    constexpr std::array<const char*, 4> names{"packet", "xdp native", "xdp generic", "udp"};
    return names[static_cast<std::size_t>(kind)];
}

const std::vector<Kind>& raw_kinds()
{
#ifdef SRD_HAVE_XDP
    static const std::vector<Kind> kinds{Kind::packet, Kind::xdp_native, Kind::xdp_generic};
#else
    static const std::vector<Kind> kinds{Kind::packet};
#endif
    return kinds;
}

struct Endpoint {
    Counters counters;
    std::string error;
    int code = 0;
    std::unique_ptr<PacketIo> io;
};

int make(Kind kind, RawConfig raw, Counters& counters, std::unique_ptr<PacketIo>& io, std::string& error)
{
    if (kind == Kind::udp) {
        UdpConfig udp;
        udp.local_address = raw.local_address;
        udp.max_routes = raw.max_routes;
        return make_udp_io(udp, counters, io, error);
    }
#ifdef SRD_HAVE_XDP
    if (kind != Kind::packet) {
        XdpConfig xdp;
        static_cast<RawConfig&>(xdp) = std::move(raw);
        xdp.mode = kind == Kind::xdp_native ? XdpMode::native : XdpMode::generic;
        xdp.queue_count = 1;
        return make_xdp_io(xdp, counters, io, error);
    }
#endif
    return make_packet_io(raw, counters, io, error);
}

std::unique_ptr<Endpoint> open_at(Kind kind, unsigned host, const char* interface = "veth0",
                                  std::uint16_t port = 0)
{
    auto endpoint = std::make_unique<Endpoint>();
    RawConfig config;
    config.interface = interface;
    config.local_address = make_address(NetWorld::address(host, false), port);
    config.max_routes = 64;
    config.ring_bytes = 2U << 20;
    const InsideNamespace inside(world()->fd(host));
    std::unique_ptr<PacketIo> io;
    endpoint->code = make(kind, config, endpoint->counters, io, endpoint->error);
    if (endpoint->code == 0) {
        endpoint->io = std::make_unique<NamespacedIo>(std::move(io), world()->fd(host));
    }
    return endpoint;
}

RouteId route_to(PacketIo& from, PacketIo& to)
{
    RouteId route{};
    REQUIRE(from.resolve(to.local_address(), route) == Status::ok);
    return route;
}

/// Sends packets of that length until one arrives; false after ten seconds.
bool reaches(PacketIo& from, RouteId route, PacketIo& to, std::size_t length = 200)
{
    TestPacket source(1, length);
    return eventually([&] {
        const TxPacket packet = source.to(route, PathId{0});
        from.tx_burst({&packet, 1});
        std::array<RxPacket, 16> packets;
        std::size_t good = 0;
        for (int i = 0; i < 100 && good == 0; ++i) {
            std::array<RouteNotice, 4> notices;
            from.poll_notices(notices, clock_now());
            const std::size_t count = to.rx_burst(packets, clock_now());
            for (const RxPacket& arrived : std::span(packets).first(count)) {
                good += TestPacket::number_of(arrived) == 1 && arrived.length == length ? 1 : 0;
            }
            if (count != 0) {
                to.rx_release();
            }
        }
        return good != 0;
    });
}

/// The value of a host's UDP statistic, as in /proc/net/snmp.
std::uint64_t kernel_udp(unsigned host, const std::string& field)
{
    const InsideNamespace inside(world()->fd(host));
    std::ifstream file("/proc/thread-self/net/snmp");
    std::string names, values;
    while (std::getline(file, names) && std::getline(file, values)) {
        std::istringstream name(names), value(values);
        std::string n, v;
        while (name >> n && value >> v) {
            if (names.starts_with("Udp:") && n == field) {
                return std::stoull(v);
            }
        }
    }
    FAIL("no such statistic: " << field);
    return 0;
}

bool skipped()
{
    if (world() == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return true;
    }
    return false;
}

} // namespace

TEST_CASE("raw: once the neighbour is known, packets pass the kernel's stack by in both directions")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1);
            INFO(a->error << b->error);
            REQUIRE(a->io != nullptr);
            REQUIRE(b->io != nullptr);
            const RouteId route = route_to(*a->io, *b->io);
            REQUIRE(reaches(*a->io, route, *b->io));
            std::array<RouteNotice, 4> notices;
            REQUIRE(eventually([&] {
                const std::uint64_t sent = kernel_udp(0, "OutDatagrams");
                const std::uint64_t received = kernel_udp(1, "InDatagrams");
                for (int i = 0; i < 20; ++i) {
                    a->io->poll_notices(notices, clock_now());
                    REQUIRE(reaches(*a->io, route, *b->io));
                }
                return kernel_udp(0, "OutDatagrams") == sent && kernel_udp(1, "InDatagrams") == received;
            }));
        }
    }
}

TEST_CASE("raw: each backend understands the others and the kernel's own sockets")
{
    if (skipped()) {
        return;
    }
    std::vector<Kind> kinds = raw_kinds();
    kinds.push_back(Kind::udp);
    for (const Kind left : kinds) {
        for (const Kind right : kinds) {
            DYNAMIC_SECTION(name_of(left) << " and " << name_of(right))
            {
                const auto a = open_at(left, 0);
                const auto b = open_at(right, 1);
                INFO(a->error << b->error);
                REQUIRE(a->io != nullptr);
                REQUIRE(b->io != nullptr);
                const RouteId there = route_to(*a->io, *b->io);
                const RouteId back = route_to(*b->io, *a->io);
                for (const std::size_t length : {std::size_t{5}, std::size_t{1472}}) {
                    CHECK(reaches(*a->io, there, *b->io, length));
                    CHECK(reaches(*b->io, back, *a->io, length));
                }
            }
        }
    }
}

TEST_CASE("raw: peers on the same host and long packets go through the kernel")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 0);
            const auto c = open_at(kind, 1);
            INFO(a->error << b->error << c->error);
            REQUIRE((a->io != nullptr && b->io != nullptr && c->io != nullptr));
            CHECK(reaches(*a->io, route_to(*a->io, *b->io), *b->io));
            CHECK(reaches(*a->io, route_to(*a->io, *a->io), *a->io));
            CHECK(reaches(*a->io, route_to(*a->io, *c->io), *c->io, 9000));
        }
    }
}

TEST_CASE("raw: the kernel's traffic goes on beside ours")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1);
            INFO(a->error << b->error);
            REQUIRE((a->io != nullptr && b->io != nullptr));
            const auto udp_a = open_at(Kind::udp, 0);
            const auto udp_b = open_at(Kind::udp, 1);
            CHECK(reaches(*udp_a->io, route_to(*udp_a->io, *udp_b->io), *udp_b->io));
            CHECK(reaches(*a->io, route_to(*a->io, *b->io), *b->io));
            const RouteId route = route_to(*a->io, *b->io);
            a->io->probe_liveness(route, clock_now()); // TCP
            std::array<RouteNotice, 4> notices;
            std::size_t count = 0;
            CHECK(eventually([&] {
                count = a->io->poll_notices(notices, clock_now());
                return count != 0;
            }));
            CHECK((count == 1 && notices[0].kind == RouteNotice::Kind::process_alive));
        }
    }
}

TEST_CASE("raw: a neighbour whose hardware address changes stays reachable")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1);
            INFO(a->error << b->error);
            REQUIRE((a->io != nullptr && b->io != nullptr));
            const RouteId route = route_to(*a->io, *b->io);
            REQUIRE(reaches(*a->io, route, *b->io));
            REQUIRE(world()->run(1, "ip link set veth0 address 02:00:00:00:aa:01"));
            REQUIRE(world()->run(0, "ip neigh replace 10.96.0.2 lladdr 02:00:00:00:aa:01 dev veth0"));
            CHECK(reaches(*a->io, route, *b->io));
            REQUIRE(world()->run(1, "ip link set veth0 address 02:00:00:00:aa:02"));
            REQUIRE(world()->run(0, "ip neigh flush dev veth0"));
            CHECK(reaches(*a->io, route, *b->io));
        }
    }
}

TEST_CASE("raw: a link that goes down and comes back is used again")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1);
            INFO(a->error << b->error);
            REQUIRE((a->io != nullptr && b->io != nullptr));
            const RouteId route = route_to(*a->io, *b->io);
            REQUIRE(reaches(*a->io, route, *b->io));
            REQUIRE(world()->run(0, "ip link set veth0 down"));
            std::array<RouteNotice, 4> notices;
            TestPacket source(2, 100);
            CHECK(eventually([&] {
                const TxPacket packet = source.to(route, PathId{0});
                a->io->tx_burst({&packet, 1});
                const std::size_t count = a->io->poll_notices(notices, clock_now());
                return count != 0 && notices[0].kind == RouteNotice::Kind::unreachable;
            }));
            REQUIRE(world()->run(0, "ip link set veth0 up && ip addr replace fd96::1/64 dev veth0 nodad"));
            CHECK(reaches(*a->io, route, *b->io));
        }
    }
}

TEST_CASE("raw: after a process was killed the next one starts as if nothing had been")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            constexpr std::uint16_t port = 7471;
            std::array<int, 2> ready{};
            REQUIRE(::pipe(ready.data()) == 0);
            const pid_t child = ::fork();
            if (child == 0) {
                const auto victim = open_at(kind, 1, "veth0", port);
                const char answer = victim->io != nullptr ? 'y' : 'n';
                if (::write(ready[1], &answer, 1) == 1) {
                    ::pause();
                }
                ::_exit(1);
            }
            char answer = 0;
            REQUIRE(::read(ready[0], &answer, 1) == 1);
            REQUIRE(answer == 'y');
            REQUIRE(::kill(child, SIGKILL) == 0);
            REQUIRE(::waitpid(child, nullptr, 0) == child);
            ::close(ready[0]);
            ::close(ready[1]);
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1, "veth0", port);
            INFO(a->error << b->error);
            REQUIRE((a->io != nullptr && b->io != nullptr));
            CHECK(reaches(*a->io, route_to(*a->io, *b->io), *b->io));
        }
        CHECK(world()->run(1, "! ip link show veth0 | grep -q xdp"));
    }
}

TEST_CASE("raw: the kernel of a peer without that port says so")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1);
            INFO(a->error << b->error);
            REQUIRE((a->io != nullptr && b->io != nullptr));
            const RouteId route = route_to(*a->io, *b->io);
            for (int i = 0; i < 3; ++i) {
                REQUIRE(reaches(*a->io, route, *b->io));
            }
            b->io.reset();
            const std::uint64_t sent = kernel_udp(0, "OutDatagrams");
            TestPacket source(2, 100);
            const TxPacket packet = source.to(route, PathId{0});
            std::array<RouteNotice, 4> notices;
            std::array<RxPacket, 4> packets;
            CHECK(eventually([&] {
                a->io->tx_burst({&packet, 1});
                CHECK(a->io->rx_burst(packets, clock_now()) == 0);
                const std::size_t count = a->io->poll_notices(notices, clock_now());
                return count != 0 && notices[0].route == route &&
                       notices[0].kind == RouteNotice::Kind::process_gone;
            }));
            CHECK(kernel_udp(0, "OutDatagrams") <= sent + 1); // it was the ring's packets that were answered
        }
    }
}

#ifdef SRD_HAVE_XDP
namespace {

/// A child that opens an endpoint on host 1 and holds it until it is killed.
pid_t start_holder(Kind kind)
{
    std::array<int, 2> ready{};
    REQUIRE(::pipe(ready.data()) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto endpoint = open_at(kind, 1);
        const char answer = endpoint->io != nullptr ? 'y' : 'n';
        if (::write(ready[1], &answer, 1) == 1) {
            ::pause();
        }
        ::_exit(1);
    }
    char answer = 0;
    const bool good = ::read(ready[0], &answer, 1) == 1 && answer == 'y';
    ::close(ready[0]);
    ::close(ready[1]);
    CHECK(good);
    return child;
}

void end_holder(pid_t child)
{
    CHECK(::kill(child, SIGKILL) == 0);
    CHECK(::waitpid(child, nullptr, 0) == child);
}

} // namespace

TEST_CASE("raw: processes share an interface's queues, and outlive each other")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : {Kind::xdp_native, Kind::xdp_generic}) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const pid_t first = start_holder(kind); // its program
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1);
            INFO(a->error << b->error);
            REQUIRE((a->io != nullptr && b->io != nullptr));
            const RouteId route = route_to(*a->io, *b->io);
            CHECK(reaches(*a->io, route, *b->io));
            end_holder(first);
            CHECK(reaches(*a->io, route, *b->io));
            CHECK(world()->run(1, "ip link show veth0 | grep -q xdp"));
            const pid_t second = start_holder(kind);
            CHECK(reaches(*a->io, route, *b->io));
            end_holder(second);
        }
        CHECK(world()->run(1, "! ip link show veth0 | grep -q xdp"));
    }
}

TEST_CASE("raw: an endpoint with all queues receives by each of them")
{
    if (skipped()) {
        return;
    }
    XdpConfig config;
    config.interface = "veth0";
    config.max_routes = 16;
    config.ring_bytes = 1U << 20;
    std::array<Counters, 2> counters;
    std::array<std::unique_ptr<PacketIo>, 2> ios;
    for (unsigned host = 0; host < 2; ++host) {
        const InsideNamespace inside(world()->fd(host));
        config.local_address = make_address(NetWorld::address(host, false));
        std::unique_ptr<PacketIo> io;
        std::string error;
        // Host 0 sends by queue 0 first, then by queue 1: a veth brings it to the same one.
        config.queue_count = host == 0 ? 1 : 0;
        REQUIRE(make_xdp_io(config, counters[host], io, error) == 0);
        ios[host] = std::make_unique<NamespacedIo>(std::move(io), world()->fd(host));
    }
    for (const std::uint32_t queue : {0U, 1U}) {
        const RouteId route = route_to(*ios[0], *ios[1]);
        std::array<RouteNotice, 4> notices;
        CHECK(eventually([&] {
            const std::uint64_t received = kernel_udp(1, "InDatagrams");
            for (int i = 0; i < 10; ++i) {
                ios[0]->poll_notices(notices, clock_now());
                REQUIRE(reaches(*ios[0], route, *ios[1]));
            }
            return kernel_udp(1, "InDatagrams") == received;
        }));
        if (queue == 0) {
            ios[0].reset();
            const InsideNamespace inside(world()->fd(0));
            config.local_address = make_address(NetWorld::address(0, false));
            config.first_queue = 1;
            config.queue_count = 1;
            std::unique_ptr<PacketIo> io;
            std::string error;
            REQUIRE(make_xdp_io(config, counters[0], io, error) == 0);
            ios[0] = std::make_unique<NamespacedIo>(std::move(io), world()->fd(0));
        }
    }
}
#endif

TEST_CASE("raw: a child of fork() that lives on keeps neither port nor ring")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            constexpr std::uint16_t port = 7472;
            auto before = open_at(kind, 1, "veth0", port);
            auto other = open_at(kind, 1); // with it no queue is left
            REQUIRE((before->io != nullptr && other->io != nullptr));
            const pid_t child = ::fork();
            if (child == 0) {
                close_inherited_descriptors(); // as the provider's fork handler
                ::pause();
                ::_exit(0);
            }
            ::usleep(50000);
            before.reset();
            const auto a = open_at(kind, 0);
            const auto b = open_at(kind, 1, "veth0", port);
            INFO(a->error << b->error);
            CHECK((a->io != nullptr && b->io != nullptr));
            if (a->io != nullptr && b->io != nullptr) {
                CHECK(reaches(*a->io, route_to(*a->io, *b->io), *b->io));
            }
            CHECK(::kill(child, SIGKILL) == 0);
            CHECK(::waitpid(child, nullptr, 0) == child);
        }
        CHECK(world()->run(1, "! ip link show veth0 | grep -q xdp"));
    }
}

TEST_CASE("raw: what cannot be opened says why")
{
    if (skipped()) {
        return;
    }
    for (const Kind kind : raw_kinds()) {
        DYNAMIC_SECTION(name_of(kind))
        {
            const auto missing = open_at(kind, 0, "nosuch0");
            CHECK(missing->code == ENODEV);
            CHECK(missing->error.find("nosuch0") != std::string::npos);
            const auto loopback = open_at(kind, 0, "lo");
            CHECK(loopback->code == ENODEV);
            CHECK(loopback->error.find("Ethernet") != std::string::npos);
            if (kind != Kind::packet) {
                const auto first = open_at(kind, 0);
                const auto second = open_at(kind, 0);
                REQUIRE((first->io != nullptr && second->io != nullptr));
                const auto third = open_at(kind, 0); // there are two queues
                CHECK(third->code == EBUSY);
                CHECK(third->error.find("veth0") != std::string::npos);
                CHECK(third->error.find("queue") != std::string::npos);
            }
        }
    }
}

TEST_CASE("raw: a missing capability is named, with the command that grants it")
{
    const std::string text = missing_capabilities(std::uint64_t{1} << 62);
    CHECK(text.empty()); // bits without a name are not asked for
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setresuid(65534, 65534, 65534) != 0) {
            ::_exit(0); // not root: nothing to give up
        }
        const std::string said = missing_capabilities(xdp_capabilities());
        const bool good = said.find("CAP_NET_RAW") != std::string::npos &&
                          said.find("CAP_BPF") != std::string::npos &&
                          said.find("setcap cap_net_raw,cap_net_admin,cap_bpf+ep /") != std::string::npos;
        ::_exit(good ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}
