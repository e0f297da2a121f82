// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Several backends as one, between two hosts that have an IPv4 and an IPv6 address each, and one more.
#include <array>
#include <map>
#include <string>
#include <vector>

#include <poll.h>

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"
#include "support/io/rails_host.hpp"

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t port = 7321;

/// The namespace that a call needs is this thread's as long as the object lives.
class Host {
public:
    Host(const NetWorld& world, unsigned host, const std::vector<std::string>& addresses,
         std::uint16_t first_port = port)
        : inside_(world.fd(host))
    {
        io = make_rails(addresses, first_port, counters);
    }

    Counters counters;
    std::unique_ptr<PacketIo> io;

private:
    InsideNamespace inside_;
};

const NetWorld* world()
{
    static const std::unique_ptr<NetWorld> made = [] {
        std::unique_ptr<NetWorld> network = NetWorld::make(1500);
        if (network != nullptr && !(network->run(0, "ip addr add 10.96.0.11/24 dev veth0") &&
                                    network->run(1, "ip addr add 10.96.0.12/24 dev veth0"))) {
            network.reset();
        }
        return network;
    }();
    if (made == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
    }
    return made.get();
}

const std::vector<std::string> three_of_a{"10.96.0.1", "fd96::1", "10.96.0.11"};
const std::vector<std::string> three_of_b{"10.96.0.2", "fd96::2", "10.96.0.12"};

bool readable(int fd, int timeout_ms)
{
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, timeout_ms) == 1;
}

/// Numbers of the packets that have come.
std::map<std::int64_t, int> receive(PacketIo& io, std::size_t expected)
{
    std::map<std::int64_t, int> seen;
    std::array<RxPacket, 64> packets;
    std::size_t count = 0;
    eventually([&] {
        const std::size_t got = io.rx_burst(packets, clock_now());
        for (const RxPacket& packet : std::span(packets).first(got)) {
            ++seen[TestPacket::number_of(packet)];
        }
        count += got;
        io.rx_release();
        return count >= expected;
    });
    return seen;
}

} // namespace

TEST_CASE("RailsIo: packets take every way between addresses of one family")
{
    if (world() == nullptr) {
        return;
    }
    Host b(*world(), 1, three_of_b);
    const std::span<const std::byte> told = b.io->caps().rails;
    REQUIRE(told.size() == 2 * rail_size);
    CHECK(b.io->caps().rail_count == 3);
    Host a(*world(), 0, three_of_a);
    const RouteId route = route_to(*a.io, *b.io);
    // Way: ours + 3 * the peer's. Families: 4, 6, 4.
    constexpr std::uint16_t of_one_family = 0b101010101;
    CHECK(a.io->set_peer_rails(route, told) == of_one_family);
    CHECK(a.io->set_peer_rails(route, told) == of_one_family); // the same peer, again
    std::vector<TestPacket> made;
    made.reserve(16);
    std::vector<TxPacket> packets;
    for (std::uint32_t way = 0; way < 9; ++way) {
        if ((of_one_family >> way & 1) != 0) {
            for (const unsigned path : {way, way + 9}) {
                made.emplace_back(path, 300 + way);
                packets.push_back(made.back().to(route, PathId(path)));
                packets.back().way = static_cast<std::uint8_t>(way);
            }
        }
    }
    CHECK(a.io->tx_burst(packets) == packets.size());
    const auto seen = receive(*b.io, packets.size());
    CHECK(seen.size() == packets.size());
    CHECK(seen.count(-1) == 0);
}

TEST_CASE("RailsIo: a way to a peer that has told nothing, and one between families, is lost")
{
    if (world() == nullptr) {
        return;
    }
    Host b(*world(), 1, three_of_b);
    Host a(*world(), 0, three_of_a);
    const RouteId route = route_to(*a.io, *b.io);
    TestPacket test(1, 200);
    std::array packets{test.to(route, PathId{0}), test.to(route, PathId{4}), test.to(route, PathId{0})};
    packets[1].way = 4;
    CHECK(a.io->tx_burst(packets) == 3);
    CHECK(receive(*b.io, 2)[1] == 2);
    a.io->set_peer_rails(route, b.io->caps().rails);
    packets[1].way = 1; // IPv6 to IPv4
    CHECK(a.io->tx_burst(packets) == 3);
    CHECK(receive(*b.io, 2)[1] == 2);
}

TEST_CASE("RailsIo: an address that is a peer's own is nobody else's")
{
    if (world() == nullptr) {
        return;
    }
    Host b(*world(), 1, three_of_b);
    Host other(*world(), 1, {"10.96.0.12", "fd96::2"}, port + 1);
    Host a(*world(), 0, three_of_a);
    const RouteId route = route_to(*a.io, *b.io);
    // b claims its own first address as a further one, which has a route.
    const auto claim = other.io->caps().rails; // fd96::2
    std::array<std::byte, 2 * rail_size> claims{};
    claims[10] = claims[11] = std::byte{0xff};
    claims[12] = std::byte{10};
    claims[13] = std::byte{96};
    claims[15] = std::byte{2};
    std::ranges::copy(claim, claims.begin() + rail_size);
    CHECK(a.io->set_peer_rails(route, claims) == 0b010000101); // ways 0, 2 and, to the IPv6 address, 7

    // It claims an address first, and then somebody is met there.
    claims[15] = std::byte{12};
    CHECK(a.io->set_peer_rails(route, claims) == 0b010101101);
    const SocketAddress contested = make_address("10.96.0.12", port);
    CHECK(a.io->find(contested) == no_id<RouteId>); // it is nobody's own yet
    RouteId own{};
    REQUIRE(a.io->resolve(contested, own) == Status::ok);
    CHECK(own != route);
    CHECK(a.io->find(contested) == own);
    TestPacket test(5, 200);
    TxPacket packet = test.to(route, PathId{3});
    packet.way = 3; // from our first address to that one: b's no more
    CHECK(a.io->tx_burst(std::span(&packet, 1)) == 1);
    std::array<RxPacket, 8> none;
    for (const Time end = clock_now() + 50ms; clock_now() < end;) {
        REQUIRE(b.io->rx_burst(none, clock_now()) == 0);
    }
    CHECK(a.io->forget_route(route));
    CHECK(a.io->route_address(own) == contested); // its new owner keeps it
    TxPacket to_owner = test.to(own, PathId{0});
    CHECK(a.io->tx_burst(std::span(&to_owner, 1)) == 1);
    CHECK(receive(*b.io, 1)[5] == 1); // b does live there in truth
}

TEST_CASE("RailsIo: packets by any rail wake a sleeper")
{
    if (world() == nullptr) {
        return;
    }
    Host b(*world(), 1, three_of_b);
    Host a(*world(), 0, three_of_a);
    const RouteId route = route_to(*a.io, *b.io);
    a.io->set_peer_rails(route, b.io->caps().rails);
    for (const std::uint8_t way : {std::uint8_t{0}, std::uint8_t{4}, std::uint8_t{8}}) {
        drain(*b.io, 1ms);
        REQUIRE(eventually([&] { return b.io->arm_wait(); }));
        TestPacket test(way, 100);
        TxPacket packet = test.to(route, PathId(way));
        packet.way = way;
        CHECK(a.io->tx_burst(std::span(&packet, 1)) == 1);
        CHECK(readable(b.io->wait_fd(), 2000));
        CHECK(receive(*b.io, 1)[way] == 1);
    }
    REQUIRE(eventually([&] { return b.io->arm_wait(); }));
    b.io->notify();
    CHECK(readable(b.io->wait_fd(), 2000));
}
