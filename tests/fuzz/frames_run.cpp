// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Frames of peers that have been met: two of them, both hostile, against an engine whose application answers,
// sends and accesses in between. The input is a sequence of steps (step()), of which most make a packet
// (Remote::make). What is held against the engine is in victim.hpp.
#include "fuzz/frames_run.hpp"

#include <cstdlib>
#include <memory>
#include <utility>

#include "fuzz/remote.hpp"

namespace srd::fuzz {

namespace {

using std::chrono::microseconds;

struct World {
    explicit World(bool sealed)
        : victim(4, 4, sealed ? make_seals() : nullptr), remotes{Remote(0, sealed ? make_seals() : nullptr),
                                                                 Remote(1, sealed ? make_seals() : nullptr)}
    {
    }
    Victim victim;
    Remote remotes[2];

    void transmit()
    {
        victim.transmit([this](RouteId route, std::span<const std::byte> packet) {
            remotes[index_of(route) % 2].hear(packet);
        });
    }
};

Victim::Wish wish_of(Input& input)
{
    Victim::Wish wish;
    const std::uint8_t how = input.byte();
    wish.kind = static_cast<OperationKind>(how % 4);
    wish.level = static_cast<CompletionLevel>(how / 4 % 4);
    wish.copied = (how & 16U) != 0;
    wish.fence = (how & 32U) != 0;
    wish.fetch = (how & 64U) != 0;
    wish.length = (how & 128U) != 0 ? input.word() : input.byte();
    wish.pieces = input.byte();
    return wish;
}

/// What the backend and the application do now and then.
void disturb(Input& input, World& world, Remote& remote)
{
    Engine& engine = world.victim.engine();
    const Time now = world.victim.now();
    const std::uint8_t how = input.byte();
    switch (how % 8) {
    case 0:
    case 1:
        return engine.on_route_notice({remote.route(), static_cast<RouteNotice::Kind>(how / 8 % 10), now},
                                      how < 128 ? world.victim.largest() : 1500, now);
    case 2:
        return engine.want_sign(remote.route(), now);
    case 3:
        return engine.revoke(Victim::region_key);
    case 4:
        world.victim.close(remote.route());
        static_cast<void>(remote.meet(world.victim, how));
        return;
    case 5:
        return world.victim.take_half_next();
    case 6:
        static_cast<void>(remote.meet(world.victim, how, how < 128 ? 8000 : 208 + how)); // as a new process
        return;
    default:
        return world.victim.open(remote.route());
    }
}

void step(Input& input, World& world)
{
    const std::uint8_t what = input.byte();
    Remote& remote = world.remotes[what / 16 % 2];
    switch (what % 16) {
    case 7:
        return remote.make(input); // it arrives with the next
    case 8:
        return world.victim.submit(remote.route(), wish_of(input));
    case 9:
        return world.transmit();
    case 10:
        return world.victim.advance(microseconds(5) * (std::int64_t{1} << what / 16));
    case 11:
        return world.victim.take_parked(what >= 128);
    case 12:
        return world.victim.set_mood(input.byte());
    case 13:
        return disturb(input, world, remote);
    case 14:
        remote.make(input);
        return remote.send(world.victim, true);
    case 15:
        world.transmit();
        remote.make_acknowledgement();
        return remote.send(world.victim, false);
    default:
        remote.make(input);
        return remote.send(world.victim, false);
    }
}

} // namespace

void run_frames(const std::uint8_t* data, std::size_t size, bool sealed)
{
    // One world for thousands of inputs is what makes them cheap. An input that finds something must do it
    // alone, so whoever replays one takes a new world.
    static std::unique_ptr<World> kept;
    static unsigned served = 0;
    static const bool fresh = std::getenv("SRD_FUZZ_FRESH") != nullptr;
    std::unique_ptr<World> world = std::move(kept); // not kept after a finding
    if (world == nullptr || fresh || ++served % 65536 == 0) {
        world = std::make_unique<World>(sealed);
    }
    Input input(data, size);
    world->victim.set_mood(input.byte());
    const std::uint8_t start = input.byte();
    const std::uint32_t first_psn = start < 128 ? start : 0U - (start - 128U);
    for (Remote& remote : world->remotes) {
        if (!remote.meet(world->victim, first_psn, start % 8 == 6 ? 600 : Victim::max_packet)) {
            fail("a peer is not met");
        }
        world->victim.engine().on_route_notice(
            {remote.route(), start % 4 == 3 ? RouteNotice::Kind::same_host : RouteNotice::Kind::network},
            world->victim.largest(), world->victim.now());
    }
    for (int steps = 0; !input.empty() && steps < 64; ++steps) {
        step(input, *world);
    }
    if (start % 64 == 62) {
        world->victim.engine().close(world->victim.now());
        world->transmit();
        return world->victim.finish();
    }
    world->victim.finish();
    kept = std::move(world);
}

} // namespace srd::fuzz
