// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "send/fragmentation.hpp"
#include "support/catch.hpp"

using srd::Fragmentation;

TEST_CASE(
    "Fragmentation: nothing is too long before the MTU has fallen, nor when all of that time is acknowledged")
{
    Fragmentation parts;
    CHECK_FALSE(parts.any());
    parts.on_mtu_fallen(0xfffffff0);
    CHECK(parts.any());
    parts.on_progress(0xffffffef);
    CHECK(parts.any());
    parts.on_mtu_fallen(5); // again
    parts.on_progress(0xfffffff0);
    CHECK(parts.any());
    parts.on_progress(5);
    CHECK_FALSE(parts.any());
    CHECK_FALSE(parts.under_way());
}

TEST_CASE("Fragmentation: one packet is under way, and fragments that were taken back go again")
{
    Fragmentation parts;
    parts.on_mtu_fallen(10);
    parts.begin(7);
    CHECK(parts.under_way());
    CHECK(parts.psn() == 7);
    CHECK(parts.offset() == 0);
    parts.sent_until(1448);
    CHECK(parts.offset() == 1448);
    CHECK(parts.more());
    parts.sent_all();
    CHECK_FALSE(parts.more());
    parts.sent_until(1448);
    CHECK(parts.more());
    parts.sent_until(65528); // the largest
    CHECK(parts.offset() == 65528);
    parts.on_mtu_fallen(300);
    CHECK(parts.psn() == 7);
    CHECK(parts.under_way());
    parts.on_mtu_fallen(70000);
    CHECK_FALSE(parts.under_way());
    parts.begin(69999);
    CHECK(parts.psn() == 69999);
    CHECK(parts.offset() == 0);
}
