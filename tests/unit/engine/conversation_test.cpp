// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Question and answer between two engines: messages that are done when they are copied wait for no
// acknowledgement, so that acknowledgements ride on the answers.
#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;
using std::chrono::microseconds;

namespace {

struct World : EnginePair {
    World()
    {
        REQUIRE(deliver(bytes));
        a.buffer = b.buffer = whole(landing);
        run(100);
    }
    void ask(EngineHost& from)
    {
        const iovec piece{bytes.data(), bytes.size()};
        Operation operation;
        operation.peer = from.peer;
        operation.iov = {&piece, 1};
        operation.level = CompletionLevel::inject;
        REQUIRE(from.engine.submit(operation, now) == Status::ok);
        from.pass(now);
        now += microseconds(2);
    }
    /// Both ask, in turn; each question but the first is the other's answer.
    void exchange(int times)
    {
        for (int i = 0; i < times; ++i) {
            ask(a);
            b.pass(now);
            ask(b);
            a.pass(now);
        }
    }
    std::uint64_t bare() const { return a.counters.tx_acks.value() + b.counters.tx_acks.value(); }

    Bytes bytes = pattern(64);
    Bytes landing = Bytes(64);
};

} // namespace

TEST_CASE("conversation: acknowledgements ride on the answers")
{
    World world;
    world.exchange(10);
    const std::uint64_t before = world.bare();
    const std::size_t done = world.a.done.size();
    world.exchange(100);
    CHECK(world.bare() == before);
    CHECK(world.a.done.size() >= done + 100); // every question of a's has completed
    world.run(20);
    CHECK(world.a.engine.drained());
    CHECK(world.b.engine.drained());
}

// Nobody repeats what an endpoint says last.
TEST_CASE(
    "conversation: what has arrived completes although the last acknowledgement and two farewells are lost")
{
    World world;
    std::size_t lost = 0;
    world.b.io.drop = [&](std::size_t) { return lost++ < 3; };
    world.send(world.bytes);
    const std::size_t done = world.a.done.size();
    world.a.pass(world.now);
    world.b.pass(world.now);
    REQUIRE(lost == 1); // the acknowledgement
    world.b.engine.close(world.now);
    world.b.pass(world.now);
    CHECK(lost == 4);
    world.a.pass(world.now);
    REQUIRE(world.a.done.size() == done + 1);
    CHECK(world.a.done.back().cause == Cause::none);
}
