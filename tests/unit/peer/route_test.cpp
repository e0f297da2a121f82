// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "peer/route.hpp"
#include "support/catch.hpp"

namespace {

using srd::PathMtu;
using srd::Route;
using srd::RouteId;

constexpr std::uint32_t own_max_packet = 9000;

Route route_of(srd::RouteMtu mtu, std::uint32_t own = own_max_packet)
{
    srd::IoCaps caps;
    caps.max_packet = own;
    caps.path_count = 64;
    return Route({RouteId{3}, {}, mtu, 5}, 77, caps);
}

const srd::Time now{std::chrono::hours(1)};

/// The search is on, and every probe is answered.
void find_mtu(Route& route)
{
    while (route.path_mtu().due()) {
        const PathMtu::Probe probe = route.path_mtu().take(std::chrono::milliseconds(1), now);
        REQUIRE(route.path_mtu().on_answer(probe, now));
    }
}

Route met_route(std::uint32_t peer_max_packet)
{
    Route route = route_of(8000);
    route.meet(peer_max_packet, now);
    route.path_mtu().begin(now);
    find_mtu(route);
    return route;
}

} // namespace

TEST_CASE("Route: until the peer is met packets fit any way, after that all three limits")
{
    const Route route = route_of(8000);
    CHECK(route.id() == RouteId{3});
    CHECK(route.paths() == 5);
    CHECK(route.mtu() == PathMtu::base);
    CHECK(route.largest_packet() == 8000);
    CHECK(met_route(4000).mtu() == 4000);
    CHECK(met_route(65507).mtu() == 8000);
    CHECK(met_route(65507).peer_max_packet() == 65507);
    CHECK(met_route(1100).mtu() == 1100);

    CHECK(route_of(1000).mtu() == 1000); // the way is narrower than any
    CHECK(route_of(8000, 1100).mtu() == 1100);
}

TEST_CASE("Route: a new MTU of the way keeps the peer's limit, and our own")
{
    Route route = route_of(8000);
    CHECK_FALSE(route.set_mtu(7000, now));
    CHECK(route.mtu() == PathMtu::base);
    CHECK(route.largest_packet() == 7000);
    route = met_route(4000);
    route.set_mtu(3000, now);
    CHECK(route.mtu() == 3000); // at once
    CHECK(route.set_mtu(7000, now));
    CHECK(route.mtu() == 3000); // only when it has been asked for
    find_mtu(route);
    CHECK(route.mtu() == 4000);
    route.meet(65507, now);
    route.set_mtu(65507, now);
    find_mtu(route);
    CHECK(route.mtu() == own_max_packet);
}

TEST_CASE("Route: an MTU that no packet of ours fits is not believed")
{
    Route route = met_route(8000);
    for (const std::uint32_t mtu : {0U, 68U, srd::wire::min_max_packet}) {
        route.set_mtu(mtu, now);
        CHECK(route.mtu() == 8000);
    }
    route.set_mtu(srd::wire::min_max_packet + 1, now);
    CHECK(route.mtu() == srd::wire::min_max_packet + 1);
}

TEST_CASE("Route: with the peer what it has told and answered is forgotten, nothing else")
{
    Route route = met_route(8000);
    route.set_same_host(true);
    route.forget_peer();
    CHECK(route.mtu() == PathMtu::base);
    CHECK_FALSE(route.path_mtu().due());
    CHECK(route.largest_packet() == 8000);
    CHECK(route.same_host());
    CHECK(route.paths() == 5);
    route.set_same_host(false);
    CHECK_FALSE(route.same_host());
}
