// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Congestion marks, from the packet that bears one to what its sender does: each path hears of its own, and
// acknowledgements become dense.
#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct Seen {
    std::uint64_t switches; ///< paths to be passed over
    std::uint64_t acks;     ///< that the receiver sent
};

/// Of a stream of large messages whose packets arrive with a mark, or without.
Seen stream(bool marked)
{
    EnginePair pair({.burst_packets = 44}); // with many paths
    const Bytes bytes = pattern(400000);
    REQUIRE(pair.deliver(bytes)); // they know each other
    const std::uint64_t before = pair.b.counters.tx_acks.value();
    pair.b.io.marked = marked;
    for (int i = 0; i < 5; ++i) {
        REQUIRE(pair.deliver(bytes));
    }
    return {pair.a.counters.path_switches.value(), pair.b.counters.tx_acks.value() - before};
}

} // namespace

TEST_CASE("marks: they reach the paths of the packets that bore them, and make acknowledgements dense")
{
    const Seen without = stream(false);
    const Seen with = stream(true);
    CHECK(without.switches == 0);
    CHECK(with.switches > 1); // more than one path
    CHECK(with.acks >= without.acks + without.acks / 4);
}
