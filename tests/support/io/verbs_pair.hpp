// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Endpoints of the verbs backend in the guest of tests/vm, which has two RDMA devices (tests/vm/rxe.sh).
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include <srd/counters.hpp>

#include "io/verbs/verbs_ud_io.hpp"

#include "support/io/io_harness.hpp"

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

} // namespace srd::test
