// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <net/if.h>

#include "io/host/interfaces.hpp"

#include "support/catch.hpp"
#include "support/io/io_harness.hpp"

using namespace srd;
using namespace srd::test;

TEST_CASE("interfaces: every entry can be bound, loopback comes last")
{
    const std::vector<NetInterface> list = list_interfaces();
    REQUIRE_FALSE(list.empty());
    bool loopback_seen = false;
    for (const NetInterface& entry : list) {
        INFO(entry.name);
        CHECK(entry.index == ::if_nametoindex(entry.name.c_str()));
        CHECK(entry.mtu >= 576);
        CHECK((entry.is_loopback || !loopback_seen));
        loopback_seen = loopback_seen || entry.is_loopback;
        if (entry.is_up) {
            const auto opened = open_udp(entry.address);
            INFO(opened->error);
            CHECK(opened->code == 0);
        }
        if (entry.is_loopback) {
            const bool ipv4 = entry.address.family() == AF_INET;
            CHECK(subnet_text(entry) == (ipv4 ? "127.0.0.0/8" : "::1/128"));
        }
    }
}
