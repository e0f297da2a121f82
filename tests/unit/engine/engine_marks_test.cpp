// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Congestion marks, from the packet that bears one to what its sender does: each path hears of its own, and
// acknowledgements become dense.
#include <cstring>

#include "wire/layout.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct Seen {
    std::uint64_t switches; ///< paths to be passed over
    std::uint64_t sent;     ///< packets
    std::uint64_t asked;    ///< of these: asked for an acknowledgement
};

/// Of a stream of large messages whose packets arrive with a mark, or without.
Seen stream(bool marked)
{
    EnginePair pair({.burst_packets = 44}); // with many paths
    const Bytes bytes = pattern(400000);
    REQUIRE(pair.deliver(bytes)); // they know each other
    std::uint64_t sent = 0;
    std::uint64_t asked = 0;
    pair.a.io.watch = [&](const TxPacket& packet) {
        wire::PacketHeader header;
        std::memcpy(&header, packet.iov.front().iov_base, sizeof(header));
        sent += (header.flags & wire::packet_flag::sequenced) != 0 ? 1U : 0U;
        asked += (header.flags & wire::packet_flag::ack_requested) != 0 ? 1U : 0U;
    };
    pair.b.io.marked = marked;
    for (int i = 0; i < 5; ++i) {
        REQUIRE(pair.deliver(bytes));
    }
    return {pair.a.counters.path_switches.value(), sent, asked};
}

} // namespace

TEST_CASE("marks: they reach the paths of the packets that bore them, and make acknowledgements dense")
{
    const Seen without = stream(false);
    const Seen with = stream(true);
    CHECK(without.switches == 0);
    CHECK(with.switches > 1); // more than one path
    CHECK(without.asked * 8 < without.sent);
    CHECK(with.asked * 2 > with.sent);
}
