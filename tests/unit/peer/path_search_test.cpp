// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// What probes and answers do to a peer, and what goes out to it.
#include <array>
#include <cstring>

#include "peer/path_search.hpp"
#include "unit/receive/placement_world.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;

struct World : PlacementWorld {
    FrameResult probe(std::uint8_t flags, std::uint16_t number, std::uint32_t size)
    {
        wire::MtuProbeFrame frame;
        frame.flags = flags;
        frame.number = number;
        frame.size = size;
        note = PacketNote{};
        note.peer = a;
        shared.reader.close();
        shared.reader.open(note);
        return search.on_probe(frame, now);
    }
    PathMtu& mtu() { return peer(a).route.path_mtu(); }
    /// A whole question without an answer, while the peer is heard.
    void fail_question()
    {
        for (int tries = 0; tries < PathMtu::max_tries; ++tries) {
            REQUIRE(mtu().due());
            mtu().take(1ms, now);
            now = mtu().next_timeout();
            peer(a).liveness.on_heard(now);
            search.on_timeout(a, now);
        }
    }

    PathSearch search{shared};
};

} // namespace

TEST_CASE("PathSearch: a probe is answered, and its answer confirms the size")
{
    World world;
    CHECK(world.probe(0, 9, 1400) == FrameResult::stop);
    CHECK(world.shared.peers.first_active() == world.a);
    const PathMtu::Probe owed = world.mtu().take_owed();
    CHECK(owed.number == 9);
    CHECK(owed.size == 1400);
    CHECK(world.probe(0, 9, 70000) == FrameResult::malformed);
    const PathMtu::Probe asked = world.mtu().take(1ms, world.now);
    CHECK(asked.size == parts_mtu);
    world.probe(wire::question_flag::answer, asked.number, asked.size);
    CHECK(world.peer(world.a).route.mtu() == parts_mtu);
    CHECK_FALSE(world.search.any_event());
}

TEST_CASE("PathSearch: a narrow path is told of once")
{
    World world;
    for (int searches = 0; searches < 2; ++searches) {
        CHECK_FALSE(world.search.any_event());
        while (world.mtu().due()) {
            world.fail_question();
        }
        world.now = searches == 0 ? world.mtu().next_timeout() : world.now;
        world.search.on_timeout(world.a, world.now);
        world.mtu().on_traffic(world.now);
    }
    REQUIRE(world.search.any_event());
    REQUIRE(world.search.poll_event(world.event));
    CHECK(world.event.kind == Event::Kind::mtu_found);
    CHECK(world.event.peer == PeerId{world.a});
    CHECK(world.event.length == PathMtu::base);
    CHECK(world.event.cookie == parts_mtu);
    CHECK_FALSE(world.search.any_event());
    CHECK(world.count.mtu_falls.value() == 0);
}

TEST_CASE("PathSearch: when the MTU falls, all that is under way is sent again, as far as it fits")
{
    World world;
    const PathMtu::Probe asked = world.mtu().take(1ms, world.now);
    world.probe(wire::question_flag::answer, asked.number, asked.size);
    Connection& connection = world.peer(world.a).connection;
    connection.window.frame_space(world.shared.packets, world.a, 1300, 1400, wire::Contents::neutral);
    connection.window.close_open(world.shared.packets);
    const std::uint32_t slot = connection.window.first_ready();
    connection.window.sent(world.shared.packets, slot, world.now);
    world.mtu().suspect(world.now);
    world.fail_question();
    CHECK(world.count.mtu_falls.value() == 1);
    CHECK(world.peer(world.a).route.mtu() == PathMtu::base);
    CHECK(connection.fragmentation.any());
    CHECK(connection.window.first_lost() == slot);
    CHECK(world.shared.packets[slot].repair() == TxSlot::Repair::mtu);
}
