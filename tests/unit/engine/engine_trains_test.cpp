// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Packets of a large message take a path in trains, each of which the kernel takes as one message: as many as
// fit 64 KiB as they are on the wire. One more would go as a message of its own.
#include <algorithm>
#include <vector>

#include <srd/limits.hpp>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// The longest train of full packets between two changes of path.
std::size_t longest_train(std::uint16_t overhead)
{
    EnginePair world({.max_packet = 1472U - overhead, .burst_packets = 64, .overhead = overhead});
    REQUIRE(world.deliver(pattern(10)));
    std::vector<std::size_t> trains;
    PathId path{};
    world.a.io.watch = [&](const TxPacket& packet) {
        if (packet.length != 1472U - overhead) {
            return;
        }
        if (trains.empty() || packet.path != path) {
            trains.push_back(0);
        }
        path = packet.path;
        ++trains.back();
    };
    REQUIRE(world.deliver(pattern(600'000)));
    REQUIRE(trains.size() > 4);
    return *std::max_element(trains.begin(), trains.end());
}

} // namespace

TEST_CASE("trains: as many packets as one message of the kernel holds, with what they grow by on the way")
{
    for (const std::uint16_t overhead : {std::uint16_t{0}, std::uint16_t{24}, std::uint16_t{400}}) {
        CHECK(longest_train(overhead) == max_udp_payload / 1472);
    }
}
