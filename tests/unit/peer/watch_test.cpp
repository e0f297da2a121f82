// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Silent peers are asked, given up, and told of.
#include <vector>

#include "unit/peer/lifecycle_world.hpp"

namespace {

using namespace srd;
using namespace srd::test;
using namespace std::chrono_literals;
using Kind = RouteNotice::Kind;

struct World : LifecycleWorld {
    /// Half seconds until `end`, in each of which the peer is looked at, and these notices come.
    void pass(std::uint32_t peer_index, Duration end, const std::vector<Kind>& notices)
    {
        for (const Time until = start + end; now < until; now += 500ms) {
            shared.questions.on_rx_drained(now);
            watch.check_silence(peer_index, now);
            for (LivenessQuestions::Question question; shared.questions.take(question);) {
                ++questions;
                for (const Kind kind : notices) {
                    lifecycle.on_route_notice({question.route, kind, now}, 0, now);
                }
            }
            if (watch.any_waiting()) {
                REQUIRE(watch.poll_waiting(event));
                CHECK(event.kind == Event::Kind::waiting);
                CHECK(event.peer == PeerId{peer_index});
                told.push_back(now - start);
                causes.push_back(event.cause);
                CHECK(Duration(std::chrono::milliseconds(event.length)) == now - start);
            }
        }
    }
    /// Somebody waits for messages of `a` for so long, looking every sign_interval.
    void want_signs(Duration time, Kind answer)
    {
        for (const Time until = now + time; now < until; now += Liveness::sign_interval) {
            shared.questions.on_rx_drained(now);
            watch.want_sign(RouteId{0}, now);
            watch.check_silence(a, now);
            for (LivenessQuestions::Question question; shared.questions.take(question);) {
                ++questions;
                lifecycle.on_route_notice({question.route, answer, now}, 0, now);
            }
        }
    }

    const Time start = now;
    std::vector<Duration> told;
    std::vector<Cause> causes;
    unsigned questions = 0;
};

} // namespace

TEST_CASE("PeerWatch: waiting for a peer that was never heard is told after 10 s, and less and less often")
{
    World world;
    const std::uint32_t stranger = world.lifecycle.open(World::way(5, 1400), bounded, world.now);
    submit(world, stranger);
    world.lifecycle.greet(stranger, world.now);
    world.pass(stranger, 29s, {Kind::process_alive});
    CHECK(world.told == std::vector<Duration>{10s, 20s});
    CHECK(world.causes == std::vector<Cause>{Cause::not_heard, Cause::not_heard});
}

TEST_CASE("PeerWatch: a peer that was heard and whose process lives merely computes")
{
    World world;
    submit(world, world.a);
    world.peer(world.a).liveness.on_wait_begins(world.now);
    world.pass(world.a, 60s, {Kind::process_alive});
    CHECK(world.told.empty());
    CHECK(world.questions > 100);
    CHECK_FALSE(world.shared.outgoing.any_done());
}

TEST_CASE("PeerWatch: waiting for one that ICMP speaks of is told, though its process lives")
{
    World world;
    submit(world, world.a);
    world.peer(world.a).liveness.on_wait_begins(world.now);
    world.pass(world.a, 150s, {Kind::process_alive, Kind::host_unreachable});
    CHECK(world.told == std::vector<Duration>{10s, 20s, 40s, 80s});
    CHECK(world.causes.front() == Cause::unreachable);
}

TEST_CASE("PeerWatch: who is only waited for is asked when that is wanted, and dead when its host is silent")
{
    World world;
    world.watch.check_silence(world.a, world.now + 1s); // it owes nothing
    world.now += 1s;
    world.watch.want_sign(RouteId{0}, world.now); // heard a moment ago
    CHECK(world.peer(world.a).liveness.next_timeout() == time_never);
    world.watch.want_sign(RouteId{9}, world.now); // nobody
    world.now += Liveness::sign_interval;
    SECTION("it lives")
    {
        world.want_signs(10min, Kind::process_alive);
        CHECK(world.questions == 120);
        world.peer(world.a).liveness.on_wait_begins(world.now); // and what was sent is acknowledged
        world.shared.questions.on_rx_drained(world.now + 1s);
        world.watch.check_silence(world.a, world.now + 1s);
        CHECK(world.shared.questions.empty()); // one question is one
        CHECK(world.peer(world.a).handshake.hello_due());
        CHECK_FALSE(world.shared.outgoing.any_done());
    }
    SECTION("its host has answered, and does so no more")
    {
        world.want_signs(1min, Kind::process_alive);
        const Time begun = world.now;
        while (!world.shared.outgoing.any_done()) {
            world.want_signs(Liveness::sign_interval, Kind::network); // which is no answer
            REQUIRE(world.now - begun < 1min);
        }
        CHECK(world.now - begun == (Liveness::signs_missed + 1) * Liveness::sign_interval);
        CHECK(lost(world) == Cause::stopped_answering);
    }
    SECTION("its host has never answered")
    {
        world.want_signs(10min, Kind::network);
        CHECK_FALSE(world.shared.outgoing.any_done());
    }
    SECTION("it is gone")
    {
        world.lifecycle.on_route_notice({RouteId{0}, Kind::port_unreachable}, 0, world.now);
        world.want_signs(Liveness::sign_interval, Kind::process_gone);
        CHECK_FALSE(world.lifecycle.on_timeout(world.a, world.now));
        CHECK(lost(world) == Cause::refused);
    }
}
