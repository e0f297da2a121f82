// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What only the UDP backend does: errors that say what to do, source ports,
// ECN, MTU changes, ICMP. Whether a peer's process lives: udp_liveness_test.cpp.
#include <array>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <set>
#include <thread>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <srd/counters.hpp>

#include "io/host/interfaces.hpp"
#include "io/udp/udp_io.hpp"
#include "io/udp/udp_senders.hpp"
#include "io/udp/udp_socket.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/udp_sink.hpp"

using namespace srd;
using namespace srd::test;

namespace {

bool contains(const std::string& text, const char* part)
{
    return text.find(part) != std::string::npos;
}

/// Runs `body` in a thread with a network namespace of its own; loudly not where that is not allowed.
template <typename Body>
void in_private_network(Body&& body)
{
    std::exception_ptr failure;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) != 0) {
            WARN("SKIPPED: no right to make a network namespace (" << std::strerror(errno) << ")");
            return;
        }
        try {
            body();
        } catch (...) {
            failure = std::current_exception(); // a failed REQUIRE belongs to the test's thread
        }
    }).join();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

/// The calling thread makes no netlink socket from now on: that fails with `error`.
bool forbid_netlink(int error)
{
    const auto refused = SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
    std::array<sock_filter, 6> code{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refused),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// Sets loopback's MTU in the calling thread's network namespace and brings it up.
bool set_loopback_mtu(int mtu)
{
    const FileDescriptor fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::memcpy(request.ifr_name, "lo", 3);
    request.ifr_mtu = mtu;
    if (::ioctl(fd.get(), SIOCSIFMTU, &request) != 0) {
        return false;
    }
    request.ifr_flags = IFF_UP;
    return ::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

} // namespace

TEST_CASE("udp: a port in use is refused by name")
{
    const auto first = open_udp(make_address("127.0.0.1"));
    REQUIRE(first->code == 0);
    const std::uint16_t port = first->io->local_address().port();
    CHECK(port != 0);
    const auto second = open_udp(make_address("127.0.0.1", port));
    CHECK(second->code == EADDRINUSE);
    CHECK(second->io == nullptr);
    CHECK(contains(second->error, std::to_string(port).c_str()));
    CHECK(contains(second->error, "in use"));
}

TEST_CASE("udp: addresses that nobody can be bound to are refused")
{
    for (const char* text :
         {"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:127.0.0.1"}) {
        INFO(text);
        const auto opened = open_udp(make_address(text));
        CHECK(opened->code == EINVAL);
        CHECK_FALSE(opened->error.empty());
    }
    const auto foreign = open_udp(make_address("192.0.2.77"));
    CHECK(foreign->code == EADDRNOTAVAIL);
    CHECK(contains(foreign->error, "192.0.2.77"));
    UdpConfig config;
    config.path_count = 65;
    CHECK(open_udp(make_address("127.0.0.1"), config)->code == EINVAL);
}

TEST_CASE("udp: destinations that no datagram can have are invalid")
{
    const auto opened = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    const auto resolve = [&](const char* text, std::uint16_t port) {
        const SocketAddress address = make_address(text, port);
        RouteId route{};
        return opened->io->resolve(address, route);
    };
    CHECK(resolve("127.0.0.1", 0) == Status::invalid);
    CHECK(resolve("0.0.0.0", 7) == Status::invalid);
    CHECK(resolve("224.0.0.1", 7) == Status::invalid);
    CHECK(resolve("::1", 7) == Status::invalid);
    CHECK(resolve("127.0.0.2", 7) == Status::ok);
}

TEST_CASE("udp: the table of routes is bounded")
{
    UdpConfig config;
    config.max_routes = 3;
    const auto opened = open_udp(make_address("127.0.0.1"), config);
    REQUIRE(opened->code == 0);
    for (std::uint16_t port = 1; port <= 4; ++port) {
        const SocketAddress address = make_address("127.0.0.1", port);
        RouteId route{};
        const Status status = opened->io->resolve(address, route);
        CHECK(status == (port <= 3 ? Status::ok : Status::no_memory));
        CHECK((status != Status::ok || index_of(route) == port - 1U));
    }
}

TEST_CASE("udp: the place of a forgotten route is another one's, to which its packets go")
{
    UdpConfig config;
    config.max_routes = 2;
    const auto opened = open_udp(make_address("127.0.0.1"), config);
    const auto first = open_udp(make_address("127.0.0.1"));
    const auto second = open_udp(make_address("127.0.0.1"));
    const auto third = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    PacketIo& io = *opened->io;
    const RouteId old = route_to(io, *first->io);
    const RouteId other = route_to(io, *second->io);
    TestPacket packet(1, 64);
    const TxPacket to_old = packet.to(old, PathId{0});
    for (int i = 0; i < 80; ++i) { // enough for a socket of its own
        REQUIRE(io.tx_burst({&to_old, 1}) == 1);
    }
    RouteId added{};
    REQUIRE(io.resolve(third->io->local_address(), added) == Status::no_memory);
    REQUIRE(io.forget_route(old));
    CHECK(io.find(first->io->local_address()) == no_id<RouteId>);
    io.probe_liveness(old, LivenessProbe::exists, clock_now()); // asked before it was forgotten
    REQUIRE(io.resolve(third->io->local_address(), added) == Status::ok);
    CHECK(added == old);
    CHECK(io.route_address(added) == third->io->local_address());
    CHECK(route_to(io, *second->io) == other);
    REQUIRE(io.resolve(first->io->local_address(), added) == Status::no_memory);
    const TxPacket to_third = packet.to(old, PathId{0});
    REQUIRE(io.tx_burst({&to_third, 1}) == 1);
    std::array<RxPacket, 8> packets;
    std::size_t arrived = 0;
    for (int i = 0; i < 200 && arrived == 0; ++i) {
        arrived = third->io->rx_burst(packets, clock_now());
    }
    CHECK(arrived == 1);
}

TEST_CASE("udp: running out of descriptors says so")
{
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &old) == 0);
    const int next = ::dup(0); // the lowest free descriptor
    REQUIRE(next >= 0);
    ::close(next);
    for (rlim_t spare = 0; spare < 6; ++spare) {
        const rlimit low{static_cast<rlim_t>(next) + spare, old.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
        const auto opened = open_udp(make_address("127.0.0.1"));
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &old) == 0);
        CHECK(opened->code == EMFILE);
        CHECK(opened->io == nullptr);
        CHECK(contains(opened->error, "ulimit -n"));
    }
    CHECK(open_udp(make_address("127.0.0.1"))->code == 0);
}

