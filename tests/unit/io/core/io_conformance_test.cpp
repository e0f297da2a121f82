// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// One suite for every backend: what packet_io.hpp promises.
#include <array>
#include <cstdlib>
#include <set>

#include <poll.h>

#include <srd/counters.hpp>

#include "io/packet/packet_ring_io.hpp"
#include "io/shm/shm_io.hpp"
#ifdef SRD_HAVE_XDP
#include "io/xdp/xdp_io.hpp"
#endif

#include "support/catch.hpp"
#include "support/faulty_io.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"
#include "support/io/rails_host.hpp"
#ifdef SRD_HAVE_VERBS
#include "support/io/verbs_pair.hpp"
#endif

using namespace srd;
using namespace srd::test;

namespace {

/// A way to make endpoints that can reach each other.
struct Backend {
    std::string name;
    bool exact; ///< on an idle host it delivers every packet once and at once
    /// Null result: not available here. `host`: 0 or 1, where there are two.
    std::function<std::unique_ptr<PacketIo>(Counters&, unsigned host)> make;
    Counter Counters::*way = nullptr; ///< packets are to take this one before a test begins
};

std::unique_ptr<PacketIo> make_udp(const char* address, Counters& counters, bool offload = true)
{
    UdpConfig config;
    config.local_address = make_address(address);
    config.max_routes = 64;
    config.offload = offload;
    std::unique_ptr<PacketIo> io;
    std::string error;
    const int code = make_udp_io(config, counters, io, error);
    if (code != 0) {
        WARN("SKIPPED: no UDP endpoint at " << address << ": " << error);
    }
    return io;
}

NetWorld* world(unsigned mtu)
{
    static const std::unique_ptr<NetWorld> usual = NetWorld::make(1500);
    static const std::unique_ptr<NetWorld> jumbo = NetWorld::make(9000);
    return mtu == 1500 ? usual.get() : jumbo.get();
}

using MakeRaw = int (*)(const RawConfig&, Counters&, std::unique_ptr<PacketIo>&, std::string&);

/// An endpoint of a raw backend on the host's veth.
std::unique_ptr<PacketIo> make_raw(MakeRaw make, unsigned host, bool ipv6, Counters& counters,
                                   unsigned mtu = 1500)
{
    if (world(mtu) == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return nullptr;
    }
    RawConfig config;
    config.interface = "veth0";
    config.local_address = make_address(NetWorld::address(host, ipv6));
    config.max_routes = 64;
    config.socket_buffer = 2U << 20;
    const InsideNamespace inside(world(mtu)->fd(host));
    std::unique_ptr<PacketIo> io;
    std::string error;
    if (make(config, counters, io, error) != 0) {
        WARN("SKIPPED: no raw endpoint: " << error);
        return nullptr;
    }
    return std::make_unique<NamespacedIo>(std::move(io), world(mtu)->fd(host));
}

std::unique_ptr<PacketIo> make_shm_beside_packet(Counters& counters)
{
    auto wire = make_raw(make_packet_io, 0, true, counters);
    return wire == nullptr ? nullptr : make_shm_io({}, std::move(wire), counters);
}

#ifdef SRD_HAVE_XDP
/// One queue for each endpoint: another queue's packets come by the kernel.
template <XdpMode mode>
int make_xdp(const RawConfig& raw, Counters& counters, std::unique_ptr<PacketIo>& io, std::string& error)
{
    XdpConfig config;
    static_cast<RawConfig&>(config) = raw;
    config.mode = mode;
    config.queue_count = 1;
    return make_xdp_io(config, counters, io, error);
}
#endif

/// Every backend again through a network that does all that the contract allows.
std::vector<Backend> with_bad_network(std::vector<Backend> list)
{
    constexpr FaultPlan plan{
        .drop = 0.1, .duplicate = 0.1, .reorder = 0.2, .late = 0.2, .partial = 0.3, .seed = 7};
    for (std::size_t i = 0, count = list.size(); i < count; ++i) {
        const auto make = [inner = list[i].make, plan](Counters& counters,
                                                       unsigned host) -> std::unique_ptr<PacketIo> {
            std::unique_ptr<PacketIo> io = inner(counters, host);
            return io == nullptr ? nullptr : std::make_unique<FaultyIo>(std::move(io), plan);
        };
        list.push_back({list[i].name + " through a bad network", false, make, list[i].way});
    }
    return list;
}

#ifdef SRD_HAVE_VERBS
std::unique_ptr<PacketIo> make_verbs(const char* network, unsigned host, Counters& counters)
{
    std::string error;
    std::unique_ptr<PacketIo> io = make_verbs_host(network, host, counters, error);
    INFO(error);
    REQUIRE(io != nullptr);
    return io;
}

const std::vector<Backend> verbs_backends{
    {"verbs IPv4", true,
     [](Counters& counters, unsigned host) { return make_verbs("10.1.0.", host, counters); },
     &Counters::io_rdma_packets},
    {"verbs IPv6", true,
     [](Counters& counters, unsigned host) { return make_verbs("fd01::", host, counters); },
     &Counters::io_rdma_packets},
};
#endif

const std::vector<Backend> usual_backends{
    {"udp IPv4", true, [](Counters& counters, unsigned) { return make_udp("127.0.0.1", counters); }},
    {"udp IPv6", true, [](Counters& counters, unsigned) { return make_udp("::1", counters); }},
    {"udp IPv4 without offload", true,
     [](Counters& counters, unsigned) { return make_udp("127.0.0.1", counters, false); }},
    {"shm beside udp IPv4", true,
     [](Counters& counters, unsigned) { return make_shm_io({}, make_udp("127.0.0.1", counters), counters); },
     &Counters::io_shm_packets},
    {"shm beside packet IPv6", true,
     [](Counters& counters, unsigned) { return make_shm_beside_packet(counters); }, // both on one host
     &Counters::io_shm_packets},
    {"rails", true,
     [](Counters& counters, unsigned host) { return make_rails_host(world(1500), host, counters); }},
    {"packet IPv4", true,
     [](Counters& counters, unsigned host) { return make_raw(make_packet_io, host, false, counters); }},
    {"packet IPv6", true,
     [](Counters& counters, unsigned host) { return make_raw(make_packet_io, host, true, counters); }},
    {"packet IPv4 MTU 9000", true,
     [](Counters& counters, unsigned host) { return make_raw(make_packet_io, host, false, counters, 9000); }},
#ifdef SRD_HAVE_XDP
    {"xdp IPv6 MTU 9000", true,
     [](Counters& counters, unsigned host) {
         return make_raw(make_xdp<XdpMode::any>, host, true, counters, 9000);
     }},
    {"xdp native IPv4", true,
     [](Counters& counters, unsigned host) {
         return make_raw(make_xdp<XdpMode::native>, host, false, counters);
     }},
    {"xdp native IPv6", true,
     [](Counters& counters, unsigned host) {
         return make_raw(make_xdp<XdpMode::native>, host, true, counters);
     }},
    {"xdp generic IPv4", true,
     [](Counters& counters, unsigned host) {
         return make_raw(make_xdp<XdpMode::generic>, host, false, counters);
     }},
#endif
};

/// In the guest of tests/vm: its RDMA devices. Everywhere else: the rest.
const std::vector<Backend>& chosen_backends()
{
#ifdef SRD_HAVE_VERBS
    if (have_verbs_hosts()) {
        return verbs_backends;
    }
#endif
    return usual_backends;
}
const std::vector<Backend> backends = with_bad_network(chosen_backends());

struct Endpoint {
    Counters counters;
    std::unique_ptr<PacketIo> io;
};

/// Two endpoints that know each other.
struct Pair {
    Endpoint a;
    Endpoint b;
    RouteId a_to_b{};
    RouteId b_to_a{};

