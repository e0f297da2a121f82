// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What is said once per process, so a program of its own.
#include <limits>

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"

using namespace srd;
using namespace srd::test;

TEST_CASE("udp: that the kernel limits socket buffers is told once, to the first who listens")
{
    UdpConfig config;
    config.local_address = make_address("127.0.0.1");
    config.socket_buffer = std::numeric_limits<std::uint32_t>::max(); // more than any kernel gives
    Counters counters;
    std::unique_ptr<PacketIo> deaf;
    std::string error;
    REQUIRE(make_udp_io(config, counters, deaf, error) == 0);
    for (const std::size_t expected : {std::size_t{2}, std::size_t{0}}) {
        const auto opened = open_udp(config.local_address, config);
        REQUIRE(opened->code == 0);
        CHECK(opened->warnings.size() == expected);
    }
}
