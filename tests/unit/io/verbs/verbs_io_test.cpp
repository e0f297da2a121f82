// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The verbs backend beyond what every backend does: when packets take queue pairs and when sockets. In the
// guest of tests/vm; elsewhere only what happens without a device.
#include <algorithm>
#include <array>
#include <iterator>
#include <set>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <srd/file_descriptor.hpp>

#include "io/udp/udp_socket.hpp"
#include "io/verbs/verbs_device.hpp"
#include "io/verbs/verbs_routes.hpp"

#include "support/catch.hpp"
#include "support/io/verbs_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr const char* ipv4 = "10.1.0.";

struct Host {
    Counters counters;
    std::unique_ptr<PacketIo> io;
    RouteId peer{};

    explicit Host(unsigned number, std::uint16_t port = 0)
    {
        std::string error;
        io = make_verbs_host(ipv4, number, counters, error, port);
        INFO(error);
        REQUIRE(io != nullptr);
    }
    explicit Host(std::unique_ptr<PacketIo> made) : io(std::move(made)) { REQUIRE(io != nullptr); }

    void know(const Host& other) { REQUIRE(io->resolve(other.io->local_address(), peer) == Status::ok); }
    std::uint64_t by_rdma() const { return counters.io_rdma_packets.value(); }
};

struct Hosts {
    Host a{0};
    Host b{1};

    Hosts()
    {
        a.know(b);
        b.know(a);
    }
    bool open()
    {
        return open_way(&Counters::io_rdma_packets, *a.io, a.counters, a.peer, *b.io, b.counters, b.peer);
    }
};

bool skip_without_devices()
{
    if (!have_verbs_hosts()) {
        WARN("no RDMA devices of ours here; the test vm.verbs runs this in a guest");
    }
    return !have_verbs_hosts();
}

/// Sends packets of that length until one arrives intact, each time asking `between` first.
template <typename Between>
bool arrives(Host& from, Host& to, std::size_t length, Between&& between)
{
    static std::uint32_t number = 1000;
    ++number;
    TestPacket packet(number, length);
    return eventually([&] {
        between();
        const TxPacket burst = packet.to(from.peer, PathId{0});
        from.io->tx_burst({&burst, 1});
        std::array<RxPacket, 64> packets;
        for (int i = 0; i < 20; ++i) {
            bool found = false;
            for (Host* host : {&from, &to}) {
                const std::size_t count = host->io->rx_burst(packets, clock_now());
                for (const RxPacket& each : std::span(packets).first(count)) {
                    found = found || (host == &to && TestPacket::number_of(each) == number);
                }
                if (count != 0) {
                    host->io->rx_release();
                }
            }
            if (found) {
                return true;
            }
        }
        return false;
    });
}

bool arrives(Host& from, Host& to, std::size_t length)
{
    return arrives(from, to, length, [] {});
}

/// As an engine does that hears nothing for long.
void grow_silent(Host& host)
{
    host.io->probe_liveness(host.peer, LivenessProbe::exists, clock_now());
}

void poll(Host& host)
{
    std::array<RouteNotice, 16> notices;
    host.io->poll_notices(notices, clock_now());
}

bool run(const char* command)
{
    INFO(command);
    return std::system((std::string(". tests/vm/rxe.sh; ") + command).c_str()) == 0;
}

} // namespace

TEST_CASE("verbs: an address without a device is refused with the reason")
{
    VerbsConfig config;
    config.local_address = make_address("127.0.0.1");
    Counters counters;
    std::unique_ptr<PacketIo> io;
    std::string error;
    const int code = make_verbs_io(config, counters, io, error);
    CHECK((code == ENODEV || code == ENOSYS || code == EACCES));
    CHECK(io == nullptr);
    CHECK_FALSE(error.empty());
}

TEST_CASE("verbs: packets take sockets first and queue pairs as soon as these have proved themselves")
{
    if (skip_without_devices()) {
        return;
    }
    Hosts hosts;
    CHECK(arrives(hosts.a, hosts.b, 100)); // at once, by socket
    REQUIRE(hosts.open());
    const std::uint64_t before = hosts.a.by_rdma();
    CHECK(arrives(hosts.a, hosts.b, 4096));
    CHECK(hosts.a.by_rdma() > before);
}

