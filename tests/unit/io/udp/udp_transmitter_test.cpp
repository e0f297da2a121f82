// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// How packets become messages and calls: single ones, and batches.
#include <array>
#include <set>
#include <vector>

#include "io/udp/copy_choice.hpp"
#include "io/udp/udp_io.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"

using namespace srd;
using namespace srd::test;

TEST_CASE("udp: lone packets in a row follow their routes, and a closed port among them is noticed")
{
    const auto opened = open_udp(make_address("127.0.0.1"));
    const auto first = open_udp(make_address("127.0.0.1"));
    const auto second = open_udp(make_address("127.0.0.1"));
    REQUIRE(opened->code == 0);
    const RouteId to_first = route_to(*opened->io, *first->io);
    const RouteId to_second = route_to(*opened->io, *second->io);
    const auto count_arrivals = [](PacketIo& io) {
        std::array<RxPacket, 64> packets;
        std::size_t total = 0;
        for (int i = 0; i < 200; ++i) {
            const std::size_t count = io.rx_burst(packets, clock_now());
            total += count;
            if (count != 0) {
                io.rx_release();
            }
        }
        return total;
    };
    TestPacket packet(1, 64);
    // Long enough for each to become the preferred route in turn, with strays to the other between.
    for (int round = 0; round < 4; ++round) {
        const RouteId preferred = round % 2 == 0 ? to_first : to_second;
        const RouteId other = round % 2 == 0 ? to_second : to_first;
        for (int i = 0; i < 60; ++i) {
            const TxPacket burst = packet.to(i % 20 == 19 ? other : preferred, PathId{0});
            REQUIRE(opened->io->tx_burst({&burst, 1}) == 1);
        }
        CHECK(count_arrivals(*first->io) == (round % 2 == 0 ? 57 : 3));
        CHECK(count_arrivals(*second->io) == (round % 2 == 0 ? 3 : 57));
    }
    second->io.reset();
    const TxPacket lone = packet.to(to_second, PathId{0});
    for (int i = 0; i < 40; ++i) {
        CHECK(opened->io->tx_burst({&lone, 1}) == 1);
    }
    CHECK(noticed(*opened->io, to_second, RouteNotice::Kind::port_unreachable, [&] {
        CHECK(opened->io->tx_burst({&lone, 1}) == 1);
    }));
    CHECK(opened->counters.io_tx_errors.value() == 0);
}

TEST_CASE("udp: batches of short pieces arrive whole, laid together or not")
{
    const auto a = open_udp(make_address("127.0.0.1"));
    const auto b = open_udp(make_address("127.0.0.1"));
    REQUIRE(a->code == 0);
    const RouteId route = route_to(*a->io, *b->io);
    std::vector<TestPacket> sources; // more than are laid together for one call
    for (std::uint32_t i = 0; i < 120; ++i) {
        sources.emplace_back(i, i % 50 == 49 ? 700 : 1400, 1 + i % 2);
    }
    for (std::size_t round = 0; round < 3 * CopyChoice::samples; ++round) { // each way, and what was chosen
        std::vector<TxPacket> burst;
        for (TestPacket& source : sources) {
            burst.push_back(source.to(route, PathId{0}));
        }
        REQUIRE(a->io->tx_burst(burst) == burst.size());
        const std::set<std::int64_t> arrived = arriving(*b->io, burst.size(), [](const RxPacket&) {});
        CHECK(arrived.size() == burst.size());
        CHECK_FALSE(arrived.contains(-1));
    }
    CHECK(a->counters.io_tx_errors.value() == 0);
}
