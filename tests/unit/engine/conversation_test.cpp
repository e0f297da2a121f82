// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Question and answer between two engines: the acknowledgements that both wait for ride on the answers, and a
// side that stops answering acknowledges when it looks again.
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

TEST_CASE("conversation: who stops answering acknowledges at the next look that is late enough, then at once")
{
    World world;
    world.exchange(10);
    world.run(20);
    world.ask(world.a);
    const std::uint64_t before = world.b.counters.tx_acks.value();
    world.b.pass(world.now);
    CHECK(world.b.counters.tx_acks.value() == before); // it may still answer
    world.now += microseconds(50);
    world.b.pass(world.now);
    CHECK(world.b.counters.tx_acks.value() == before + 1);
    world.a.pass(world.now);
    CHECK(world.a.engine.drained());
    for (int i = 0; i < 10; ++i) {
        world.ask(world.a);
        world.b.pass(world.now);
        world.a.pass(world.now);
        CHECK(world.a.engine.drained());
    }
    CHECK(world.b.counters.tx_acks.value() == before + 11);
}