TEST_CASE("verbs: a peer on the udp backend is reached through sockets")
{
    if (skip_without_devices()) {
        return;
    }
    Host a(0);
    auto opened = open_udp(make_address("10.1.0.2"));
    Host b(std::move(opened->io));
    a.know(b);
    b.know(a);
    for (int i = 0; i < 10; ++i) {
        CHECK(arrives(a, b, 1000));
        CHECK(arrives(b, a, 1000));
    }
    CHECK(a.by_rdma() == 0);
}

TEST_CASE("verbs: a peer with other queue pairs at its old address is found again")
{
    if (skip_without_devices()) {
        return;
    }
    Hosts hosts;
    REQUIRE(hosts.open());
    const std::uint16_t port = hosts.b.io->local_address().port();
    hosts.b.io.reset();
    Host heir(1, port);
    heir.know(hosts.a);
    // The old queue pair is nobody's: only a question brings the new one.
    REQUIRE(arrives(hosts.a, heir, 500, [&] { grow_silent(hosts.a); }));
    REQUIRE(open_way(&Counters::io_rdma_packets, *hosts.a.io, hosts.a.counters, hosts.a.peer, *heir.io,
                     heir.counters, heir.peer));
    const std::uint64_t before = hosts.a.by_rdma();
    CHECK(arrives(hosts.a, heir, 500));
    CHECK(hosts.a.by_rdma() > before);
}

TEST_CASE("verbs: packets longer than the port's MTU take sockets, and the engine is told")
{
    if (skip_without_devices()) {
        return;
    }
    Hosts hosts;
    REQUIRE(hosts.open());
    CHECK(hosts.a.io->route_mtu(hosts.a.peer) == 4096);
    REQUIRE(run("ip link set v0 mtu 2200 && ip link set v1 mtu 2200"));
    REQUIRE(eventually([&] {
        poll(hosts.a);
        return hosts.a.io->route_mtu(hosts.a.peer) == 2048;
    }));
    const std::uint64_t before = hosts.a.by_rdma();
    CHECK(arrives(hosts.a, hosts.b, 4000));
    CHECK(hosts.a.by_rdma() == before);
    std::array<RouteNotice, 16> notices;
    const std::size_t count = hosts.a.io->poll_notices(notices, clock_now());
    REQUIRE(count >= 1);
    CHECK(notices[0].kind == RouteNotice::Kind::mtu_changed);
    CHECK(notices[0].route == hosts.a.peer);
    CHECK(arrives(hosts.a, hosts.b, 2048));
    CHECK(hosts.a.by_rdma() > before);
    REQUIRE(run("ip link set v0 mtu 4200 && ip link set v1 mtu 4200"));
}

TEST_CASE("verbs: a port that goes down and comes back is used again")
{
    if (skip_without_devices()) {
        return;
    }
    Hosts hosts;
    REQUIRE(hosts.open());
    REQUIRE(run("ip link set v0 down"));
    TestPacket packet(1, 3000);
    const TxPacket burst = packet.to(hosts.a.peer, PathId{3});
    for (int i = 0; i < 100; ++i) { // goes nowhere, and must not stop anything
        hosts.a.io->tx_burst({&burst, 1});
        poll(hosts.a);
    }
    REQUIRE(run("ip link set v0 up && ip addr replace fd01::1/64 dev v0 && rxe_routes"));
    std::uint64_t before = 0;
    const bool back = eventually([&] {
        poll(hosts.a);
        poll(hosts.b);
        before = hosts.a.by_rdma();
        return arrives(hosts.a, hosts.b, 3000) && hosts.a.by_rdma() > before;
    });
    CHECK(back);
    for (std::uint8_t path = 0; path < hosts.a.io->caps().path_count; ++path) { // whichever sender had failed
        TestPacket each(path, 700);
        const TxPacket sent = each.to(hosts.a.peer, PathId{path});
        CHECK(eventually([&] {
            before = hosts.a.by_rdma();
            hosts.a.io->tx_burst({&sent, 1});
            drain(*hosts.b.io, std::chrono::microseconds(100));
            drain(*hosts.a.io, std::chrono::microseconds(100));
            return hosts.a.by_rdma() > before;
        }));
    }
}