TEST_CASE("udp: who may not ask the kernel for routes is told so")
{
    for (const int refusal : {EPERM, EAFNOSUPPORT}) {
        std::unique_ptr<Opened> opened;
        std::thread([&] {
            if (forbid_netlink(refusal)) {
                opened = open_udp(make_address("127.0.0.1"));
            }
        }).join();
        if (opened == nullptr) {
            WARN("SKIPPED: no filter of system calls can be set here");
            return;
        }
        INFO(opened->error);
        CHECK(opened->code == refusal);
        CHECK(contains(opened->error, "netlink"));
        CHECK_FALSE(contains(opened->error, "UDP port"));
        CHECK_FALSE(contains(opened->error, "switched off"));
    }
}

TEST_CASE("udp: loopback has one path and 64 KiB packets")
{
    const auto opened = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    const RouteId route = route_to(*opened->io, *opened->io);
    CHECK(opened->io->caps().path_count == 1);
    CHECK(opened->io->route_mtu(route) == 65507);
    CHECK(opened->io->caps().rx_buffer > 0);

    UdpConfig config;
    config.max_packet = 2000;
    const auto small = open_udp(make_address("127.0.0.1"), config);
    REQUIRE(small->code == 0);
    CHECK(small->io->route_mtu(route_to(*small->io, *small->io)) == 2000);
}

