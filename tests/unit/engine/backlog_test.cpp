// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// A backend that takes less than there is to be sent: what goes first then, and what is counted.
#include <vector>

#include "wire/layout.hpp"

#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

/// The header's flags of every packet that a sends from now on.
void watch(EnginePair& pair, std::vector<std::uint8_t>& flags)
{
    pair.a.io.watch = [&flags](const TxPacket& packet) {
        flags.push_back(static_cast<const wire::PacketHeader*>(packet.iov[0].iov_base)->flags);
    };
}

/// b sends a message, and wants to know that it has arrived.
void ask(EnginePair& pair)
{
    static const Bytes question = pattern(10);
    const iovec piece{const_cast<std::byte*>(question.data()), question.size()};
    Operation operation;
    operation.peer = pair.b.peer;
    operation.level = CompletionLevel::transmit;
    operation.iov = {&piece, 1};
    REQUIRE(pair.b.engine.submit(operation, pair.now) == Status::ok);
}

constexpr std::uint8_t kind_of = wire::packet_flag::sequenced | wire::packet_flag::has_ack;

} // namespace

TEST_CASE("backlog: an acknowledgement that is due goes before the data that waits, and counts once")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    const std::uint64_t acks = pair.a.counters.tx_acks.value();
    const Bytes bulk = pattern(60000);
    pair.send(bulk);
    std::vector<std::uint8_t> flags;
    watch(pair, flags);

    // b wants to know at once, and a's backend takes nothing for a while.
    pair.a.io.takes = 0;
    ask(pair);
    for (int round = 0; round < 5; ++round) {
        pair.b.pass(pair.now);
        pair.a.pass(pair.now);
    }
    CHECK(flags.empty());
    CHECK(pair.a.counters.tx_acks.value() == acks);

    pair.a.io.takes = 1; // it takes one packet now and then
    pair.a.pass(pair.now);
    REQUIRE(flags.size() == 1);
    CHECK((flags[0] & kind_of) == wire::packet_flag::has_ack);
    CHECK(pair.a.counters.tx_acks.value() == acks + 1);
    pair.a.pass(pair.now);
    REQUIRE(flags.size() == 2);
    CHECK((flags[1] & wire::packet_flag::sequenced) != 0);

    pair.a.io.takes = SIZE_MAX;
    pair.run();
    CHECK(pair.a.done.size() >= 1);
}

TEST_CASE("backlog: a farewell that did not go is said again")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    pair.b.done.clear();
    pair.a.io.takes = 0;
    pair.a.engine.close(pair.now);
    pair.a.pass(pair.now);
    ask(pair);
    pair.b.pass(pair.now);
    CHECK(pair.b.done.empty());

    pair.a.io.takes = SIZE_MAX;
    pair.a.pass(pair.now);
    pair.b.pass(pair.now);
    REQUIRE(pair.b.done.size() == 1);
    CHECK(pair.b.done[0].cause == Cause::closed);
}

TEST_CASE("backlog: a ring in memory that was full is tried again, though the window has held packets back")
{
    EnginePair pair({.same_host = true});
    REQUIRE(pair.meet());
    pair.a.io.peer = nullptr; // nothing arrives from now on
    const Bytes bytes = pattern(8000);
    for (int i = 0; i < 60; ++i) {
        pair.send(bytes);
        pair.a.pass(pair.now);
    }
    pair.a.io.takes = 0;
    const std::uint64_t unsent = pair.a.counters.tx_unsent.value();
    for (int i = 0; i < 10'000 && pair.a.counters.tx_unsent.value() == unsent; ++i) { // a repetition
        pair.now += std::chrono::microseconds(10);
        pair.a.pass(pair.now);
    }
    REQUIRE(pair.a.counters.tx_unsent.value() == unsent + 1);

    pair.a.io.takes = SIZE_MAX;
    std::vector<std::uint8_t> flags;
    watch(pair, flags);
    pair.now += std::chrono::microseconds(1); // too early
    pair.a.pass(pair.now);
    CHECK(flags.empty());
    pair.now += std::chrono::microseconds(5);
    pair.a.pass(pair.now);
    CHECK(flags.size() == 1);
}