TEST_CASE("verbs: who asks is answered only at the address of a peer, and nobody's answer counts unasked")
{
    if (skip_without_devices()) {
        return;
    }
    Hosts hosts;
    REQUIRE(hosts.open());
    const FileDescriptor stranger(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    SocketAddress own = make_address("10.1.0.2");
    REQUIRE(::bind(stranger.get(), own.get(), own.size()) == 0);
    REQUIRE(bound_address(stranger, own) == 0);
    const SocketAddress& victim = hosts.a.io->local_address();
    for (const SocketAddress& named : {own, hosts.b.io->local_address()}) {
        for (const std::uint32_t kind : {BypassKind::question, BypassKind::answer}) {
            VerbsMessage message;
            message.kind = kind;
            message.queue_pair = 77;
            set_sender(message, named);
            REQUIRE(::sendto(stranger.get(), &message, sizeof(message), 0, victim.get(), victim.size()) ==
                    static_cast<ssize_t>(sizeof(message)));
        }
    }
    drain(*hosts.a.io, std::chrono::milliseconds(50));
    std::array<char, 256> told{};
    CHECK(::recv(stranger.get(), told.data(), told.size(), 0) < 0);
    const std::uint64_t before = hosts.a.by_rdma();
    CHECK(arrives(hosts.a, hosts.b, 4096));
    CHECK(hosts.a.by_rdma() > before);
}

TEST_CASE("verbs: the second answer must name what the first named")
{
    VerbsWay way;
    way.queue_pair = 5;
    way.key = 6;
    VerbsMessage answer;
    answer.queue_pair = 5;
    answer.key = 6;
    CHECK(way.is_confirmed_by(answer));
    answer.key = 7;
    CHECK_FALSE(way.is_confirmed_by(answer));
    answer.key = 6;
    answer.queue_pair = 4;
    CHECK_FALSE(way.is_confirmed_by(answer));
}

TEST_CASE("verbs: an address has one GID on every host")
{
    const ibv_gid four = gid_of(make_address("10.1.2.3", 7));
    const std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};
    CHECK(std::equal(mapped.begin(), mapped.end(), std::begin(four.raw)));
    const ibv_gid six = gid_of(make_address("fd01::9", 7));
    CHECK(six.raw[0] == 0xfd);
    CHECK(six.raw[1] == 1);
    CHECK(six.raw[15] == 9);
}

TEST_CASE("verbs: paths differ in their UDP source port")
{
    if (skip_without_devices()) {
        return;
    }
    Hosts hosts;
    REQUIRE(hosts.open());
    const FileDescriptor tap(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP)));
    REQUIRE(tap.valid());
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_IP);
    address.sll_ifindex = static_cast<int>(::if_nametoindex("v1"));
    REQUIRE(::bind(tap.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    const std::uint16_t paths = hosts.a.io->caps().path_count;
    for (std::uint16_t path = 0; path < paths; ++path) {
        TestPacket packet(path, 300);
        const TxPacket burst = packet.to(hosts.a.peer, PathId(static_cast<std::uint8_t>(path)));
        hosts.a.io->tx_burst({&burst, 1});
    }
    drain(*hosts.b.io, std::chrono::milliseconds(20));
    std::set<unsigned> ports;
    std::array<std::uint8_t, 64> head{};
    while (::recv(tap.get(), head.data(), head.size(), MSG_TRUNC) > 0) {
        const unsigned destination = head[22] * 256U + head[23];
        if (head[9] == 17 && destination == 4791 && (head[1] & 3U) == 2) { // UDP, RoCE v2, ECT(0)
            ports.insert(head[20] * 256U + head[21]);
        }
    }
    CHECK(ports.size() * 10 >= paths * 9U); // two numbers may hash alike
}