TEST_CASE("udp: each path is a source port, and endpoints of a process share them")
{
    const SocketAddress address = outer_address();
    if (address.empty()) {
        return;
    }
    const auto ports_used = [&](PacketIo& io) {
        CHECK(io.caps().path_count == 64);
        std::vector<std::uint16_t> ports = source_ports(io, address);
        CHECK(std::set(ports.begin(), ports.end()).size() == 64);
        CHECK(ports[0] == io.local_address().port());
        return ports;
    };
    const auto first = open_udp(address);
    const auto second = open_udp(address);
    REQUIRE(first->code == 0);
    REQUIRE(second->code == 0);
    const std::vector<std::uint16_t> ports = ports_used(*first->io);
    const std::vector<std::uint16_t> others = ports_used(*second->io);
    CHECK(ports[0] != others[0]);
    CHECK(std::equal(ports.begin() + 1, ports.end(), others.begin() + 1));
}

TEST_CASE("udp: fewer paths when descriptors run out, with one warning, and packets still go")
{
    const SocketAddress address = outer_address();
    if (address.empty()) {
        return;
    }
    const auto opened = open_udp(address);
    REQUIRE(opened->code == 0);
    const RouteId self = route_to(*opened->io, *opened->io);
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &old) == 0);
    const int next = ::dup(0);
    ::close(next);
    const rlimit low{static_cast<rlim_t>(next) + 3, old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    std::size_t sent = 0;
    for (std::uint8_t path = 0; path < 64; ++path) {
        TestPacket packet(path, 100);
        const TxPacket burst = packet.to(self, PathId{path});
        sent += opened->io->tx_burst({&burst, 1});
    }
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK(sent == 64);
    std::size_t warnings = 0;
    for (const std::string& warning : opened->warnings) {
        warnings += contains(warning, "ulimit -n") ? 1 : 0;
    }
    CHECK(warnings == 1);
    std::set<std::int64_t> arrived;
    CHECK(eventually([&] {
        std::array<RxPacket, 64> packets;
        const std::size_t count = opened->io->rx_burst(packets, clock_now());
        for (const RxPacket& packet : std::span(packets).first(count)) {
            arrived.insert(TestPacket::number_of(packet));
        }
        opened->io->rx_release();
        return arrived.size() == 64;
    }));
}

TEST_CASE("udp: a congestion mark is seen, on IPv4 and IPv6")
{
    unsigned addresses = 0;
    for (const NetInterface& interface : list_interfaces()) {
        if (interface.is_loopback) {
            continue; // marks are not looked for on loopback
        }
        ++addresses;
        INFO(interface.address.text());
        const auto opened = open_udp(interface.address);
        REQUIRE(opened->code == 0);
        SocketAddress bound;
        const FileDescriptor source = plain_socket(interface.address, bound);
        const SocketAddress target = opened->io->local_address();
        for (const int ecn : {0, 3, 2, 3, 1}) {
            REQUIRE(set_option(source.get(), IPPROTO_IP, IP_TOS, ecn));
            set_option(source.get(), IPPROTO_IPV6, IPV6_TCLASS, ecn);
            REQUIRE(::sendto(source.get(), &ecn, sizeof(ecn), 0, target.get(), target.size()) == sizeof(ecn));
            std::array<RxPacket, 4> packets;
            std::size_t count = 0;
            REQUIRE(eventually([&] { return (count = opened->io->rx_burst(packets, clock_now())) != 0; }));
            CHECK(count == 1);
            CHECK(packets[0].marked == (ecn == 3));
            opened->io->rx_release();
        }
    }
    if (addresses == 0) {
        WARN("SKIPPED: this machine has no address but loopback's");
    }
}