    explicit Pair(const Backend& backend)
    {
        a.io = backend.make(a.counters, 0);
        b.io = backend.make(b.counters, 1);
        if (!usable()) {
            return;
        }
        REQUIRE(a.io->resolve(b.io->local_address(), a_to_b) == Status::ok);
        REQUIRE(b.io->resolve(a.io->local_address(), b_to_a) == Status::ok);
        if (backend.way != nullptr) {
            REQUIRE(open_way(backend.way, *a.io, a.counters, a_to_b, *b.io, b.counters, b_to_a));
        }
    }
    bool usable() const { return a.io != nullptr && b.io != nullptr; }
};

void send_all(PacketIo& io, std::span<const TxPacket> burst)
{
    while (!burst.empty()) {
        burst = burst.subspan(io.tx_burst(burst));
    }
}

/// Receives at most `limit` packets in one burst and records their numbers.
std::size_t receive(PacketIo& io, std::size_t limit, std::vector<std::uint32_t>& numbers)
{
    std::array<RxPacket, 256> packets;
    const Time before = clock_now();
    const std::size_t count = io.rx_burst(std::span(packets).first(limit), before);
    REQUIRE(count <= limit);
    for (const RxPacket& packet : std::span(packets).first(count)) {
        const std::int64_t number = TestPacket::number_of(packet);
        REQUIRE(number >= 0);
        REQUIRE(packet.arrived <= before);
        numbers.push_back(static_cast<std::uint32_t>(number));
    }
    if (count != 0) {
        io.rx_release();
    }
    return count;
}

/// Sends packets of these lengths, again and again what is missing, until all have arrived.
void exchange(Pair& pair, const std::vector<std::size_t>& lengths, std::size_t pieces, std::size_t rx_limit,
              bool exact)
{
    std::vector<TestPacket> sources;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
        sources.emplace_back(static_cast<std::uint32_t>(i), lengths[i], pieces);
    }
    std::set<std::uint32_t> missing;
    for (std::uint32_t i = 0; i < lengths.size(); ++i) {
        missing.insert(i);
    }
    const std::uint16_t paths = pair.a.io->caps().path_count;
    std::uint32_t round = 0;
    std::vector<std::uint32_t> arrived;
    const bool all = eventually([&] {
        std::vector<TxPacket> burst;
        for (const std::uint32_t number : missing) {
            burst.push_back(
                sources[number].to(pair.a_to_b, PathId(static_cast<std::uint8_t>(round % paths))));
        }
        send_all(*pair.a.io, burst);
        for (unsigned idle = 0; idle < 64 && !missing.empty();) {
            arrived.clear();
            idle = receive(*pair.b.io, rx_limit, arrived) == 0 ? idle + 1 : 0;
            for (const std::uint32_t number : arrived) {
                REQUIRE(number < lengths.size());
                const bool first = missing.erase(number) == 1;
                if (exact && round == 0) {
                    REQUIRE(first);
                }
            }
        }
        ++round;
        return missing.empty();
    });
    REQUIRE(all);
}

} // namespace

