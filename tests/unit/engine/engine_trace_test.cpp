// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <algorithm>
#include <map>
#include <vector>

#include <srd/trace.hpp>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"
#include "wire/layout.hpp"

using namespace srd;
using namespace srd::test;

namespace {

class Listener final : public TraceSink {
public:
    void on_packet(TraceKind kind, RouteId, std::span<const iovec> bytes) noexcept override
    {
        ++seen[kind];
        wire::PacketHeader header;
        REQUIRE(bytes[0].iov_len >= sizeof(header));
        for (const iovec& piece : bytes) {
            total[kind] += piece.iov_len;
        }
    }
    void on_event(TraceKind kind, RouteId route, std::uint32_t value) noexcept override
    {
        CHECK(route != no_id<RouteId>);
        ++seen[kind];
        values[kind] = value;
    }

    std::map<TraceKind, std::uint64_t> seen;
    std::map<TraceKind, std::uint64_t> total;
    std::map<TraceKind, std::uint32_t> values;
};

} // namespace

TEST_CASE("trace: every packet is told, and what is sent again with the reason")
{
    EnginePair pair;
    Listener at_a;
    Listener at_b;
    pair.a.engine.set_trace(&at_a);
    pair.b.engine.set_trace(&at_b);
    pair.a.io.drop = [](std::size_t number) { return number % 10 == 9; };
    const Bytes message = pattern(60'000);
    REQUIRE(pair.deliver(message));
    CHECK(at_a.seen[TraceKind::met] == 1);
    CHECK(at_a.values[TraceKind::met] == Dialect{}.newest);
    CHECK(at_a.seen[TraceKind::sent] == pair.a.counters.tx_packets.value());
    CHECK(at_a.total[TraceKind::sent] == pair.a.counters.tx_bytes.value());
    CHECK(at_b.seen[TraceKind::received] == pair.b.counters.rx_packets.value());
    CHECK(at_b.total[TraceKind::received] == pair.b.counters.rx_bytes.value());
    const std::uint64_t again = at_a.seen[TraceKind::again_rack] + at_a.seen[TraceKind::again_probe] +
                                at_a.seen[TraceKind::again_timeout];
    CHECK(again != 0);
    CHECK(at_a.seen[TraceKind::again_rack] == pair.a.counters.retransmits_rack.value());
    CHECK(at_a.seen[TraceKind::again_probe] == pair.a.counters.retransmits_probe.value());
    CHECK(at_a.seen[TraceKind::again_timeout] == pair.a.counters.retransmits_timeout.value());

    pair.a.engine.set_trace(nullptr);
    const std::uint64_t told = at_a.seen[TraceKind::sent];
    REQUIRE(pair.deliver(message));
    CHECK(at_a.seen[TraceKind::sent] == told);
}
