// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Messages that the layer above takes up later (Engine::defer), and the rest of their burst.
#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::size_t length = 3000; // three packets

/// a sends so many messages; they have come to b's wire, and b has not looked.
std::vector<Bytes> send_messages(EnginePair& pair, unsigned count)
{
    std::vector<Bytes> messages;
    for (unsigned i = 0; i < count; ++i) {
        messages.push_back(pattern(length, i));
    }
    for (const Bytes& message : messages) { // which stay where they are
        pair.send(message);
    }
    pair.a.pass(pair.now);
    REQUIRE(pair.b.io.incoming.size() == 3 * count);
    return messages;
}

/// Of two messages that have come b has put off the first.
struct Deferring : EnginePair {
    Deferring()
    {
        REQUIRE(meet());
        sent = send_messages(*this, 2);
        b.defers = 1;
        b.pass(now);
        REQUIRE(b.engine.has_deferred());
    }
    std::vector<Bytes> sent;
};

bool is_next(EnginePair& pair, const Bytes& sent)
{
    REQUIRE_FALSE(pair.b.parked.empty());
    Bytes received(sent.size());
    Accepted outcome{};
    REQUIRE(pair.b.engine.accept(pair.b.parked.front(), whole(received), 9, outcome) == Status::ok);
    pair.b.parked.erase(pair.b.parked.begin());
    return outcome == Accepted::complete && received == sent;
}

} // namespace

TEST_CASE("deferred: a message is announced again by the next pass, before all that came behind it")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    const std::uint64_t before = pair.b.counters.rx_messages.value();
    const std::vector<Bytes> sent = send_messages(pair, 3);
    pair.b.defers = 1;
    pair.b.pass(pair.now);
    CHECK(pair.b.parked.empty());
    CHECK(pair.b.engine.has_deferred());
    CHECK(pair.b.io.is_holding()); // the memory of its packets is needed
    pair.b.pass(pair.now);
    CHECK_FALSE(pair.b.engine.has_deferred());
    CHECK_FALSE(pair.b.io.is_holding());
    REQUIRE(pair.b.parked.size() == 3);
    CHECK(pair.b.counters.rx_messages.value() == before + 3);
    for (const Bytes& message : sent) {
        CHECK(is_next(pair, message));
    }
    pair.run();
    CHECK(pair.a.done.size() == 3);
}

TEST_CASE("deferred: one in the middle of a burst, and it finds the buffer that was posted meanwhile")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    Bytes first(length);
    Bytes second(length);
    pair.b.done.clear();
    const std::vector<Bytes> sent = send_messages(pair, 2);
    pair.b.buffer = whole(first);
    pair.b.defers_after = 1;
    pair.b.defers = 1;
    pair.b.pass(pair.now);
    REQUIRE(pair.b.engine.has_deferred());
    CHECK(first == sent[0]);
    pair.b.buffer = whole(second);
    pair.b.pass(pair.now);
    CHECK(pair.b.counters.rx_unexpected_messages.value() == 0);
    pair.run();
    CHECK(second == sent[1]);
    CHECK(pair.a.done.size() == 2);
    CHECK(pair.b.done.size() == 2);
}

TEST_CASE("deferred: not for ever, and only what lies in a packet")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    const std::vector<Bytes> sent = send_messages(pair, 1);
    pair.b.defers = 1000;
    for (unsigned i = 0; i < PacketReader::max_deferrals; ++i) {
        pair.b.pass(pair.now);
        CHECK(pair.b.parked.empty());
    }
    pair.b.pass(pair.now);
    REQUIRE(pair.b.parked.size() == 1);
    CHECK(is_next(pair, sent.front()));

    EnginePair near({.same_host = true, .local = true});
    REQUIRE(near.meet());
    const std::uint64_t before = near.b.counters.rx_messages.value();
    const Bytes by_packet = pattern(1000); // no frame is read after it
    near.b.defers = 1;
    near.send(by_packet);
    near.run();
    REQUIRE(near.b.defers == 0);
    near.b.parked.clear();
    near.b.defers = 1000;
    const Bytes small = pattern(100);
    const iovec piece{const_cast<std::byte*>(small.data()), small.size()};
    Operation operation;
    operation.peer = near.a.peer;
    operation.level = CompletionLevel::inject;
    operation.iov = {&piece, 1};
    REQUIRE(near.a.engine.send_local(operation) == LocalRoad::Sent::done);
    near.run();
    CHECK(near.b.parked.size() == 1);
    CHECK(near.b.defers == 1000);
    CHECK(near.b.counters.rx_messages.value() == before + 2);
}

TEST_CASE("deferred: nothing is lost or given up when the next pass comes late")
{
    Deferring pair;
    pair.now += std::chrono::seconds(1); // timers of both are due
    for (int i = 0; i < 3; ++i) {
        pair.a.pass(pair.now);
    }
    pair.run();
    CHECK(pair.b.parked.size() == 2);
    CHECK(pair.a.done.size() == 2);
    CHECK(pair.b.lost.empty());
    CHECK(pair.a.lost.empty());
}

TEST_CASE("deferred: its peer goes, is removed, or the endpoint closes")
{
    Deferring pair;
    SECTION("removed")
    {
        pair.b.engine.close_peer(pair.b.peer, pair.now);
        pair.b.pass(pair.now);
        CHECK_FALSE(pair.b.engine.has_deferred());
        CHECK_FALSE(pair.b.io.is_holding());
        CHECK(pair.b.parked.empty());
    }
    SECTION("closed")
    {
        pair.b.engine.close(pair.now);
        Event event;
        while (pair.b.engine.poll_event(event)) {
            CHECK(event.kind != Event::Kind::message);
        }
        CHECK(pair.b.engine.drained());
    }
    SECTION("gone")
    {
        pair.a.engine.close(pair.now);
        pair.a.pass(pair.now);
        pair.run();
        CHECK(pair.b.parked.size() == 2); // what it said before it went
        CHECK(is_next(pair, pair.sent[0]));
        CHECK(is_next(pair, pair.sent[1]));
    }
}
