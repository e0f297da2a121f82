// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include <map>
#include <random>
#include <set>
#include <vector>

#include "peer/route_table.hpp"
#include "support/catch.hpp"

namespace {

using namespace srd;

constexpr std::uint32_t idle_routes = 8;
constexpr RouteId unknown = no_id<RouteId>;

Limits limits()
{
    Limits value;
    value.max_routes = 64;
    value.idle_routes = idle_routes;
    return value;
}

/// A table, and the backend that gives out routes.
struct World {
    RouteId resolve()
    {
        if (forgotten.empty()) {
            REQUIRE(resolved < limits().max_routes);
            return RouteId{resolved++};
        }
        const RouteId route = forgotten.back();
        forgotten.pop_back();
        return route;
    }
    /// An address of its own; returns its route.
    RouteId come_and_go()
    {
        const RouteId route = resolve();
        meet(route);
        part(route);
        return route;
    }
    void meet(RouteId route)
    {
        table.set_peer(route, 0);
        table.begin(route, table.next(route));
    }
    void part(RouteId route)
    {
        table.begin(route, table.next(route)); // as when a connection ends
        table.leave(route);
        for (RouteId gone{}; (gone = table.forget_oldest()) != unknown;) {
            forgotten.push_back(gone);
        }
    }
    bool promised(RouteId route, std::uint32_t told) const
    {
        std::uint32_t count = 0;
        return table.find_promised(route, count, [told](std::uint32_t other) { return other == told; });
    }

    RouteTable table{limits()};
    std::uint32_t resolved = 0;
    std::vector<RouteId> forgotten;
};

} // namespace

TEST_CASE("RouteTable: connections of an address are counted, whoever has the record")
{
    World world;
    const RouteId route = world.resolve();
    CHECK(world.table.is_fresh(route));
    CHECK(world.table.peer(route) == no_index);
    world.table.set_peer(route, 5);
    world.table.begin(route, world.table.next(route));
    CHECK(world.table.peer(route) == 5);
    CHECK_FALSE(world.table.is_fresh(route));
    CHECK(world.table.next(route) == 1);
    CHECK(world.table.next(world.resolve()) == 0); // nothing to do with others
    CHECK(world.table.next(unknown) == 0);
    world.table.begin(route, 1);
    world.table.leave(route);
    CHECK(world.table.peer(route) == no_index);
    CHECK_FALSE(world.table.is_fresh(route));
    CHECK(world.table.next(route) == 1); // of the latest nobody has made use
    CHECK(world.promised(route, 1));
    CHECK_FALSE(world.promised(route, 0));
}

TEST_CASE("RouteTable: the routes of so many peers that have gone are kept, the latest ones")
{
    World world;
    for (std::uint32_t i = 0; i < idle_routes; ++i) {
        CHECK(index_of(world.come_and_go()) == i);
    }
    CHECK(world.forgotten.empty());
    world.meet(RouteId{0}); // it comes back
    world.part(RouteId{0});
    CHECK(world.forgotten.empty());
    world.come_and_go();
    CHECK(world.forgotten == std::vector{RouteId{1}});
    CHECK(world.table.is_fresh(RouteId{1}));
    world.meet(RouteId{2});
    world.come_and_go();
    world.come_and_go();
    CHECK(world.forgotten == std::vector{RouteId{3}}); // 1 was another's meanwhile, 2 is in use
}

TEST_CASE("RouteTable: however many come and go, no more routes are kept")
{
    World world;
    for (int i = 0; i < 1000; ++i) {
        world.come_and_go();
    }
    CHECK(world.resolved == idle_routes + 1);
}

TEST_CASE("RouteTable: what an address was told it may use, though others come, go and are forgotten")
{
    World world;
    world.come_and_go();
    for (int i = 0; i < 100; ++i) {
        const std::uint32_t told = world.table.next(unknown);
        for (std::uint32_t others = 0; others < idle_routes / 2; ++others) {
            CHECK(world.promised(unknown, told));
            world.come_and_go();
        }
        CHECK(world.promised(unknown, told));
    }
}

TEST_CASE("RouteTable: no count of an address serves twice, and most of what was told holds")
{
    World world;
    std::mt19937 random(7);
    struct Address {
        RouteId route = unknown;
        std::set<std::uint32_t> used;
        bool is_told = false;
        std::uint32_t told = 0;
        bool met = false;
    };
    std::vector<Address> addresses(40);
    std::map<std::uint32_t, std::size_t> owner; // of routes
    std::size_t kept = 0;
    std::size_t broken = 0;
    for (int step = 0; step < 50'000; ++step) {
        const std::size_t at = random() % addresses.size();
        Address& address = addresses[at];
        if (address.met) {
            if (random() % 3 != 0) {
                continue;
            }
            world.table.begin(address.route, world.table.next(address.route));
            world.table.leave(address.route);
            address.met = false;
        } else if (!address.is_told) {
            if (random() % 8 == 0) { // somebody repeats what it has said under an earlier name
                for (const std::uint32_t used : address.used) {
                    REQUIRE_FALSE(world.promised(address.route, used));
                }
            }
            address.told = world.table.next(address.route);
            address.is_told = true;
        } else {
            address.is_told = false;
            std::uint32_t count = 0;
            const std::uint32_t told = address.told;
            if (!world.table.find_promised(address.route, count,
                                           [told](std::uint32_t other) { return other == told; })) {
                ++broken;
                continue;
            }
            ++kept;
            address.route = address.route == unknown ? world.resolve() : address.route;
            owner[static_cast<std::uint32_t>(index_of(address.route))] = at;
            world.table.set_peer(address.route, static_cast<std::uint32_t>(at));
            world.table.begin(address.route, count);
            address.met = true;
            REQUIRE(address.used.insert(count).second);
        }
        for (RouteId gone{}; (gone = world.table.forget_oldest()) != unknown;) {
            addresses[owner.at(static_cast<std::uint32_t>(index_of(gone)))].route = unknown;
            world.forgotten.push_back(gone);
        }
    }
    INFO(kept << " kept, " << broken << " broken");
    CHECK(kept > broken); // here many leave between the two
    CHECK(world.resolved <= addresses.size());
}