TEST_CASE("io: an address resolves to one route that gives it back")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            if (!pair.usable()) {
                return;
            }
            PacketIo& io = *pair.a.io;
            const SocketAddress address = pair.b.io->local_address();
            REQUIRE(address.size() <= max_address_size);
            RouteId again{};
            REQUIRE(io.resolve(address, again) == Status::ok);
            CHECK(again == pair.a_to_b);
            CHECK(io.route_address(again) == address);
            CHECK(io.find(address) == again);
            SocketAddress nobody = address;
            nobody.set_port(1);
            CHECK(io.find(nobody) == no_id<RouteId>);
            CHECK(io.route_mtu(again) >= 548);
            CHECK(io.route_mtu(again) <= io.caps().max_packet);
            CHECK(io.caps().path_count >= 1);
            CHECK(io.caps().path_count <= 64);
            CHECK(io.caps().burst_packets >= 1);
            RouteId self{};
            REQUIRE(io.resolve(io.local_address(), self) == Status::ok);
            CHECK(self != pair.a_to_b);
        }
    }
}

TEST_CASE("io: an address that no peer can have is refused")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            if (!pair.usable()) {
                return;
            }
            RouteId route{};
            const bool ipv6 = pair.b.io->local_address().family() == AF_INET6;
            CHECK(pair.a.io->resolve({}, route) == Status::invalid);
            CHECK(pair.a.io->resolve(make_address(ipv6 ? "127.0.0.1" : "::1", 7000), route) ==
                  Status::invalid);
            CHECK(pair.a.io->resolve(make_address(ipv6 ? "::" : "0.0.0.0", 7000), route) == Status::invalid);
        }
    }
}

TEST_CASE("io: packets of every size and shape arrive intact")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            if (!pair.usable()) {
                return;
            }
            const std::size_t mtu = pair.a.io->route_mtu(pair.a_to_b);
            for (const std::size_t pieces : {std::size_t{1}, std::size_t{2}, max_tx_iov}) {
                exchange(pair, {4, 5, 63, 64, 65, 1000, 1472, 8972, mtu - 1, mtu, 4, mtu}, pieces, 256,
                         backend.exact);
            }
        }
    }
}

