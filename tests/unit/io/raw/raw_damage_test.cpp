// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames damaged under way: the raw backends verify the checksums themselves, and what they
// deliver is intact. Needs root for namespaces; where there are none, the case says so.
#include <algorithm>
#include <array>
#include <random>
#include <set>

#include <srd/counters.hpp>

#include "io/packet/packet_ring_io.hpp"
#include "io/raw/raw_frame.hpp"
#ifdef SRD_HAVE_XDP
#include "io/xdp/xdp_io.hpp"
#endif

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"
#include "support/io/net_world.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// The Internet checksum's sum, folded.
std::uint32_t sum_of(std::span<const std::byte> bytes, std::uint32_t sum)
{
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        sum += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    }
    while (sum > 0xffff) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/// True if the frame's UDP checksum is there and right; the kernel leaves it to others on a virtual device.
bool has_checksum(std::span<const std::byte> frame, int family)
{
    const std::size_t host = family == AF_INET ? 4 : 16;
    const std::size_t udp = raw_overhead(family) - 8;
    const auto length = static_cast<std::uint32_t>(frame.size() - udp);
    return sum_of(frame.subspan(udp - 2 * host), length + IPPROTO_UDP) == 0xffff;
}

/// Flips one bit in a third of the frames behind their Ethernet headers.
class DamagingRing final : public FrameRing {
public:
    DamagingRing(std::unique_ptr<FrameRing> inner, int family, std::uint64_t& damaged)
        : inner_(std::move(inner)), family_(family), damaged_(damaged)
    {
    }
    std::uint32_t max_frame() const noexcept override { return inner_->max_frame(); }
    std::uint32_t rx_capacity() const noexcept override { return inner_->rx_capacity(); }
    std::size_t rx_burst(std::span<RxFrame> frames, Time now) override
    {
        const std::size_t count = inner_->rx_burst(frames, now);
        for (RxFrame& frame : frames.first(count)) {
            if (frame.verified || random_() % 3 != 0 || !has_checksum(frame.bytes, family_)) {
                continue;
            }
            std::vector<std::byte>& copy = copies_.emplace_back(frame.bytes.begin(), frame.bytes.end());
            const std::size_t at = ethernet_header + random_() % (copy.size() - ethernet_header);
            copy[at] ^= std::byte{1} << (random_() % 8);
            frame.bytes = copy;
            ++damaged_;
        }
        return count;
    }
    void rx_release() noexcept override
    {
        copies_.clear();
        inner_->rx_release();
    }
    bool rx_waiting() const noexcept override { return inner_->rx_waiting(); }
    std::byte* tx_room() override { return inner_->tx_room(); }
    void tx_push(std::uint32_t length) override { inner_->tx_push(length); }
    void tx_flush() override { inner_->tx_flush(); }
    std::span<const int> wait_fds() const noexcept override { return inner_->wait_fds(); }
    std::uint64_t take_drops() noexcept override { return inner_->take_drops(); }

private:
    std::unique_ptr<FrameRing> inner_;
    int family_;
    std::uint64_t& damaged_;
    std::mt19937_64 random_{11};
    std::vector<std::vector<std::byte>> copies_; // until rx_release()
};

struct Kind {
    const char* name;
    bool taps;
    int (*make)(const RawConfig&, const RingPlan&, std::unique_ptr<FrameRing>&, std::string&);
};

int make_packet(const RawConfig& /*config*/, const RingPlan& plan, std::unique_ptr<FrameRing>& ring,
                std::string& error)
{
    return make_packet_ring(plan, ring, error);
}

#ifdef SRD_HAVE_XDP
int make_xdp(const RawConfig& raw, const RingPlan& plan, std::unique_ptr<FrameRing>& ring, std::string& error)
{
    XdpConfig config;
    static_cast<RawConfig&>(config) = raw;
    std::string description;
    return make_xdp_ring(config, plan, ring, description, error);
}
#endif

const std::vector<Kind>& kinds()
{
    static const std::vector<Kind> all{
        {"packet", true, make_packet},
#ifdef SRD_HAVE_XDP
        {"xdp", false, make_xdp},
#endif
    };
    return all;
}

/// An endpoint on that host, whose ring damages what it gets.
std::unique_ptr<PacketIo> open_damaging(const NetWorld& world, const Kind& kind, bool ipv6, unsigned host,
                                        Counters& counters, std::uint64_t& damaged)
{
    RawConfig config;
    config.interface = "veth0";
    config.local_address = make_address(NetWorld::address(host, ipv6));
    config.max_routes = 16;
    config.socket_buffer = 2U << 20;
    const auto make = [&](const RingPlan& plan, std::unique_ptr<FrameRing>& ring, std::string& error) {
        std::unique_ptr<FrameRing> inner;
        const int code = kind.make(config, plan, inner, error);
        ring = std::make_unique<DamagingRing>(std::move(inner), ipv6 ? AF_INET6 : AF_INET, damaged);
        return code;
    };
    const InsideNamespace inside(world.fd(host));
    std::unique_ptr<PacketIo> io;
    std::string error;
    const int code = make_raw_io(config, kind.taps, make, counters, io, error);
    INFO(error);
    REQUIRE(code == 0);
    return std::make_unique<NamespacedIo>(std::move(io), world.fd(host));
}

} // namespace

TEST_CASE("raw: a damaged frame is counted and never delivered")
{
    const auto world = NetWorld::make(1500);
    if (world == nullptr) {
        WARN("SKIPPED: no network of namespaces here (needs root)");
        return;
    }
    for (const Kind& kind : kinds()) {
        for (const bool ipv6 : {false, true}) {
            DYNAMIC_SECTION(kind.name << (ipv6 ? " IPv6" : " IPv4"))
            {
                std::array<Counters, 2> counters;
                std::array<std::uint64_t, 2> damaged{};
                const auto a = open_damaging(*world, kind, ipv6, 0, counters[0], damaged[0]);
                const auto b = open_damaging(*world, kind, ipv6, 1, counters[1], damaged[1]);
                const RouteId route = route_to(*a, *b);
                std::vector<TestPacket> sources;
                for (std::uint32_t i = 0; i < 50; ++i) {
                    sources.emplace_back(i, 4 + i * 7);
                }
                std::set<std::int64_t> seen;
                const bool enough = eventually([&] {
                    for (TestPacket& source : sources) {
                        const TxPacket packet = source.to(route, PathId{0});
                        a->tx_burst({&packet, 1});
                    }
                    std::array<RouteNotice, 4> notices;
                    a->poll_notices(notices, clock_now());
                    std::array<RxPacket, 64> packets;
                    for (unsigned idle = 0; idle < 64;) {
                        const std::size_t count = b->rx_burst(packets, clock_now());
                        idle = count == 0 ? idle + 1 : 0;
                        for (const RxPacket& packet : std::span(packets).first(count)) {
                            const std::int64_t number = TestPacket::number_of(packet);
                            REQUIRE(number >= 0);
                            REQUIRE(packet.length == sources.at(static_cast<std::size_t>(number)).size());
                            seen.insert(number);
                        }
                        if (count != 0) {
                            b->rx_release();
                        }
                    }
                    return seen.size() == sources.size() && damaged[1] > 1000;
                });
                CHECK(enough);
                const std::uint64_t dropped = counters[1].io_rx_dropped.value();
                CHECK(dropped <= damaged[1]);
                // IPv6 leaves its first eight bytes but the length unprotected.
                CHECK(dropped >= damaged[1] * (ipv6 ? 8 : 10) / 10);
            }
        }
    }
}
