// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Strangers: introductions from many addresses to an engine with few records, repeated, contradictory and
// half; answers and packets under identifiers that are right, stale or invented; while the application
// opens, sends to and closes peers, and time passes.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "fuzz/input.hpp"
#include "fuzz/meeting.hpp"
#include "fuzz/victim.hpp"

namespace {

using namespace srd;
using namespace srd::fuzz;
using std::chrono::microseconds;

constexpr std::uint32_t addresses = 32;
constexpr std::uint32_t records = 6;

struct World {
    Victim victim{records, addresses};
    std::array<std::uint64_t, addresses + 1> told{}; ///< identifiers that the victim has told to each
    std::vector<std::vector<std::byte>> burst;

    void transmit()
    {
        victim.transmit([this](RouteId route, std::span<const std::byte> packet) {
            if (const auto answer = heard_hello(packet)) {
                told[index_of(route) % told.size()] = answer->connection;
            }
        });
    }
    void send()
    {
        std::array<RxPacket, 16> packets;
        const std::size_t count = std::min(burst.size(), packets.size());
        for (std::size_t i = 0; i < count; ++i) {
            packets[i] = {burst[i].data(), static_cast<std::uint32_t>(burst[i].size()), false, false,
                          victim.now()};
        }
        victim.receive(std::span(packets).first(count));
        burst.clear();
    }
};

std::uint64_t choose_identifier(Input& input, const World& world, std::uint32_t route)
{
    const std::uint8_t how = input.byte();
    return how < 128 ? world.told[route] : how < 192 ? world.told[how % addresses] : how % 4U;
}

void introduce(Input& input, World& world, std::uint8_t what)
{
    Claim self;
    self.route = input.byte() % (addresses + 1); // the last is nobody's
    const std::uint8_t how = input.byte();
    self.incarnation = how % 4;
    self.connection = how / 4 % 4;
    self.flags = how < 192 ? wire::hello_flag::answer_wanted : how % 16;
    self.first_psn = how < 240 ? how : 0U - how;
    const bool proves = what % 8 == 1 || (what % 16 == 10);
    self.to = proves ? choose_identifier(input, world, self.route) : 0;
    self.flags |= proves && what % 32 >= 16 ? wire::hello_flag::met : std::uint8_t{0};
    auto& packet = world.burst.emplace_back();
    put_hello(packet, self);
    for (unsigned changes = what >= 192 ? input.byte() % 4U : 0; changes != 0; --changes) {
        packet[input.byte() % packet.size()] = std::byte{input.byte()};
    }
    if (what >= 240) {
        packet.resize(input.byte() % (packet.size() + 16));
    }
}

/// A packet with a header that knows the right identifier, or does not.
void put_packet(Input& input, World& world)
{
    auto& packet = world.burst.emplace_back();
    wire::PacketHeader header;
    const std::uint8_t how = input.byte();
    header.version = how % 32 == 31 ? input.byte() : wire::protocol_version;
    header.flags = how < 192 ? how / 4 % 16 : how / 4; // the latter are sealed and authenticated
    header.psn = how % 4 == 0 ? input.byte() : static_cast<std::uint32_t>(input.number());
    header.connection = choose_identifier(input, world, input.byte() % addresses);
    append_layout(packet, header);
    if ((header.flags & wire::packet_flag::has_ack) != 0) {
        wire::AckBlock block;
        block.words = input.byte() % 20;
        append_layout(packet, block);
        packet.resize(packet.size() + std::size_t{block.words} * 8);
    }
    switch (input.byte() % 4) {
    case 0:
        return append_layout(packet, wire::CloseFrame{});
    case 1: {
        std::array<std::byte, 64> head;
        const std::byte* const end = wire::put_message(head.data(), {}, input.byte(), wire::no_handle, 0);
        return append_bytes(packet, head.data(), static_cast<std::size_t>(end - head.data()));
    }
    default:
        for (unsigned count = input.byte() % 64U; count != 0; --count) {
            packet.push_back(std::byte{input.byte()});
        }
    }
}

void step(Input& input, World& world)
{
    const std::uint8_t what = input.byte();
    const RouteId route{what / 8U % addresses};
    switch (what % 8) {
    case 0:
    case 1:
        return introduce(input, world, what);
    case 2:
        introduce(input, world, what);
        return world.send();
    case 3:
        put_packet(input, world);
        return world.send();
    case 4:
        world.send();
        return world.transmit();
    case 5:
        return world.victim.advance(microseconds(100) * (std::int64_t{1} << what / 8 % 20));
    case 6:
        return world.victim.submit(route, {.length = what, .copied = what >= 128});
    default:
        if (what < 128) {
            return world.victim.open(route);
        }
        world.victim.close(route);
        return world.victim.engine().on_route_notice(
            {route, static_cast<RouteNotice::Kind>(what / 8 % 10), world.victim.now()}, 1500,
            world.victim.now());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static std::unique_ptr<World> kept;
    static unsigned served = 0;
    static const bool fresh = std::getenv("SRD_FUZZ_FRESH") != nullptr;
    std::unique_ptr<World> world = std::move(kept); // not kept after a finding
    if (world == nullptr || fresh || ++served % 65536 == 0) {
        world = std::make_unique<World>();
    }
    world->told = {};
    Input input(data, size);
    world->victim.set_mood(input.byte());
    for (int steps = 0; !input.empty() && steps < 64; ++steps) {
        step(input, *world);
    }
    world->send();
    if (fuzz::canary() && world->victim.counters().tx_no_room.value() != 0) {
        fail("canary: somebody was refused");
    }
    world->transmit();
    world->victim.finish();
    kept = std::move(world);
    return 0;
}
