// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets that the kernel has joined: on a virtual device, what a UDP socket sends in one call arrives as
// one long frame (and a NIC's receive offload makes such frames of what came singly). The raw backends
// must give back the packets. Needs root for namespaces; where there are none, the case says so.
#include <array>
#include <set>

#include <srd/counters.hpp>

#include "io/packet/packet_ring_io.hpp"
#ifdef SRD_HAVE_XDP
#include "io/xdp/xdp_io.hpp"
#endif

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct Receiver {
    const char* name;
    int (*make)(const RawConfig&, Counters&, std::unique_ptr<PacketIo>&, std::string&);
};

#ifdef SRD_HAVE_XDP
template <XdpMode mode>
int make_xdp(const RawConfig& raw, Counters& counters, std::unique_ptr<PacketIo>& io, std::string& error)
{
    XdpConfig config;
    static_cast<RawConfig&>(config) = raw;
    config.mode = mode;
    return make_xdp_io(config, counters, io, error);
}
#endif

const std::vector<Receiver>& receivers()
{
    static const std::vector<Receiver> all{
        {"packet", make_packet_io},
#ifdef SRD_HAVE_XDP
        {"xdp native", make_xdp<XdpMode::native>},
        {"xdp generic", make_xdp<XdpMode::generic>},
#endif
    };
    return all;
}

/// Receives for a while, at most `limit` packets at a time, and notes the numbers of those that are intact.
void collect(PacketIo& io, std::size_t limit, std::size_t length, std::multiset<std::int64_t>& numbers,
             std::size_t enough)
{
    std::array<RxPacket, 64> packets;
    const Time end = clock_now() + std::chrono::seconds(2);
    while (numbers.size() < enough && clock_now() < end) {
        const std::size_t count = io.rx_burst(std::span(packets).first(limit), clock_now());
        for (const RxPacket& packet : std::span(packets).first(count)) {
            CHECK(packet.length == length);
            numbers.insert(TestPacket::number_of(packet));
        }
        if (count != 0) {
            io.rx_release();
        }
    }
}

} // namespace

TEST_CASE("raw: every packet of a batch that the kernel left joined arrives, whole and alone")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    for (const Receiver& receiver : receivers()) {
        // Batches longer than a frame, and shorter: two of 100 bytes fit into one.
        for (const std::size_t length : {std::size_t{1400}, std::size_t{600}, std::size_t{100}}) {
            for (const std::size_t limit : {std::size_t{64}, std::size_t{3}}) {
                DYNAMIC_SECTION(receiver.name << ", packets of " << length << ", " << limit << " at a time")
                {
                    Counters counters;
                    std::unique_ptr<PacketIo> target;
                    std::string error;
                    {
                        const InsideNamespace inside(world->fd(1));
                        RawConfig config;
                        config.interface = "veth0";
                        config.local_address = make_address(NetWorld::address(1, false));
                        config.max_routes = 16;
                        INFO(error);
                        REQUIRE(receiver.make(config, counters, target, error) == 0);
                    }
                    NamespacedIo io(std::move(target), world->fd(1));
                    const InsideNamespace inside(world->fd(0));
                    const auto udp = open_udp(make_address(NetWorld::address(0, false)));
                    REQUIRE(udp->code == 0);
                    const RouteId route = route_to(*udp->io, io);
                    for (const std::size_t size : {std::size_t{2}, std::size_t{7}, std::size_t{40}}) {
                        std::vector<TestPacket> sources;
                        std::vector<TxPacket> burst;
                        for (std::uint32_t i = 0; i < size; ++i) {
                            sources.emplace_back(i, length);
                        }
                        for (TestPacket& source : sources) {
                            burst.push_back(source.to(route, PathId{0}));
                        }
                        REQUIRE(udp->io->tx_burst(burst) == size);
                        std::multiset<std::int64_t> numbers;
                        collect(io, limit, length, numbers, size);
                        CHECK(numbers.size() == size);
                        CHECK(std::set(numbers.begin(), numbers.end()).size() == size);
                        CHECK_FALSE(numbers.contains(-1));
                    }
                }
            }
        }
    }
}