TEST_CASE("io: runs of equal packets arrive whole, also through small receive bursts")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            if (!pair.usable()) {
                return;
            }
            std::vector<std::size_t> lengths(200, 100);
            lengths[63] = 40;  // a batch may end with a shorter packet
            lengths[64] = 120; // and the next may be longer
            lengths.push_back(7);
            exchange(pair, lengths, 3, 256, backend.exact);
            exchange(pair, lengths, 1, 7, backend.exact);
            exchange(pair, lengths, 2, 1, backend.exact);
        }
    }
}

TEST_CASE("io: a burst to several routes is kept apart")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            Endpoint third;
            third.io = backend.make(third.counters, 1);
            if (!pair.usable() || third.io == nullptr) {
                return;
            }
            RouteId to_third{};
            REQUIRE(pair.a.io->resolve(third.io->local_address(), to_third) == Status::ok);
            std::set<std::uint32_t> at_b, at_third;
            const bool all = eventually([&] {
                std::vector<TestPacket> sources;
                for (std::uint32_t i = 0; i < 20; ++i) {
                    sources.emplace_back(i, 80);
                }
                std::vector<TxPacket> burst;
                for (std::uint32_t i = 0; i < 20; ++i) {
                    burst.push_back(sources[i].to(i % 3 == 0 ? to_third : pair.a_to_b, PathId{0}));
                }
                send_all(*pair.a.io, burst);
                std::vector<std::uint32_t> numbers;
                for (int i = 0; i < 32; ++i) {
                    receive(*pair.b.io, 256, numbers);
                }
                at_b.insert(numbers.begin(), numbers.end());
                numbers.clear();
                for (int i = 0; i < 32; ++i) {
                    receive(*third.io, 256, numbers);
                }
                at_third.insert(numbers.begin(), numbers.end());
                return at_b.size() + at_third.size() >= 20;
            });
            REQUIRE(all);
            for (std::uint32_t i = 0; i < 20; ++i) {
                CHECK(at_third.contains(i) == (i % 3 == 0));
                CHECK(at_b.contains(i) == (i % 3 != 0));
            }
        }
    }
}

TEST_CASE("io: the wait descriptor wakes for packets and for notify, and only then")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            if (!pair.usable()) {
                return;
            }
            PacketIo& io = *pair.b.io;
            const auto readable = [&] {
                pollfd polled{io.wait_fd(), POLLIN, 0};
                return ::poll(&polled, 1, 0) == 1;
            };
            CHECK(io.arm_wait());
            CHECK_FALSE(readable());

            io.notify();
            io.notify();
            CHECK(readable());
            io.arm_wait();
            CHECK_FALSE(readable());
            CHECK(io.arm_wait());
            io.notify(); // also after having been armed
            CHECK(readable());
            io.arm_wait();
            CHECK_FALSE(readable());

            TestPacket packet(1, 64);
            const TxPacket burst = packet.to(pair.a_to_b, PathId{0});
            REQUIRE(eventually([&] {
                send_all(*pair.a.io, {&burst, 1});
                return readable();
            }));
            CHECK_FALSE(io.arm_wait());
            std::vector<std::uint32_t> numbers;
            REQUIRE(eventually([&] {
                receive(io, 256, numbers);
                return io.arm_wait() && !readable();
            }));
        }
    }
}

TEST_CASE("io: a probe tells an existing endpoint from one that is gone")
{
    for (const Backend& backend : backends) {
        DYNAMIC_SECTION(backend.name)
        {
            Pair pair(backend);
            if (!pair.usable()) {
                return;
            }
            const auto answer = [&](RouteNotice::Kind wanted) {
                pair.a.io->probe_liveness(pair.a_to_b, LivenessProbe::exists, clock_now());
                std::array<RouteNotice, 4> notices;
                return eventually([&] {
                    const std::size_t count = pair.a.io->poll_notices(notices, clock_now());
                    bool answered = false;
                    for (const RouteNotice& notice : std::span(notices).first(count)) {
                        CHECK(notice.route == pair.a_to_b);
                        if (notice.kind == RouteNotice::Kind::same_host ||
                            notice.kind == RouteNotice::Kind::network) {
                            continue; // the backend's own way to the peer
                        }
                        CHECK(notice.kind == wanted);
                        answered = true;
                    }
                    return answered;
                });
            };
            CHECK(answer(RouteNotice::Kind::process_alive));
            CHECK(answer(RouteNotice::Kind::process_alive));
            pair.b.io.reset();
            CHECK(answer(RouteNotice::Kind::process_gone));
        }
    }
}
