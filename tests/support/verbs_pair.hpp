// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Endpoints of the verbs backend in the guest of tests/vm, which has two RDMA devices (tests/vm/rxe.sh).
#pragma once

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

#include <srd/counters.hpp>

#include "io/verbs_ud_io.hpp"

#include "support/io_harness.hpp"

namespace srd::test {

/// True in that guest.
inline bool have_verbs_hosts()
{
    return std::getenv("SRD_TEST_VERBS") != nullptr;
}

/// Host 0 is 10.1.0.1 on rxv0, host 1 is 10.1.0.2 on rxv1, for `network` "10.1.0."; port 0: any.
inline std::unique_ptr<PacketIo> make_verbs_host(const std::string& network, unsigned host,
                                                 Counters& counters, std::string& error,
                                                 std::uint16_t port = 0)
{
    VerbsConfig config;
    config.device = "rxv" + std::to_string(host);
    config.local_address = make_address((network + std::to_string(host + 1)).c_str(), port);
    config.max_routes = 64;
    config.path_count = 16;
    config.socket_buffer = 4U << 20;
    std::unique_ptr<PacketIo> io;
    make_verbs_io(config, counters, io, error);
    return io;
}

/// Receives and throws away, returned memory too, until nothing has come for `quiet`.
inline void drain(PacketIo& io, Duration quiet)
{
    std::array<RxPacket, 64> packets;
    std::array<DescId, 64> reaped;
    for (Time end = clock_now() + quiet; clock_now() < end;) {
        io.tx_reap(reaped);
        if (io.rx_burst(packets, clock_now()) != 0) {
            io.rx_release();
            end = clock_now() + quiet;
        }
    }
}

/// Sends until the packets of both directions go through queue pairs, and nothing is under way.
inline bool open_queue_pairs(PacketIo& a, const Counters& a_counters, RouteId a_to_b, PacketIo& b,
                             const Counters& b_counters, RouteId b_to_a)
{
    TestPacket packet(0, 64);
    const TxPacket from_a = packet.to(a_to_b, PathId{0});
    const TxPacket from_b = packet.to(b_to_a, PathId{0});
    const bool open = eventually([&] {
        a.tx_burst({&from_a, 1});
        b.tx_burst({&from_b, 1});
        drain(a, std::chrono::microseconds(500));
        drain(b, std::chrono::microseconds(500));
        return a_counters.io_rdma_packets.value() != 0 && b_counters.io_rdma_packets.value() != 0;
    });
    drain(a, std::chrono::milliseconds(10));
    drain(b, std::chrono::milliseconds(10));
    return open;
}

} // namespace srd::test