TEST_CASE("udp: a late poll learns when the packet came")
{
    for (const char* text : {"127.0.0.1", "::1"}) {
        INFO(text);
        const auto opened = open_udp(make_address(text));
        if (opened->code == EADDRNOTAVAIL || opened->code == EAFNOSUPPORT) {
            WARN("SKIPPED: " << opened->error);
            continue;
        }
        REQUIRE(opened->code == 0);
        const RouteId self = route_to(*opened->io, *opened->io);
        std::array<RxPacket, 4> packets;
        const Time before = clock_now();
        REQUIRE(opened->io->rx_burst(packets, before) == 0);
        TestPacket packet(1, 64);
        const TxPacket burst = packet.to(self, PathId{0});
        REQUIRE(opened->io->tx_burst({&burst, 1}) == 1);
        const Time sent = clock_now();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        REQUIRE(opened->io->rx_burst(packets, clock_now()) == 1);
        CHECK(packets[0].arrived >= before);
        CHECK(packets[0].arrived <= sent + std::chrono::milliseconds(25)); // two clocks, read apart
        opened->io->rx_release();
    }
}

TEST_CASE("udp: empty datagrams are dropped and counted")
{
    const auto opened = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    SocketAddress bound;
    const FileDescriptor source = plain_socket(make_address("127.0.0.1"), bound);
    const SocketAddress target = opened->io->local_address();
    REQUIRE(::sendto(source.get(), nullptr, 0, 0, target.get(), target.size()) == 0);
    REQUIRE(eventually([&] {
        std::array<RxPacket, 4> packets;
        CHECK(opened->io->rx_burst(packets, clock_now()) == 0);
        return opened->counters.io_rx_dropped.value() == 1;
    }));
}

TEST_CASE("udp: what the kernel drops at a full socket is counted")
{
    UdpConfig config;
    config.socket_buffer = 8192;
    const auto receiver = open_udp(make_address("127.0.0.1"), config);
    const auto sender = open_udp(make_address("127.0.0.1"));
    REQUIRE(receiver->code == 0);
    REQUIRE(sender->code == 0);
    const RouteId route = route_to(*sender->io, *receiver->io);
    REQUIRE(eventually([&] {
        TestPacket packet(1, 4000);
        const TxPacket sent = packet.to(route, PathId{0});
        for (int i = 0; i < 64; ++i) {
            sender->io->tx_burst({&sent, 1});
        }
        std::array<RxPacket, 64> packets;
        while (receiver->io->rx_burst(packets, clock_now()) != 0) {
            receiver->io->rx_release();
        }
        return receiver->counters.io_rx_dropped.value() > 0;
    }));
}

TEST_CASE("udp: packets built before the MTU shrank still arrive, and the change is noticed")
{
    in_private_network([] {
        REQUIRE(set_loopback_mtu(9000));
        const auto a = open_udp(make_address("127.0.0.1"));
        const auto b = open_udp(make_address("127.0.0.1"));
        REQUIRE(a->code == 0);
        REQUIRE(b->code == 0);
        const RouteId route = route_to(*a->io, *b->io);
        CHECK(a->io->route_mtu(route) == 8972);
        REQUIRE(set_loopback_mtu(1500));
        for (const std::size_t length : std::array<std::size_t, 5>{8972, 3000, 1473, 1472, 100}) {
            INFO(length);
            std::vector<TestPacket> sources;
            for (std::uint32_t i = 0; i < 5; ++i) {
                sources.emplace_back(i, length, 2);
            }
            std::vector<TxPacket> burst;
            for (TestPacket& source : sources) {
                burst.push_back(source.to(route, PathId{0}));
            }
            CHECK(a->io->tx_burst(burst) == burst.size());
            const std::set<std::int64_t> arrived = arriving(
                *b->io, burst.size(), [&](const RxPacket& packet) { CHECK(packet.length == length); });
            CHECK(arrived.size() == burst.size());
            CHECK_FALSE(arrived.contains(-1));
        }
        CHECK(noticed(*a->io, route, RouteNotice::Kind::mtu_changed, [] {}));
        CHECK(a->io->route_mtu(route) == 1472);
        CHECK(a->counters.io_tx_errors.value() == 0);
    });
}
