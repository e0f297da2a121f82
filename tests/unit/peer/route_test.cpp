// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/route.hpp"
#include "support/catch.hpp"

namespace {

using srd::Route;
using srd::RouteId;

constexpr std::uint32_t own_max_packet = 9000;

} // namespace

TEST_CASE("Route: until the peer is met packets fit any way, after that all three limits")
{
    Route route(RouteId{3}, 8000, own_max_packet, 5);
    CHECK(route.id() == RouteId{3});
    CHECK(route.paths() == 5);
    CHECK(route.mtu() == Route::unmet_max_packet);
    CHECK(route.largest_packet() == 8000);
    route.meet(4000);
    CHECK(route.mtu() == 4000);
    route.meet(65507);
    CHECK(route.mtu() == 8000);
    CHECK(route.peer_max_packet() == 65507);
    CHECK(route.frame_capacity() == 8000 - srd::wire::packet_overhead);

    CHECK(Route(RouteId{3}, 1000, own_max_packet, 1).mtu() == 1000); // the way is narrower than any
    CHECK(Route(RouteId{3}, 8000, 1100, 1).mtu() == 1100);
}

TEST_CASE("Route: a new MTU of the way keeps the peer's limit, and our own")
{
    Route route(RouteId{3}, 8000, own_max_packet, 5);
    route.set_mtu(7000);
    CHECK(route.mtu() == Route::unmet_max_packet);
    CHECK(route.largest_packet() == 7000);
    route.meet(4000);
    route.set_mtu(3000);
    CHECK(route.mtu() == 3000);
    route.set_mtu(7000);
    CHECK(route.mtu() == 4000);
    route.meet(65507);
    route.set_mtu(65507);
    CHECK(route.mtu() == own_max_packet);
}

TEST_CASE("Route: an MTU that no packet of ours fits is not believed")
{
    Route route(RouteId{3}, 8000, own_max_packet, 5);
    route.meet(8000);
    for (const std::uint32_t mtu : {0U, 68U, srd::wire::min_max_packet}) {
        route.set_mtu(mtu);
        CHECK(route.mtu() == 8000);
    }
    route.set_mtu(srd::wire::min_max_packet + 1);
    CHECK(route.mtu() == srd::wire::min_max_packet + 1);
}

TEST_CASE("Route: with the peer its limit is forgotten, nothing else")
{
    Route route(RouteId{3}, 8000, own_max_packet, 5);
    route.set_same_host(true);
    route.meet(8000);
    route.forget_peer();
    CHECK(route.mtu() == Route::unmet_max_packet);
    CHECK(route.largest_packet() == 8000);
    CHECK(route.same_host());
    CHECK(route.paths() == 5);
    route.set_same_host(false);
    CHECK_FALSE(route.same_host());
}
