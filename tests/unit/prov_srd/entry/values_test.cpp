// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "entry/values.hpp"

#include "support/catch.hpp"

using namespace srd;
using namespace std::chrono_literals;

TEST_CASE("values: sizes")
{
    const auto bytes = [](std::string_view text) { return to_bytes(text, 0, 1ULL << 40); };
    CHECK(bytes("0") == 0U);
    CHECK(bytes("16384") == 16384U);
    CHECK(bytes("12B") == 12U);
    for (const char* const text : {"8K", "8k", "8KB", "8KiB", "8 kib"}) {
        INFO(text);
        CHECK(bytes(text) == 8192U);
    }
    CHECK(bytes("3M") == 3U << 20);
    CHECK(bytes("2GiB") == 2ULL << 30);
    for (const char* const text : {"", "K", "-1", "+1", "1.5M", "8Q", "8K8", "8  K", " 8", "8 ", "0x10",
                                   "99999999999999999999", "18446744073709551615G"}) {
        INFO(text);
        CHECK_FALSE(bytes(text).has_value());
    }
    CHECK(to_bytes("64K", 65536, 65536) == 65536U);
    CHECK_FALSE(to_bytes("64K", 0, 65535).has_value());
    CHECK_FALSE(to_bytes("64K", 65537, 1U << 20).has_value());
}

TEST_CASE("values: times")
{
    const auto time = [](std::string_view text) { return to_time(text, 1ms, 0ms, 24h); };
    CHECK(time("250") == Duration(250ms)); // the variable's own unit
    CHECK(time("250us") == Duration(250us));
    CHECK(time("250MS") == Duration(250ms));
    CHECK(time("5 s") == Duration(5s));
    CHECK(time("2m") == Duration(2min));
    CHECK(time("24h") == Duration(24h));
    for (const char* const text : {"", "s", "soon", "1.5s", "-5s", "25h", "1d", "9999999999999999h"}) {
        INFO(text);
        CHECK_FALSE(time(text).has_value());
    }
    CHECK_FALSE(to_time("49us", 1us, 50us, 1s).has_value());
}

TEST_CASE("values: switches, words and names")
{
    for (const char* const text : {"1", "yes", "YES", "on", "On", "true"}) {
        CHECK(to_switch(text) == true);
    }
    for (const char* const text : {"0", "no", "off", "FALSE"}) {
        CHECK(to_switch(text) == false);
    }
    for (const char* const text : {"", "2", "y", "maybe"}) {
        CHECK_FALSE(to_switch(text).has_value());
    }
    CHECK(same_text("Adaptive", "adaptive"));
    CHECK_FALSE(same_text("adaptiv", "adaptive"));
    CHECK(to_names("eth0,eth1") == std::vector<std::string>{"eth0", "eth1"});
    CHECK_FALSE(to_names("").has_value());
    CHECK_FALSE(to_names(",eth0").has_value());
}

TEST_CASE("values: ranges of ports")
{
    CHECK(to_ports("7000-7099") == PortRange{7000, 7099});
    CHECK(to_ports("1-65535") == PortRange{1, 65535});
    CHECK(to_ports("7000-7000") == PortRange{7000, 7000});
    for (const char* const text : {"", "-", "7000", "7000-", "-7000", "7001-7000", "0-7000", "7000-65536",
                                   "7000-7001-7002", "7000:7001", "7000--7001", "a-b", " 7000-7001"}) {
        INFO(text);
        CHECK_FALSE(to_ports(text).has_value());
    }
}

TEST_CASE("values: the distance of two names")
{
    CHECK(edit_distance("", "") == 0);
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("PATH", "PATHS") == 1);
    CHECK(edit_distance("PATSH", "PATHS") == 2);
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("sitting", "kitten") == 3);
}
