// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Which long messages begin without a grant, and that they arrive whenever their receive comes.
#include "support/catch.hpp"
#include "support/engine_pair.hpp"

using namespace srd;
using namespace srd::test;

namespace {

constexpr std::size_t eager = 65536;

/// Bytes of packets that a sends while `action` goes on.
template <typename Action>
std::size_t sent_during(EnginePair& pair, Action&& action)
{
    std::size_t bytes = 0;
    pair.a.io.watch = [&](const TxPacket& packet) { bytes += packet.length; };
    action();
    pair.a.io.watch = nullptr;
    return bytes;
}

/// Sends what nobody wants yet. Does more than a request go all the same, and not more than an eager size?
bool begins(EnginePair& pair, const Bytes& message)
{
    const std::size_t bytes = sent_during(pair, [&] {
        pair.send(message);
        pair.run();
    });
    REQUIRE(pair.b.parked.size() == 1); // it is announced in any case
    CHECK(pair.a.done.empty());
    CHECK((bytes < 6000 || (bytes > eager - 1472 && bytes < eager + 6000)));
    return bytes > 6000;
}

/// Whoever has waited so long receives it.
bool is_received_late(EnginePair& pair, const Bytes& sent)
{
    Bytes received(sent.size());
    Accepted outcome{};
    const std::size_t before = pair.b.done.size();
    REQUIRE(pair.b.engine.accept(pair.b.parked.front(), whole(received), 9, outcome) == Status::ok);
    pair.run();
    CHECK((outcome == Accepted::complete || pair.b.done.size() == before + 1));
    return received == sent && pair.a.done.size() == 1 && pair.a.done.front().cause == Cause::none;
}

} // namespace

TEST_CASE("unscheduled: a long message begins at once, and goes on when it is wanted")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    const Bytes sent = pattern(3 * eager);
    CHECK(begins(pair, sent));
    CHECK(is_received_late(pair, sent));
}

TEST_CASE("unscheduled: nothing of what takes many round trips, of a stranger's, or within a host")
{
    EnginePair long_one;
    REQUIRE(long_one.meet());
    const Bytes long_message = pattern(9 * eager);
    CHECK_FALSE(begins(long_one, long_message));
    CHECK(is_received_late(long_one, long_message));

    const Bytes message = pattern(3 * eager);
    EnginePair strangers;
    CHECK_FALSE(begins(strangers, message));
    CHECK(is_received_late(strangers, message));

    EnginePair near({.same_host = true});
    REQUIRE(near.meet());
    CHECK_FALSE(begins(near, message));
    CHECK(is_received_late(near, message));
}

TEST_CASE("unscheduled: not behind others, whose grants come meanwhile")
{
    EnginePair pair;
    REQUIRE(pair.meet());
    std::vector<Bytes> sent;
    const std::size_t bytes = sent_during(pair, [&] {
        for (unsigned i = 0; i < 4; ++i) {
            sent.push_back(pattern(3 * eager, i));
            pair.send(sent.back());
        }
        pair.run();
    });
    CHECK(bytes > eager - 1472);
    CHECK(bytes < eager + 6000); // of the first alone
    REQUIRE(pair.b.parked.size() == 4);
    std::vector<Bytes> received(4, Bytes(3 * eager));
    for (std::size_t i = 4; i-- > 0;) {
        Accepted outcome{};
        REQUIRE(pair.b.engine.accept(pair.b.parked[i], whole(received[i]), 9, outcome) == Status::ok);
        pair.run();
        CHECK(received[i] == sent[i]);
    }
}

TEST_CASE("unscheduled: in the wrong order, and with losses, a message arrives as it was sent")
{
    for (const bool parked : {false, true}) {
        EnginePair pair;
        REQUIRE(pair.meet());
        pair.a.io.reverse = pair.b.io.reverse = true;
        std::size_t lost = 0;
        pair.a.io.drop = [&](std::size_t number) { return number % 5 == 1 && ++lost < 20; };
        const Bytes sent = pattern(2 * eager + 7);
        if (parked) {
            pair.send(sent);
            pair.run();
            CHECK(is_received_late(pair, sent));
        } else {
            CHECK(pair.deliver(sent));
        }
        CHECK(lost != 0);
    }
}
