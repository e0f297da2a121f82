// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Operations at CompletionLevel::none (injects) to a peer that fails: what it had not acknowledged is told,
// each once, whether it has a record, shares a packet with others, or waits.
#include <algorithm>
#include <iterator>
#include <vector>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

struct World : EnginePair {
    World() { REQUIRE(meet()); }
    /// At `level`, from a to b. Its payload is copied.
    void inject(OperationKind kind, std::size_t size, CompletionLevel level = CompletionLevel::none)
    {
        const Bytes bytes = pattern(size);
        const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
        const RemoteRange range{0, bytes.size(), EngineHost::region};
        Operation operation;
        operation.kind = kind;
        operation.level = level;
        operation.copy_payload = true;
        operation.iov = {&local, 1};
        if (kind != OperationKind::message) {
            operation.remote = {&range, 1};
        }
        REQUIRE(submit(operation, 1) == Status::ok);
    }
    /// b goes, and a learns of it. What a was told meanwhile.
    std::vector<Event> unsent()
    {
        b.engine.close(now);
        run(100);
        return a.lost;
    }
};

} // namespace

TEST_CASE("unsent: small injects that nobody acknowledged, and nothing else of their packets")
{
    World world;
    world.a.io.drop = [](std::size_t) { return true; };
    world.inject(OperationKind::message, 10);
    world.inject(OperationKind::message, 100, CompletionLevel::transmit);
    world.inject(OperationKind::message, 100, CompletionLevel::delivery);
    world.inject(OperationKind::message, 0);
    world.inject(OperationKind::write, 20);
    world.inject(OperationKind::write, 100, CompletionLevel::transmit);
    world.inject(OperationKind::atomic, 8);
    world.inject(OperationKind::message, 3000); // in several packets, or waiting
    const std::vector<Event> events = world.unsent();
    REQUIRE(events.size() == 1);
    CHECK(events[0].cause == Cause::closed);
    CHECK(events[0].cookie == 5);
    CHECK(events[0].length == 10 + 0 + 20 + 8 + 3000);
    CHECK(world.a.engine.drained());
}

TEST_CASE("unsent: nothing of what was acknowledged, and what the application gives up itself")
{
    World world;
    world.inject(OperationKind::message, 10);
    world.inject(OperationKind::write, 20);
    world.run(400);
    SECTION("acknowledged")
    {
        CHECK(world.unsent().empty());
    }
    SECTION("given up")
    {
        world.a.io.drop = [](std::size_t) { return true; };
        world.inject(OperationKind::message, 10);
        world.a.engine.close_peer(world.a.peer, world.now);
        const std::vector<Event> events = world.unsent();
        REQUIRE(events.size() == 1);
        CHECK(events[0].cause == Cause::removed);
        CHECK(events[0].cookie == 1);
    }
}
