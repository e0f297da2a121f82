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

#include "io/packet/packet_ring_io.hpp"
#include "io/raw/raw_frame.hpp"
#include <srd/file_descriptor.hpp>
#ifdef SRD_HAVE_XDP
#include "io/xdp/xdp_io.hpp"
#endif

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

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
    config.socket_buffer = 2U << 20;
    const InsideNamespace inside(world()->fd(host));
    std::unique_ptr<PacketIo> io;
    endpoint->code = make(kind, config, endpoint->counters, io, endpoint->error);
    if (endpoint->code == 0) {
        endpoint->io = std::make_unique<NamespacedIo>(std::move(io), world()->fd(host));
    }
    return endpoint;
}

/// The same, where nothing stands in the way of it.
std::unique_ptr<Endpoint> must_open(Kind kind, unsigned host, std::uint16_t port = 0)
{
    auto endpoint = open_at(kind, host, "veth0", port);
    INFO(name_of(kind) << " on host " << host << ": " << endpoint->error);
    REQUIRE(endpoint->io != nullptr);
    return endpoint;
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

/// An endpoint on each host, and the way from `a` to `b`.
struct Pair {
    explicit Pair(Kind kind, std::uint16_t port_of_b = 0)
        : a(must_open(kind, 0)), b(must_open(kind, 1, port_of_b)), route(route_to(*a->io, *b->io))
    {
    }
    bool reaches() { return ::reaches(*a->io, route, *b->io); }

    std::unique_ptr<Endpoint> a;
    std::unique_ptr<Endpoint> b;
    RouteId route;
};

/// A process that has done `begin` and sleeps until it is killed.
std::unique_ptr<Child> sleeper(const std::function<bool()>& begin)
{
    Signpost begun;
    auto child = std::make_unique<Child>([&] {
        if (begin()) {
            begun.tell();
            ::pause();
        }
        return 1;
    });
    begun.await();
    return child;
}

/// An endpoint on host 1 in a process of its own.
std::unique_ptr<Child> open_elsewhere(Kind kind, std::uint16_t port = 0)
{
    std::unique_ptr<Endpoint> endpoint; // in the child it is never closed
    return sleeper([&] {
        endpoint = open_at(kind, 1, "veth0", port);
        return endpoint->io != nullptr;
    });
}

/// Runs a section for each kind. Whatever happened in it, no program may be left at an interface.
void for_each(const std::vector<Kind>& kinds, const std::function<void(Kind)>& section)
{
    if (world() == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    for (const Kind kind : kinds) {
        DYNAMIC_SECTION(name_of(kind))
        {
            section(kind);
            for (const unsigned host : {0U, 1U}) {
                CHECK(world()->run(host, "! ip link show veth0 | grep -q xdp"));
            }
        }
    }
}

} // namespace

TEST_CASE("raw: once the neighbour is known, packets pass the kernel's stack by in both directions")
{
    for_each(raw_kinds(), [](Kind kind) {
        Pair pair(kind);
        REQUIRE(pair.reaches());
        std::array<RouteNotice, 4> notices;
        REQUIRE(eventually([&] {
            const std::uint64_t sent = kernel_udp(0, "OutDatagrams");
            const std::uint64_t received = kernel_udp(1, "InDatagrams");
            for (int i = 0; i < 20; ++i) {
                pair.a->io->poll_notices(notices, clock_now());
                REQUIRE(pair.reaches());
            }
            return kernel_udp(0, "OutDatagrams") == sent && kernel_udp(1, "InDatagrams") == received;
        }));
    });
}

TEST_CASE("raw: each backend understands the others and the kernel's own sockets")
{
    std::vector<Kind> kinds = raw_kinds();
    kinds.push_back(Kind::udp);
    for_each(kinds, [&](Kind left) {
        for_each(kinds, [&](Kind right) {
            const auto a = must_open(left, 0);
            const auto b = must_open(right, 1);
            const RouteId there = route_to(*a->io, *b->io);
            const RouteId back = route_to(*b->io, *a->io);
            for (const std::size_t length : {std::size_t{5}, std::size_t{1472}}) {
                CHECK(reaches(*a->io, there, *b->io, length));
                CHECK(reaches(*b->io, back, *a->io, length));
            }
        });
    });
}

TEST_CASE("raw: peers on the same host and long packets go through the kernel")
{
    for_each(raw_kinds(), [](Kind kind) {
        const auto a = must_open(kind, 0);
        const auto b = must_open(kind, 0);
        const auto c = must_open(kind, 1);
        CHECK(reaches(*a->io, route_to(*a->io, *b->io), *b->io));
        CHECK(reaches(*a->io, route_to(*a->io, *a->io), *a->io));
        CHECK(reaches(*a->io, route_to(*a->io, *c->io), *c->io, 9000));
    });
}

TEST_CASE("raw: the kernel's traffic goes on beside ours")
{
    for_each(raw_kinds(), [](Kind kind) {
        Pair raw(kind);
        Pair udp(Kind::udp);
        CHECK(udp.reaches());
        CHECK(raw.reaches());
        raw.a->io->probe_liveness(raw.route, LivenessProbe::exists, clock_now()); // TCP
        std::array<RouteNotice, 4> notices;
        std::size_t count = 0;
        CHECK(eventually([&] {
            count = raw.a->io->poll_notices(notices, clock_now());
            return count != 0;
        }));
        CHECK((count == 1 && notices[0].kind == RouteNotice::Kind::process_alive));
    });
}

TEST_CASE("raw: a neighbour whose hardware address changes stays reachable")
{
    for_each(raw_kinds(), [](Kind kind) {
        Pair pair(kind);
        REQUIRE(pair.reaches());
        REQUIRE(world()->run(1, "ip link set veth0 address 02:00:00:00:aa:01"));
        REQUIRE(world()->run(0, "ip neigh replace 10.96.0.2 lladdr 02:00:00:00:aa:01 dev veth0"));
        CHECK(pair.reaches());
        REQUIRE(world()->run(1, "ip link set veth0 address 02:00:00:00:aa:02"));
        REQUIRE(world()->run(0, "ip neigh flush dev veth0"));
        CHECK(pair.reaches());
    });
}

TEST_CASE("raw: a link that goes down and comes back is used again")
{
    for_each(raw_kinds(), [](Kind kind) {
        Pair pair(kind);
        REQUIRE(pair.reaches());
        REQUIRE(world()->run(0, "ip link set veth0 down"));
        TestPacket source(2, 100);
        const TxPacket packet = source.to(pair.route, PathId{0});
        CHECK(noticed(*pair.a->io, pair.route, RouteNotice::Kind::host_unreachable, [&] {
            pair.a->io->tx_burst({&packet, 1});
        }));
        REQUIRE(world()->run(0, "ip link set veth0 up && ip addr replace fd96::1/64 dev veth0 nodad"));
        CHECK(pair.reaches());
    });
}

TEST_CASE("raw: after a process was killed the next one starts as if nothing had been")
{
    for_each(raw_kinds(), [](Kind kind) {
        constexpr std::uint16_t port = 7471;
        open_elsewhere(kind, port)->kill();
        CHECK(Pair(kind, port).reaches());
    });
}

TEST_CASE("raw: the kernel of a peer without that port says so")
{
    for_each(raw_kinds(), [](Kind kind) {
        Pair pair(kind);
        for (int i = 0; i < 3; ++i) {
            REQUIRE(pair.reaches());
        }
        pair.b->io.reset();
        const std::uint64_t sent = kernel_udp(0, "OutDatagrams");
        TestPacket source(2, 100);
        const TxPacket packet = source.to(pair.route, PathId{0});
        std::array<RxPacket, 4> packets;
        CHECK(noticed(*pair.a->io, pair.route, RouteNotice::Kind::port_unreachable, [&] {
            pair.a->io->tx_burst({&packet, 1});
            CHECK(pair.a->io->rx_burst(packets, clock_now()) == 0);
        }));
        CHECK(kernel_udp(0, "OutDatagrams") <= sent + 1); // it was the ring's packets that were answered
    });
}

#ifdef SRD_HAVE_XDP
TEST_CASE("raw: processes share an interface's queues, and outlive each other")
{
    for_each({Kind::xdp_native, Kind::xdp_generic}, [](Kind kind) {
        const auto first = open_elsewhere(kind); // its program
        Pair pair(kind);
        CHECK(pair.reaches());
        first->kill();
        CHECK(pair.reaches());
        CHECK(world()->run(1, "ip link show veth0 | grep -q xdp"));
        const auto second = open_elsewhere(kind);
        CHECK(pair.reaches());
    });
}

TEST_CASE("raw: an endpoint with all queues receives by each of them")
{
    for_each({Kind::xdp_native, Kind::xdp_generic}, [](Kind kind) {
        std::array<Counters, 2> counters;
        std::array<std::unique_ptr<PacketIo>, 2> ios;
        const auto open = [&](unsigned host, std::uint32_t first_queue, std::uint32_t queue_count) {
            XdpConfig config;
            config.interface = "veth0";
            config.mode = kind == Kind::xdp_native ? XdpMode::native : XdpMode::generic;
            config.local_address = make_address(NetWorld::address(host, false));
            config.max_routes = 16;
            config.socket_buffer = 1U << 20;
            config.first_queue = first_queue;
            config.queue_count = queue_count;
            const InsideNamespace inside(world()->fd(host));
            std::unique_ptr<PacketIo> io;
            std::string error;
            REQUIRE(make_xdp_io(config, counters[host], io, error) == 0);
            ios[host] = std::make_unique<NamespacedIo>(std::move(io), world()->fd(host));
        };
        open(1, 0, 0); // all
        // Host 0 sends by queue 0 first, then by queue 1: a veth brings it to the same one.
        for (const std::uint32_t queue : {0U, 1U}) {
            ios[0].reset();
            open(0, queue, 1);
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
        }
    });
}
#endif

TEST_CASE("raw: a child of fork() that lives on keeps neither port nor ring")
{
    for_each(raw_kinds(), [](Kind kind) {
        constexpr std::uint16_t port = 7472;
        auto before = must_open(kind, 1, port);
        const auto other = must_open(kind, 1); // with it no queue is left
        const auto child = sleeper([] {
            close_inherited_descriptors(); // as the provider's fork handler
            return true;
        });
        before.reset();
        CHECK(Pair(kind, port).reaches());
    });
}

TEST_CASE("raw: what cannot be opened says why")
{
    for_each(raw_kinds(), [](Kind kind) {
        const auto missing = open_at(kind, 0, "nosuch0");
        CHECK(missing->code == ENODEV);
        CHECK(missing->error.find("nosuch0") != std::string::npos);
        const auto loopback = open_at(kind, 0, "lo");
        CHECK(loopback->code == ENODEV);
        CHECK(loopback->error.find("Ethernet") != std::string::npos);
        if (kind != Kind::packet) {
            const auto first = must_open(kind, 0);
            const auto second = must_open(kind, 0);
            const auto third = open_at(kind, 0); // there are two queues
            CHECK(third->code == EBUSY);
            CHECK(third->error.find("veth0") != std::string::npos);
            CHECK(third->error.find("queue") != std::string::npos);
        }
    });
}

TEST_CASE("raw: a missing capability is named, with the command that grants it")
{
    const std::string text = missing_capabilities(std::uint64_t{1} << 62);
    CHECK(text.empty()); // bits without a name are not asked for
    Child child([] {
        if (::setresuid(65534, 65534, 65534) != 0) {
            return 0; // not root: nothing to give up
        }
        const std::string said = missing_capabilities(xdp_capabilities());
        const bool good = said.find("CAP_NET_RAW") != std::string::npos &&
                          said.find("CAP_BPF") != std::string::npos &&
                          said.find("setcap cap_net_raw,cap_net_admin,cap_bpf+ep /") != std::string::npos;
        return good ? 0 : 1;
    });
    CHECK(child.wait() == 0);
}
