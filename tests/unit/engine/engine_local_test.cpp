// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Two engines with memory for messages beside their packets: what waits for a message in memory goes on when
// it is taken, though no packet tells of that; and what lies in memory says nothing of its sender's life.
#include <chrono>
#include <cstring>
#include <vector>

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

namespace {

using namespace srd;
using namespace srd::test;

/// a and b know each other.
struct World : EnginePair {
    World() : EnginePair({.max_packet = 4096, .same_host = true, .local = true})
    {
        b.buffer = whole(target);
        send(message);
        run();
        REQUIRE(target == message);
        b.done.clear();
        a.done.clear();
    }

    LocalRoad::Sent write(const Bytes& bytes)
    {
        const iovec piece{const_cast<std::byte*>(bytes.data()), bytes.size()};
        Operation operation;
        operation.peer = a.peer;
        operation.level = CompletionLevel::inject;
        operation.iov = {&piece, 1};
        return a.engine.send_local(operation);
    }
    /// a adds one to the first word of b's memory.
    Status add_one(CompletionLevel level, bool fence, std::uint64_t cookie)
    {
        const std::uint64_t one = 1;
        const iovec operand{const_cast<std::uint64_t*>(&one), sizeof(one)};
        const RemoteRange range{0, sizeof(one), EngineHost::region};
        Operation operation;
        operation.kind = OperationKind::atomic;
        operation.level = level;
        operation.fence = fence;
        operation.iov = {&operand, 1};
        operation.remote = {&range, 1};
        operation.atomic.has_operand = true;
        return submit(operation, cookie);
    }
    std::uint64_t sum() const
    {
        std::uint64_t value = 0;
        std::memcpy(&value, b.memory.data(), sizeof(value));
        return value;
    }

    const Bytes message = pattern(64, 3);
    Bytes target = Bytes(64);
};

} // namespace

TEST_CASE(
    "local: a fenced operation goes out when the messages before it have been taken, which nobody tells")
{
    World world;
    world.b.io.local.readable = false;
    REQUIRE(world.write(world.message) == LocalRoad::Sent::done);
    const bool at_once = GENERATE(true, false);
    const Bytes bytes = pattern(9000);
    if (at_once) {
        CHECK(world.add_one(CompletionLevel::transmit, true, 5) == Status::again);
    } else {
        const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
        const RemoteRange range{0, bytes.size(), EngineHost::region};
        Operation operation;
        operation.kind = OperationKind::write;
        operation.fence = true;
        operation.iov = {&local, 1};
        operation.remote = {&range, 1};
        REQUIRE(world.submit(operation, 5) == Status::ok);
    }
    world.run(10);
    CHECK(world.a.done.empty());
    CHECK(world.b.remote_writes == 0);
    CHECK(world.a.engine.next_look(world.now) != time_never); // or a sleeper would sleep on

    world.b.io.local.readable = true;
    world.run(10);
    if (at_once) {
        REQUIRE(world.add_one(CompletionLevel::transmit, true, 5) == Status::ok);
    }
    world.run();
    REQUIRE(world.a.done.size() == 1);
    CHECK(world.a.done.front().cause == Cause::none);
    (void)world.a.engine.next_look(world.now);
    world.run(10);
    CHECK(world.a.engine.next_look(world.now) == time_never);
}

TEST_CASE("local: who finds the memory full does not sleep on when there is room again")
{
    World world;
    world.a.io.local.answer = LocalRoad::Sent::full;
    CHECK(world.write(world.message) == LocalRoad::Sent::full);
    CHECK(world.a.engine.next_look(world.now) != time_never);
    CHECK(world.a.engine.next_look(world.now) == time_never);
}

TEST_CASE(
    "local: an atomic that was acknowledged before its turn completes when the messages before it are taken")
{
    World world;
    world.b.io.local.readable = false;
    REQUIRE(world.write(world.message) == LocalRoad::Sent::done);
    REQUIRE(world.add_one(CompletionLevel::transmit, false, 5) == Status::ok);
    world.run();
    CHECK(world.sum() == 0);
    CHECK(world.a.done.empty());
    world.b.io.local.readable = true;
    world.run(100);
    CHECK(world.sum() == 1);
    CHECK(world.a.done.size() == 1);
}

TEST_CASE("local: a message that waits in memory does not keep its sender alive")
{
    World world;
    world.a.io.peer = nullptr; // the packet with what comes before it is lost with its sender
    world.send(world.message);
    REQUIRE(world.write(world.message) == LocalRoad::Sent::done);
    world.a.io.local.peer = nullptr;
    world.b.io.peer = nullptr;
    const iovec piece{world.target.data(), world.target.size()};
    Operation operation;
    operation.peer = world.b.sender;
    operation.iov = {&piece, 1};
    REQUIRE(world.b.engine.submit(operation, world.now) == Status::ok);
    for (int i = 0; i < 200 && world.b.done.empty(); ++i) {
        world.b.pass(world.now);
        world.now += std::chrono::milliseconds(100);
    }
    REQUIRE(world.b.done.size() == 1); // what it sent
    CHECK(world.b.done.front().cause == Cause::stopped_answering);
    world.b.pass(world.now);
    CHECK(world.b.io.local.incoming.empty()); // and it is nobody's now
}

TEST_CASE("local: what is not of the connection's next messages is dropped")
{
    World world;
    REQUIRE(world.write(world.message) == LocalRoad::Sent::done);
    LocalMessage& written = world.b.io.local.incoming.front().message;
    SECTION("too far ahead")
    {
        written.sequence += message_window + 1;
    }
    SECTION("announced before")
    {
        --written.sequence;
    }
    SECTION("another's")
    {
        ++written.connection;
    }
    world.b.pass(world.now);
    CHECK(world.b.io.local.incoming.empty());
    CHECK(world.b.done.empty());
    CHECK(world.b.counters.rx_malformed.value() + world.b.counters.rx_unknown_connection.value() == 1);
}

TEST_CASE("local: the last messages of an endpoint that closes are taken before its farewell")
{
    World world;
    REQUIRE(world.write(world.message) == LocalRoad::Sent::done);
    world.a.engine.close(world.now);
    world.a.pass(world.now);
    world.b.pass(world.now);
    CHECK(world.b.done.size() == 1);
    CHECK(world.b.io.local.incoming.empty());
}

TEST_CASE("local: who has ended the connection takes no more of it from memory, and its peer learns of that")
{
    World world;
    world.b.engine.close_peer(world.b.sender, world.now);
    LocalRoad::Sent sent = LocalRoad::Sent::done;
    for (int i = 0; i < 10 && sent == LocalRoad::Sent::done; ++i) {
        sent = world.write(world.message);
        world.run(10);
    }
    REQUIRE(sent == LocalRoad::Sent::closed);
    world.send(world.message);
    for (int i = 0; i < 200 && world.a.done.empty(); ++i) {
        world.run(1);
        world.now += std::chrono::milliseconds(100);
    }
    REQUIRE(world.a.done.size() == 1);
    CHECK(world.a.done.front().cause == Cause::stopped_answering);
    CHECK(world.write(world.message) == LocalRoad::Sent::closed); // there is no connection now
    CHECK(world.b.done.empty());
    world.send(world.message);
    world.run();
    CHECK(world.write(world.message) == LocalRoad::Sent::done); // in the next one
    world.run(10);
    CHECK(world.b.done.size() == 2);
}
